package kubernetes_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/kubernetes"
)

// What people look at from a pod: a container with programs, and one with none but its
// own.
const cart = `
apiVersion: v1
kind: Pod
metadata: {name: cart}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: localhost/busybox:1, command: [sh, -c, "mkdir /data; echo of the cart >/data/file; exec nc -ll -p 8080 -e echo of the cart"]}
  - {name: bare, image: localhost/nstool-bare:1, command: [/sleep, "100000"]}
`

// Pods that lack something: the host's PIDs, every right, one, or a system call.
const lacking = `
apiVersion: v1
kind: Pod
metadata: {name: apart}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers: [{name: tools, image: localhost/nstool-tools:1, command: [sleep, "100000"], securityContext: {privileged: true}}]
---
apiVersion: v1
kind: Pod
metadata: {name: weak}
spec:
  nodeName: node1
  hostPID: true
  terminationGracePeriodSeconds: 0
  containers: [{name: tools, image: localhost/nstool-tools:1, command: [sleep, "100000"], securityContext: {seccompProfile: {type: RuntimeDefault}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: filtered}
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
      seccompProfile: {type: Localhost, localhostProfile: nosetns.json}
---
apiVersion: v1
kind: Pod
metadata: {name: rooted}
spec:
  nodeName: node1
  hostPID: true
  terminationGracePeriodSeconds: 0
  volumes: [{name: host, hostPath: {path: /}}]
  containers:
  - name: tools
    image: localhost/nstool-tools:1
    command: [sleep, "100000"]
    volumeMounts: [{name: host, mountPath: /host}]
    securityContext: {capabilities: {add: [SYS_ADMIN]}}
`

// images gives the nodes what the pods above are made of, and returns the directory of
// the tools.
func images(t *testing.T) (tools string) {
	t.Helper()
	busybox, err := os.ReadFile(filepath.Join(kubernetes.Dir, "busybox/bin/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	bare := nstest.Dir(t)
	if err := os.WriteFile(filepath.Join(bare, "sleep"), busybox, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	kubernetes.Image(t, "nstool-bare", bare)
	tools = filepath.Join(nstest.Dir(t), "tools")
	for _, command := range [][]string{
		{"cp", "-a", filepath.Join(kubernetes.Dir, "busybox"), tools},
		{"cp", nstest.Nstool(t), filepath.Join(tools, "bin/nstool")},
	} {
		if r := kubernetes.Run("", command...); r.Err != nil {
			t.Fatalf("%v: %+v", command, r)
		}
	}
	// No host has a program of that name.
	if err := os.WriteFile(filepath.Join(tools, "bin/podtool"), []byte("#!/bin/sh\necho of the pod\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	kubernetes.Image(t, "nstool-tools", tools)
	return tools
}

// A place is where nstool is called.
type place struct {
	name string
	run  func(stdin string, args ...string) kubernetes.Result // nstool there
	exec []string                                             // what starts a command there

	subject string // what the doctor calls the container
}

func placeOf(name string, exec ...string) place {
	return place{name: name, exec: exec, run: func(stdin string, args ...string) kubernetes.Result {
		return kubernetes.Run(stdin, slices.Concat(exec, []string{"nstool"}, args)...)
	}}
}

// pod is the place in a pod that runs.
func pod(t *testing.T, name string) place {
	t.Helper()
	kubernetes.Kubectl(t, "wait", "--for=condition=Ready", "--timeout=60s", "pod/"+name)
	p := placeOf(name, "kubectl", "exec", "-i", name, "--")
	p.subject = "default/" + name + "/tools"
	return p
}

// A pod that lacks something says what, in one line.
func TestHostLacking(t *testing.T) {
	kubernetes.Start(t)
	images(t)
	kubernetes.Apply(t, cart)
	profiles := filepath.Join(kubernetes.Dir, "node1/kubelet/seccomp")
	if err := os.MkdirAll(profiles, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profiles, "nosetns.json"), []byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["setns"], "action": "SCMP_ACT_ERRNO"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	kubernetes.Apply(t, lacking)
	pod(t, "cart")
	shell := strconv.Itoa(os.Getpid()) // with the host's namespaces, which the pod has not
	for _, c := range []struct {
		pod, args string
		want      []string
	}{
		{"apart", "containers", []string{"hostPID: true"}},
		{"apart", "enter default/cart/app hostname", []string{"hostPID: true"}},
		{"weak", "containers", []string{"hint: nstool itself is confined, as in a container that lacks CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN"}},
		{"weak", "enter default/cart/app hostname", []string{"CAP_SYS_"}},
		{"rooted", "containers -v", []string{"nstool: the host's file system is reached through /host"}},
		{"rooted", "pin add nstool-kube-x $PID --net", []string{"move to the host's file system: that takes CAP_SYS_PTRACE and CAP_SYS_ADMIN"}},
		{"filtered", "enter --net --uts -p $PID hostname", []string{"seccomp"}},
	} {
		r := pod(t, c.pod).run("", strings.Fields(strings.ReplaceAll(c.args, "$PID", shell))...)
		found := slices.DeleteFunc(lines(r.Stderr), func(line string) bool {
			return !slices.ContainsFunc(c.want, func(word string) bool { return strings.Contains(line, word) })
		})
		if len(found) != 1 {
			t.Errorf("%s: nstool %s: %d lines with %q: %+v", c.pod, c.args, len(found), c.want, r)
		}
	}
}

func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}
