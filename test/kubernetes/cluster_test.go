package kubernetes_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/test/kubernetes"
)

func TestMain(m *testing.M) { kubernetes.Main(m) }

// The cluster is what the tests take it for: two nodes, controllers that make pods,
// names of services, and a user who may do nothing.
func TestCluster(t *testing.T) {
	kubernetes.Start(t)
	kubernetes.Apply(t, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec:
      containers: [{name: each, image: localhost/busybox:1, command: [sh, -c, "echo here >/tmp/index.html; exec httpd -f -p 80 -h /tmp"], ports: [{containerPort: 80, hostPort: 18080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {selector: {app: each}, ports: [{port: 80}]}
`)
	kubernetes.Kubectl(t, "rollout", "status", "daemonset/each", "--timeout=60s")
	if got := kubernetes.Kubectl(t, "get", "pods", "-l", "app=each", "-o", "jsonpath={.items[*].spec.nodeName}"); len(strings.Fields(got)) != 2 {
		t.Errorf("pods are on %q", got)
	}
	service := kubernetes.Kubectl(t, "get", "service", "each", "-o", "jsonpath={.spec.clusterIP}")
	for _, url := range []string{"http://" + service, "http://10.88.79.1:18080", "http://10.88.80.1:18080"} {
		// The server may not listen yet, nor kube-proxy know of it.
		resp, err := http.Get(url) //nolint:gosec // of this machine
		for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			resp, err = http.Get(url) //nolint:gosec // of this machine
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "here\n" {
			t.Errorf("%s: %v: %q", url, err, body)
		}
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	if r := kubernetes.Run("", "kubectl", "--context=weak", "get", "pods"); !strings.Contains(r.Stderr, `User "weak" cannot list`) {
		t.Errorf("%+v", r)
	}
}
