package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/kubernetes"
)

// A pod with the host's PIDs and what capabilities its user thought of.
const capable = `
apiVersion: v1
kind: Pod
metadata: {name: capable}
spec:
  nodeName: node1
  hostPID: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: tools
    image: localhost/nstool-tools:1
    command: [sleep, "100000"]
    securityContext:
      capabilities: {add: [SYS_ADMIN, SYS_PTRACE, SYS_CHROOT, NET_ADMIN, DAC_READ_SEARCH]}
      seccompProfile: {type: Unconfined}
      appArmorProfile: {type: Unconfined}
`

// debugger is the pod of the real kubectl debug.
func debugger(t *testing.T, node string) place {
	t.Helper()
	said := kubernetes.Kubectl(t, "debug", "node/"+node, "--profile=sysadmin", "--image=localhost/nstool-tools:1", "--", "sleep", "100000")
	i := slices.IndexFunc(strings.Fields(said), func(word string) bool { return strings.HasPrefix(word, "node-debugger-") })
	if i < 0 {
		t.Fatalf("kubectl debug: %s", said)
	}
	name := strings.Fields(said)[i]
	t.Cleanup(func() { kubernetes.Kubectl(t, "delete", "pod", "--force", "--grace-period=0", name) })
	p := pod(t, name)
	p.name, p.subject = "debug", "default/"+name+"/debugger"
	return p
}

// container is the place in a container of this machine's Docker.
func container(t *testing.T, tools string) place {
	t.Helper()
	const name = "nstool-test-host"
	// What of --privileged every root has to give.
	const rights = "--cap-add=SYS_ADMIN --cap-add=SYS_PTRACE --cap-add=NET_ADMIN --cap-add=DAC_READ_SEARCH --security-opt=seccomp=unconfined --security-opt=apparmor=unconfined"
	t.Cleanup(func() {
		for _, command := range [][]string{{"docker", "rm", "-f", name}, {"docker", "rmi", "localhost/nstool-test-tools:1"}} {
			if r := kubernetes.Run("", command...); r.Err != nil {
				t.Errorf("%v: %+v", command, r)
			}
		}
	})
	for _, command := range []string{
		"tar -C " + tools + " -c . | docker import -c 'ENV PATH=/bin' - localhost/nstool-test-tools:1",
		"docker run -d --name " + name + " --pid=host --network=host " + rights + " localhost/nstool-test-tools:1 sleep 100000",
	} {
		if r := kubernetes.Run("", "sh", "-c", command); r.Err != nil {
			t.Fatalf("%s: %+v", command, r)
		}
	}
	p := placeOf("docker", "docker", "exec", "-i", name)
	p.subject = "docker:" + name
	return p
}

// From inside, the host answers as from outside.
func TestHost(t *testing.T) {
	kubernetes.Start(t)
	tools := images(t)
	kubernetes.Apply(t, cart)
	kubernetes.Apply(t, capable)
	host := placeOf("host", "env", "PATH="+filepath.Dir(nstest.Nstool(t))+":"+os.Getenv("PATH"))
	pod(t, "cart")
	places := []place{debugger(t, "node1"), pod(t, "capable")}
	if nstest.Lacks("docker") == nil {
		places = append(places, container(t, tools))
	}
	for _, inside := range places {
		t.Run(inside.name, func(t *testing.T) {
			t.Run("same", func(t *testing.T) { testSame(t, host, inside) })
			t.Run("enter", func(t *testing.T) { testEnter(t, host, inside) })
			t.Run("cp", func(t *testing.T) { testCp(t, inside) })
			t.Run("forward", func(t *testing.T) { testForward(t, inside) })
			t.Run("pin", func(t *testing.T) { testPin(t, host, inside, "nstool-kube-"+inside.name) })
			t.Run("doctor", func(t *testing.T) { testDoctor(t, host, inside) })
			t.Run("says", func(t *testing.T) { testSays(t, inside) })
		})
	}
}

