package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/kubernetes"
)

// plugin starts the cluster, gives it an image with nstool, and puts the plugin in the PATH.
// Two pods run in the namespace "nstool-shop": "cart" with one container, "two" with two.
func plugin(t *testing.T) {
	t.Helper()
	kubernetes.Start(t)
	nstest.Need(t, "go")
	image, dir := t.TempDir(), t.TempDir()
	for _, build := range [][2]string{{filepath.Join(image, "bin", "nstool"), "nstool"}, {filepath.Join(dir, "kubectl-nstool"), "kubectl-nstool"}} {
		cmd := exec.Command("go", "build", "-o", build[0], "../../cmd/"+build[1]) //nolint:gosec // of ours
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	kubernetes.Image(t, "nstool-plugin", image)
	t.Setenv("PATH", os.Getenv("PATH")+":"+dir)
	t.Setenv("NSTOOL_IMAGE", "localhost/nstool-plugin:1")
	kubernetes.Apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: nstool-shop}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: nstool-shop}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: localhost/busybox:1, imagePullPolicy: Never, command: [sh, -c, "echo here >/tmp/index.html; exec httpd -f -p 127.0.0.1:80 -h /tmp"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: nstool-shop}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: a, image: localhost/busybox:1, imagePullPolicy: Never, command: [sleep, "1000"]}
  - {name: b, image: localhost/busybox:1, imagePullPolicy: Never, command: [sleep, "1000"]}
`)
	kubernetes.Kubectl(t, "wait", "-n", "nstool-shop", "--for=condition=Ready", "pod/cart", "pod/two", "--timeout=60s")
	t.Cleanup(func() {
		kubernetes.Kubectl(t, "delete", "pods", "-A", "-l", label, "--force", "--grace-period=0")
	})
}

// label is on all debug pods.
const label = "app.kubernetes.io/managed-by=kubectl-nstool"

// left returns the debug pods that are not being removed.
func left(t *testing.T) string {
	t.Helper()
	return kubernetes.Kubectl(t, "get", "pods", "-A", "-l", label, "-o", `go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{.status.phase}} {{end}}{{end}}`)
}

func TestPlugin(t *testing.T) {
	plugin(t)
	t.Run("words", pluginWords)
	t.Run("forbidden", pluginForbidden)
	t.Run("nodes", pluginNodes)
	t.Run("forward", pluginForward)
	t.Run("killed", pluginKilled)
}

func pluginWords(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("in", []byte("from here\n"), 0o750); err != nil { //nolint:gosec // it is copied with its permissions
		t.Fatal(err)
	}
	type row struct {
		words          string
		stdin          string
		status         int
		stdout, stderr string
	}
	try := func(t *testing.T, c row) {
		t.Helper()
		words := strings.Split(c.words, " ")
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "\u00a0", " ")
		}
		r := kubernetes.Run(c.stdin, append([]string{"kubectl", "nstool"}, words...)...)
		if r.Status != c.status || !regexp.MustCompile(c.stdout).MatchString(r.Stdout) || !regexp.MustCompile(c.stderr).MatchString(r.Stderr) {
			t.Errorf("%s: status %d\n%s%s", c.words, r.Status, r.Stdout, r.Stderr)
		}
	}
	for _, c := range []row{
		{words: "enter nstool-shop/cart/app hostname", stdout: `^cart\n$`},
		{words: "enter nstool-shop/cart cat", stdin: "through", stdout: "^through$"},
		{words: "enter -n nstool-shop two/b --as root sh -c exit\u00a07", status: 7},
		{words: "cp in nstool-shop/cart:/tmp/", stdout: "^$"},
		{words: "cp in nstool-shop/cart:/tmp/other", stdout: "^$"},
		{words: "cp nstool-shop/cart:/tmp/in -", stdout: "^from here\n$"},
		{words: "cp nstool-shop/cart:/tmp out", stdout: "^$"},
		{words: "cp - nstool-shop/cart:/tmp/piped", stdin: "piped"},
		{words: "enter nstool-shop/cart sh -c cat\u00a0/tmp/piped;ls\u00a0-l\u00a0/tmp/other", stdout: `^piped-rwxr-x---`},
		{words: "show nstool-shop/two", stdout: "two"},
		{words: "containers --node node1 -o container,pod", stdout: "CONTAINER"},
		{words: "ls -t net --all-nodes", stdout: `(?s)^NODE .*\nnode1 .*\nnode2 `},
	} {
		try(t, c)
	}
	if text, err := os.ReadFile("out/index.html"); string(text) != "here\n" {
		t.Errorf("the copied directory has %q, %v", text, err)
	}
	var wg sync.WaitGroup
	for _, c := range []row{
		{words: "enter nstool-shop/nix", status: 125, stderr: "there is no pod nix in the namespace nstool-shop"},
		{words: "enter nix/cart", status: 125, stderr: "there is no (pod cart in the )?namespace nix"},
		{words: "enter nstool-shop/two", status: 125, stderr: "has 2 containers, name one: nstool-shop/two/a or nstool-shop/two/b"},
		{words: "enter nstool-shop/two/c", status: 125, stderr: "has no container c: it has a, b"},
		{words: "ls --node nix", status: 1, stderr: "there is no node nix: there is node1, node2"},
		{words: "ls --node node1 --image localhost/nix:1", status: 1, stderr: "the node node1 cannot pull the image localhost/nix:1: name one that it can by --image"},
		{words: "ls --node node1 --image localhost/busybox:1", status: 1, stderr: "the image localhost/busybox:1 has no nstool in its PATH"},
		{words: "ls --node node1 --debug-namespace nix", status: 1, stderr: "there is no namespace nix"},
		{words: "enter nstool-shop/cart --context weak", status: 125, stderr: "the user weak may not get pods: ask for get on pods in the namespace nstool-shop"},
		{words: "ls --all-nodes --context weak", status: 1, stderr: "the user weak may not list nodes: ask for get and list on nodes in the cluster"},
		{words: "ls --node node1 --as weak", status: 1, stderr: "the user weak may not create pods: ask for create, get, list, watch and delete on pods and get and create on pods/exec in the namespace default"},
		{words: "enter nstool-shop/cart --deadline 4s sleep 1000", status: 125, stderr: "the debug pod on node[12] reached its deadline of 4s: --deadline sets another"},
	} {
		wg.Go(func() { try(t, c) })
	}
	wg.Wait()
	if got := left(t); got != "" {
		t.Errorf("left: %s", got)
	}
}

// A namespace with a PodSecurity standard, and rights that end before exec.
func pluginForbidden(t *testing.T) {
	kubernetes.Apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: nstool-secure, labels: {pod-security.kubernetes.io/enforce: baseline}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: nstool-plugin}
rules: [{apiGroups: [""], resources: [pods], verbs: [create, get, list, watch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: nstool-plugin}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: nstool-plugin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: weak}]
`)
	r := kubernetes.Run("", "kubectl", "nstool", "ls", "--node", "node1", "--debug-namespace", "nstool-secure")
	if r.Status != 1 || !strings.Contains(r.Stderr, "the namespace nstool-secure enforces PodSecurity baseline, which forbids the debug pod: name one by --debug-namespace") {
		t.Errorf("%+v", r)
	}
	r = kubernetes.Run("", "kubectl", "nstool", "ls", "--node", "node1", "--context", "weak")
	if r.Status != 1 || !regexp.MustCompile("the user weak may not (get|create) pods/exec: ask for create, ").MatchString(r.Stderr) {
		t.Errorf("%+v", r)
	}
	if got := left(t); got != "" {
		t.Errorf("left: %s", got)
	}
}

