package kubernetes_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/kubernetes"
)

// The released image and the example beside it: one pod on every node, which sees all that
// root of the node sees, and fails if it finds something.
func TestDoctorOnEveryNode(t *testing.T) {
	nstest.Need(t, "go")
	kubernetes.Start(t)
	archive := filepath.Join(nstest.Dir(t), "nstool.tar")
	do(t, "go", "run", "-C", "../..", "./release/image", "-o", archive, "-t", "localhost/nstool:1", "-arch", "amd64")
	for _, node := range []string{"node1", "node2"} {
		do(t, "ctr", "-a", filepath.Join(kubernetes.Dir, node, "containerd.sock"), "-n", "k8s.io", "images", "import", archive)
	}

	kubernetes.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: careless}
spec:
  hostIPC: true
  containers: [{name: app, image: localhost/busybox:1, imagePullPolicy: Never}]
`)
	kubernetes.Kubectl(t, "wait", "--for=condition=Ready", "pod/careless", "--timeout=60s")
	manifest, err := os.ReadFile("../../release/kubernetes/doctor.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kubernetes.Apply(t, string(manifest))
	const namespace = "--namespace=nstool"
	// As a person does it: the image has no shell, and needs none.
	// Its log is read, since kubectl may attach when a short command has ended.
	said := do(t, "kubectl", namespace, "debug", "node/node2", "--profile=sysadmin", "--image=localhost/nstool:1", "--", "nstool", "ls", "-t", "pid", "-o", "NS,PID")
	pod := regexp.MustCompile(`node-debugger-node2-\w+`).FindString(said)
	kubernetes.Kubectl(t, namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+pod, "--timeout=60s")
	out := kubernetes.Kubectl(t, namespace, "logs", pod)
	if !strings.Contains(out, "4026531836") {
		t.Errorf("nstool ls does not list the PID namespace of the node: %s", out)
	}

	kubernetes.Kubectl(t, namespace, "create", "job", "doctor-now", "--from=cronjob/doctor")
	kubernetes.Kubectl(t, namespace, "wait", "--for=jsonpath={.status.failedIndexes}=0,1", "job/doctor-now", "--timeout=120s")
	pods := strings.Fields(kubernetes.Kubectl(t, namespace, "get", "pods", "-l", "app.kubernetes.io/name=nstool-doctor", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{'\\n'}{end}"))
	if len(pods) != 4 || pods[1] == pods[3] {
		t.Fatalf("pods and nodes: %v", pods)
	}
	for _, pod := range []string{pods[0], pods[2]} {
		var found struct {
			Reasons  []string
			Findings []struct{ Severity, What string }
		}
		// What it could not read is told on standard error, in the same log.
		_, log, ok := strings.Cut(kubernetes.Kubectl(t, namespace, "logs", pod), `{"schema":`)
		if err := json.NewDecoder(strings.NewReader(`{"schema":` + log)).Decode(&found); err != nil || !ok {
			t.Errorf("%v: it is not JSON: %s", err, log)
		}
		careless := false
		for _, f := range found.Findings {
			careless = careless || f.Severity == "warning" && strings.Contains(f.What, "default/careless/app shares the host's ipc namespace")
			if strings.Contains(f.What, pod) && f.Severity != "note" {
				t.Errorf("it finds itself: %s", f.What)
			}
		}
		if !careless {
			t.Errorf("it does not find the pod in the host's ipc namespace: %v", found)
		}
		for _, why := range found.Reasons {
			if strings.Contains(why, "not permitted") || strings.Contains(why, "could not be read") && !strings.Contains(why, "(PID 1)") {
				t.Errorf("it lacks something: %s", why)
			}
		}
	}
}

func do(t *testing.T, words ...string) string {
	t.Helper()
	r := kubernetes.Run("", words...)
	if r.Err != nil {
		t.Fatalf("%v: %v: %s%s", words, r.Err, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