// testSame asks the same inside as on the host. Others come and go on this machine: what
// the host says before and after has to be said inside, and nothing else but what it
// says at one of the two times.
func testSame(t *testing.T, host, inside place) {
	for _, args := range []string{
		"containers -n -r -o CONTAINER,IMAGE,INIT,PID,NET,IPC,MNT,UTS,USER,CGROUP",
		"containers -n -r -o CONTAINER,INIT default/cart/app",
		"ls -n -r -t net,ipc,uts,pid -o NS,TYPE,OWNER,CONTAINER",
		"ls -n -r -t net,ipc,uts,mnt,pid default/cart/app",
		"net -n -r -o NAME,NS,KIND,ADDRESSES,PEER,PEERCONTAINER,CONTAINER",
		"net -n -r default/cart",
		"ports -n default/cart/app",
		"show -t net default/cart/app",
		"show default/cart/app",
		"diff default/cart/app default/cart/bare",
		"pid --in default/cart/app 1",
		"pin ls -n -r -o NAME,TYPE,NS,STATE,BY,PATH",
	} {
		words := strings.Fields(args)
		for try := 0; ; try++ {
			before, got, after := host.run("", words...), inside.run("", words...), host.run("", words...)
			var wrong []string
			first, last, said := comparable(before.Stdout), comparable(after.Stdout), comparable(got.Stdout)
			if len(first) == 0 {
				t.Fatalf("nstool %s on the host: %+v", args, before)
			}
			for _, line := range first {
				if slices.Contains(last, line) && !slices.Contains(said, line) {
					wrong = append(wrong, "-"+line)
				}
			}
			for _, line := range said {
				if !slices.Contains(first, line) && !slices.Contains(last, line) {
					wrong = append(wrong, "+"+line)
				}
			}
			if got.Status != before.Status && got.Status != after.Status {
				wrong = append(wrong, fmt.Sprintf("status %d, on the host %d", got.Status, before.Status))
			}
			if len(wrong) == 0 {
				break
			}
			if try == 2 {
				t.Errorf("nstool %s: - is what the host says, + what is said inside:\n%s\n%s", args, strings.Join(wrong, "\n"), got.Stderr)
				break
			}
		}
	}
}

// comparable are the lines of an answer without what differs by who asks: how many processes
// there were, and how one's own network namespace numbers others.
func comparable(answer string) (all []string) {
	for _, line := range lines(answer) {
		line = regexp.MustCompile(`, netnsid \d+`).ReplaceAllString(line, "")
		if !strings.Contains(line, " could not be read") && !strings.Contains(line, " in the mount namespace of ") {
			all = append(all, line)
		}
	}
	return all
}

func testEnter(t *testing.T, host, inside place) {
	for _, c := range []struct{ args, want string }{
		{"enter default/cart/app hostname", "cart\n"},
		{"enter default/cart/app cat /data/file", "of the cart\n"},
		{"enter --pod default/cart/app hostname", "cart\n"},
		{"enter --pod default/cart hostname", "cart\n"},
		// Programs of the pod that we are in, and not of the host.
		{"enter --tools -c default/cart/bare podtool", "of the pod\n"},
		{"enter --tools -c default/cart/bare cat /proc/1/comm", "sleep\n"},
		{"enter --tools=pod:default/cart/app -c default/cart/bare hostname", "cart\n"},
	} {
		if r := inside.run("", strings.Fields(c.args)...); r.Stdout != c.want || r.Err != nil {
			t.Errorf("nstool %s: %+v, want %q", c.args, r, c.want)
		}
	}
	// As on the host, it is in the control groups of the target.
	const groups = "enter default/cart/app cat /proc/self/cgroup"
	if got, want := inside.run("", strings.Fields(groups)...), host.run("", strings.Fields(groups)...); got.Stdout != want.Stdout {
		t.Errorf("nstool %s: %+v, want %+v", groups, got, want)
	}
	if r := inside.run("", "enter", "default/cart/app", "sh", "-c", "exit 7"); r.Status != 7 {
		t.Errorf("%+v", r)
	}
}

func testCp(t *testing.T, inside place) {
	if r := inside.run("", "cp", "default/cart/app:/data/file", "-"); r.Stdout != "of the cart\n" {
		t.Errorf("%+v", r)
	}
	if r := inside.run("from inside\n", "cp", "-", "default/cart/app:/data/other"); r.Err != nil {
		t.Errorf("%+v", r)
	}
	if got := kubernetes.Kubectl(t, "exec", "cart", "-c", "app", "--", "cat", "/data/other"); got != "from inside" {
		t.Errorf("%q", got)
	}
	if r := inside.run("", "cp", "default/cart/bare:/sleep", "/tmp/"); r.Err != nil {
		t.Errorf("%+v", r)
	}
}