// Of several nodes the one that is gone is told, in JSON too.
func pluginNodes(t *testing.T) {
	kubernetes.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: nstool-gone}\n")
	kubernetes.Kubectl(t, "patch", "node", "nstool-gone", "--subresource=status", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown","lastHeartbeatTime":"2026-01-01T10:00:00Z"}]}}`)
	r := kubernetes.Run("", "kubectl", "nstool", "ls", "-t", "net", "--all-nodes", "--json")
	var list struct {
		Complete   bool
		Namespaces []struct{ Node string }
		Gaps       []struct{ Node, Error string }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, ns := range list.Namespaces {
		seen[ns.Node] = true
	}
	for _, g := range list.Gaps {
		seen[g.Node] = seen[g.Node] || strings.Contains(g.Error, "is gone")
	}
	if r.Status != 1 || list.Complete || !seen["node1"] || !seen["node2"] || !seen["nstool-gone"] {
		t.Errorf("status %d, seen %v: %s", r.Status, seen, r.Stderr)
	}
	if !strings.Contains(r.Stderr, "nstool: nstool-gone: the node nstool-gone is gone") {
		t.Errorf("standard error: %s", r.Stderr)
	}
}

func pluginForward(t *testing.T) {
	cmd := exec.Command("kubectl-nstool", "forward", "nstool-shop/cart", ":80")
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = os.Stderr
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, _ := out.Read(line)
	at, _, _ := strings.Cut(string(line[:n]), " -> ")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 3 {
		resp, err := client.Get("http://" + at)
		if err != nil {
			t.Error(err)
			continue
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "here\n" {
			t.Errorf("%q, %v", body, err)
		}
		resp.Body.Close()
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if got := left(t); got != "" {
		t.Errorf("left: %s", got)
	}
}

// Whenever a signal comes, nothing is left; after SIGKILL nothing runs past the deadline, and
// what has ended is removed by the next call, but not what is another's.
func pluginKilled(t *testing.T) {
	run := func(after time.Duration, signal syscall.Signal, words ...string) {
		cmd := exec.Command("kubectl-nstool", words...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after) // at any step
		_ = cmd.Process.Signal(signal)
		_ = cmd.Wait()
	}
	for i := range 12 {
		run(time.Duration(i)*150*time.Millisecond, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}[i%3], "enter", "nstool-shop/cart", "sleep", "1000")
		if got := left(t); got != "" {
			t.Errorf("a signal after %d ms left %s", i*150, got)
		}
	}
	kubernetes.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: nstool-another, labels: {nstool-caller: another, %s}}
spec:
  restartPolicy: Never
  containers: [{name: a, image: localhost/busybox:1, imagePullPolicy: Never, command: ["true"]}]
`, strings.Replace(label, "=", ": ", 1)))
	for !strings.Contains(left(t), "nstool-another Succeeded") {
		time.Sleep(100 * time.Millisecond)
	}
	run(2*time.Second, syscall.SIGKILL, "enter", "nstool-shop/cart", "--deadline", "5s", "sleep", "1000")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if got := left(t); !strings.Contains(got, "Running") && !strings.Contains(got, "Pending") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("after the deadline there is %s", got)
		}
	}
	if r := kubernetes.Run("", "kubectl", "nstool", "clean"); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	if got := left(t); got != "nstool-another Succeeded" {
		t.Errorf("clean left %s", got)
	}
}
