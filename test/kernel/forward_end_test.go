package kernel_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// A deadEnd is something that a forward waits for in vain.
type deadEnd struct {
	target *exec.Cmd
	name   string // of the target, if not its number
	to     string
	silent bool        // it does not come so far as to say where it listens
	begun  func() bool // it waits
	freeze bool        // the target is
	free   func()      // what it waited for is no more
}

// island is a network in which nobody answers at 10.99.0.7.
func island(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("unshare", "-n", "sh", "-ec", `
		ip link set lo up
		ip link add d0 type veth peer name d1
		ip link set d1 up
		ip link set d0 up
		ip addr add 10.99.0.1/24 dev d0
		ip neigh add 10.99.0.7 lladdr 02:00:00:00:00:07 dev d0 nud permanent
		echo ready
		exec cat`)
	nstest.StartReady(t, cmd)
	return cmd
}

// asks reports whether a connection of the network waits for an answer.
func asks(target *exec.Cmd) func() bool {
	return func() bool {
		for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/net/tcp", target.Process.Pid))) {
			if f := strings.Fields(line); len(f) > 3 && f[3] == "02" { // TCP_SYN_SENT
				return true
			}
		}
		return false
	}
}

// deafFS mounts a file system that answers no more.
func deafFS(t *testing.T, dir string) *fuse {
	t.Helper()
	f := newFuse(t)
	if err := f.mount(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil { // until the kernel knows it
		t.Fatal(err)
	}
	f.deaf.Store(true)
	return f
}

// TestForwardEnds interrupts a forward that waits for what does not answer: it
// ends, says that it was interrupted, and leaves nothing behind.
func TestForwardEnds(t *testing.T) {
	nstest.Need(t, "root", "unshare", "ip", "fuse")
	program(t)
	for name, make := range map[string]func(t *testing.T) deadEnd{
		"a host that does not answer": func(t *testing.T) deadEnd {
			target := island(t)
			return deadEnd{target: target, to: "10.99.0.7:80", begun: asks(target)}
		},
		"a frozen target": func(t *testing.T) deadEnd {
			target := island(t)
			return deadEnd{target: target, to: "10.99.0.7:80", begun: asks(target), freeze: true}
		},
		"a socket on a file system that does not answer": func(t *testing.T) deadEnd {
			target := island(t)
			dir := nstest.Dir(t)
			f := deafFS(t, dir)
			return deadEnd{target: target, to: dir + "/file", begun: func() bool { return f.count(&f.left) > 0 }, free: f.end}
		},
		"the state of engines on a file system that does not answer": func(t *testing.T) deadEnd {
			f := deafFS(t, "/run")
			return deadEnd{name: "web", to: "80", silent: true, begun: func() bool { return f.count(&f.left) > 0 }, free: f.end}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
				t.Run(signal.String(), func(t *testing.T) {
					inPrivate(t, func() error { // nobody else is to come upon these mounts
						make(t).interrupt(t, signal)
						return nil
					})
				})
			}
		})
	}
}

func (d deadEnd) interrupt(t *testing.T, signal syscall.Signal) {
	target := d.name
	if target == "" {
		target = strconv.Itoa(d.target.Process.Pid)
	}
	cmd := exec.Command(program(t), "forward", target, ":"+d.to)
	var said strings.Builder
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := false
	t.Cleanup(func() {
		if !waited {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	var at string
	var client net.Conn
	if !d.silent {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("%v: %s", err, said.String())
		}
		at, _, _ = strings.Cut(line, " ")
		if client, err = net.Dial("tcp", at); err != nil {
			t.Fatal(err)
		}
		defer client.Close()
	}
	until(t, "it waits", d.begun)
	if d.freeze {
		_ = d.target.Process.Signal(syscall.SIGSTOP)
		defer d.target.Process.Signal(syscall.SIGCONT)
	}
	left := descendants(cmd.Process.Pid)
	start := time.Now()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(inTime, func() {
		cmd.Process.Kill()
		if d.free != nil {
			d.free() // else it is not even killed
		}
	})
	err = cmd.Wait()
	waited = true
	t.Logf("it took %v", time.Since(start))
	if !late.Stop() || err != nil || said.String() != "" {
		t.Errorf("after %v: %v: %s", time.Since(start), err, said.String())
	}
	if client != nil {
		_ = client.SetReadDeadline(time.Now().Add(inTime))
		if n, err := client.Read([]byte{0}); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("the client: %d, %v", n, err)
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Errorf("it still listens: %v", err)
		} else {
			l.Close()
		}
	}
	if d.free != nil {
		d.free() // before, the kernel lets nobody go
	}
	for _, pid := range left {
		until(t, fmt.Sprintf("process %d ends", pid), func() bool { return ended(pid) })
	}
}

// inTime is longer than it may take, and shorter than anything is waited for.
const inTime = 8 * time.Second

// descendants returns the processes that a process has started, and those that
// they have.
func descendants(pid int) (list []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		for word := range strings.FieldsSeq(read(task)) {
			if child, err := strconv.Atoi(word); err == nil {
				list = append(append(list, child), descendants(child)...)
			}
		}
	}
	return list
}

// ended reports whether a process runs no more.
func ended(pid int) bool {
	_, rest, _ := strings.Cut(read(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
	return rest == "" || rest[0] == 'Z' || rest[0] == 'X'
}

// TestForwardStopped stops the process that connects: it is ended, and another one answers.
func TestForwardStopped(t *testing.T) {
	nstest.Need(t, "root", "unshare", "ip")
	cmd := exec.Command(program(t), "forward", strconv.Itoa(island(t).Process.Pid), ":"+filepath.Join(nstest.Dir(t), "socket"))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	var deputy int
	until(t, "a deputy runs", func() bool { // a child may not have become one yet
		for _, pid := range descendants(cmd.Process.Pid) {
			if strings.HasPrefix(read(fmt.Sprintf("/proc/%d/cmdline", pid)), "nstool-deputy\x00") {
				deputy = pid
			}
		}
		return deputy != 0
	})
	if err := syscall.Kill(deputy, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	at, _, _ := strings.Cut(line, " ")
	client, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetReadDeadline(time.Now().Add(inTime))
	if n, err := client.Read([]byte{0}); n > 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("the client: %d, %v", n, err)
	}
	until(t, "the stopped process ends", func() bool { return ended(deputy) })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "/socket in ") {
		t.Errorf("%v: %s", err, said.String())
	}
}