func testForward(t *testing.T, inside place) {
	if r := inside.run("", "forward", "--stdio", "default/cart", "8080"); r.Stdout != "of the cart\n" {
		t.Errorf("%+v", r)
	}
	if inside.name == "capable" {
		return // its port is in its own network
	}
	const port = 18099
	cmd := exec.Command(inside.exec[0], slices.Concat(inside.exec[1:], []string{"nstool", "forward", "default/cart", fmt.Sprintf("%d:8080", port)})...) //nolint:gosec // of a test
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // it is killed
	defer func() {
		_ = cmd.Process.Kill()
		// The one inside is not told of that.
		kubernetes.Run("", slices.Concat(inside.exec, []string{"pkill", "-f", "nstool forward"})...)
	}()
	go io.Copy(io.Discard, stderr) //nolint:errcheck // until it ends
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if time.Now().After(end) {
				t.Fatal(err)
			}
			continue
		}
		got, err := io.ReadAll(conn)
		conn.Close()
		if string(got) != "of the cart\n" {
			t.Errorf("%q %v", got, err)
		}
		return
	}
}

// A pin is made on the host, where it is when the pod that made it is gone; here it is
// looked at, and removed, on the host.
func testPin(t *testing.T, host, inside place, name string) {
	if r := inside.run("", "pin", "add", name, "default/cart/app", "--net", "--uts"); r.Err != nil || !strings.Contains(r.Stdout+r.Stderr, "host") {
		t.Errorf("%+v", r)
	}
	if r := host.run("", "enter", "-p", "pin:"+name, "--uts", "hostname"); r.Stdout != "cart\n" {
		t.Errorf("on the host: %+v", r)
	}
	if r := inside.run("", "enter", "-p", "pin:"+name, "--uts", "hostname"); r.Stdout != "cart\n" {
		t.Errorf("inside: %+v", r)
	}
	if r := inside.run("", "pin", "ls", "-n", "-o", "NAME", name); !strings.Contains(r.Stdout, name) {
		t.Errorf("%+v", r)
	}
	if r := inside.run("", "pin", "rm", name); r.Err != nil {
		t.Errorf("%+v", r)
		host.run("", "pin", "rm", name)
	}
	if r := host.run("", "pin", "ls", "-n", "-o", "NAME"); strings.Contains(r.Stdout, name) {
		t.Errorf("it is still there: %s", r.Stdout)
	}
}

// A pin is there when the pod that made it is not.
func TestPinOutlives(t *testing.T) {
	kubernetes.Start(t)
	images(t)
	kubernetes.Apply(t, cart)
	pod(t, "cart")
	const name = "nstool-kube-outlives"
	t.Run("pod", func(t *testing.T) {
		if r := debugger(t, "node1").run("", "pin", "add", name, "default/cart/app", "--uts"); r.Err != nil {
			t.Errorf("%+v", r)
		}
	}) // which removes it
	defer kubernetes.Run("", nstest.Nstool(t), "pin", "rm", name)
	if r := kubernetes.Run("", nstest.Nstool(t), "enter", "-p", "pin:"+name, "--uts", "hostname"); r.Stdout != "cart\n" {
		t.Errorf("%+v", r)
	}
}

// testDoctor holds findings against each other by what they are about.
func testDoctor(t *testing.T, host, inside place) {
	findings := func(p place) (all []string) {
		r := p.run("", "doctor", "--json", "--check", "names,sharing,privileges,left")
		var v struct{ Findings []map[string]any }
		if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		for _, f := range v.Findings {
			all = append(all, fmt.Sprint(f["check"], " ", f["severity"], " ", f["subject"]))
		}
		return all
	}
	for try := 0; ; try++ {
		before, got, after := findings(host), findings(inside), findings(host)
		var wrong []string
		for _, f := range before {
			if strings.HasSuffix(f, " "+inside.subject) {
				continue // it says nothing of the container that it runs in
			}
			if slices.Contains(after, f) && !slices.Contains(got, f) {
				wrong = append(wrong, "-"+f)
			}
		}
		for _, f := range got {
			if strings.HasSuffix(f, " "+inside.subject) || !slices.Contains(before, f) && !slices.Contains(after, f) {
				wrong = append(wrong, "+"+f)
			}
		}
		if len(wrong) == 0 {
			break
		}
		if try == 2 {
			t.Errorf("- is what the host says, + what is said inside:\n%s", strings.Join(wrong, "\n"))
			break
		}
	}
}

// Which file system is the host's is said, in JSON and with -v.
func testSays(t *testing.T, inside place) {
	r := inside.run("", "containers", "--json")
	var v map[string]any
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if through, ok := v["hostfs"].(string); !ok || !strings.HasPrefix(through, "pid:") {
		t.Errorf("hostfs is %v", v["hostfs"])
	}
	if r := inside.run("", "containers", "-v"); !strings.Contains(r.Stderr, "nstool: the host's file system is reached through pid:") {
		t.Errorf("-v: %s", r.Stderr)
	}
}
