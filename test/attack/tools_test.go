package attack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// visitor looks for processes that have come into the container with files of
// another place, which it knows to be DIR on the host, and takes what it can.
const visitor = `#!/bin/busybox sh
while echo >>/tmp/rounds; do
	for p in /proc/[0-9]*; do
		[ $p = /proc/1 ] || [ $p = /proc/$$ ] && continue
		for r in $p/root $p/cwd $p/cwd/.. $p/cwd/../../..; do
			for d in $r/.nstool/tools $r/.nstool/work $r/.nstool/work/source $r DIR; do
				[ $d = DIR ] && d=$r/DIR
				for f in $d/etc/shadow $d/home/secret $d/usr/secret; do
					grep -h SECRET $f 2>/dev/null >>/tmp/loot
				done
				(echo PWND >>$d/bin/victim) 2>/dev/null
			done
		done
		[ -e $p/root/.nstool ] && busybox nsenter --mount=$p/ns/mnt /bin/busybox sh -c '
			echo in >>/proc/1/root/tmp/inside
			cd /.nstool/tools
			for m in bin usr .; do
				mount -o remount,rw $m; mount -o remount,bind,rw $m
				(echo PWND >>$m/victim; echo PWND >>$m/bin/victim)
			done
			umount -l bin usr / /.nstool/target
			for d in / /.. /proc/1/root; do
				grep -h SECRET $d/DIR/etc/shadow >>/proc/1/root/tmp/loot
				(echo PWND >>$d/DIR/bin/victim)
			done' 2>/dev/null
	done
done
`

// visit has a program in the cage until the visitor has looked at it twice.
func visit(t *testing.T, c *cage, by entrant) {
	t.Helper()
	cmd := command(t, by.expand(t, c, "sh", "-c", "echo in; cat")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = stdout.Read(make([]byte, 3)) //nolint:errcheck // Wait says what is wrong
	rounds := func() int {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/tmp/rounds", c.pid)) //nolint:errcheck // it has not begun
		return len(b)
	}
	over := time.Now().Add(6 * patience)
	for before := rounds(); rounds() < before+3; time.Sleep(10 * time.Millisecond) { // one has begun already
		if time.Now().After(over) {
			t.Error("the visitor does not look")
			break
		}
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, stderr.String())
	}
}

// A container that looks into the processes of its visitors, as their user and
// with no fewer capabilities, gets neither the secrets of the place where their
// tools are from, nor can it write there.
func TestToolsReach(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "nsenter")
	for name, caps := range map[string]string{"default": capsDefault, "ptrace": capsPtrace, "admin": "a82c25fb"} {
		for _, view := range []string{"target", "tools"} {
			t.Run(name+"/"+view, func(t *testing.T) {
				try := func(t *testing.T, by entrant) (won string) {
					dir := nstest.Busybox(t)
					for _, f := range []string{"etc/shadow", "home/secret", "bin/victim"} {
						mustWrite(t, filepath.Join(dir, f), "SECRET\n", 0o644)
					}
					for i, w := range by.words {
						by.words[i] = strings.ReplaceAll(w, "DIR", dir)
					}
					c := newCage(t, func(root string) {
						mustWrite(t, filepath.Join(root, "bin/visitor"), strings.ReplaceAll(visitor, "/DIR", dir), 0o755)
					}, []string{"-c", caps}, "/bin/visitor")
					visit(t, c, by)
					if b, err := os.ReadFile(filepath.Join(dir, "bin/victim")); err != nil || string(b) != "SECRET\n" {
						won = fmt.Sprintf("a tool on the host was written to: %v %q; ", err, b)
					}
					if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/inside", c.pid)); name == "admin" && by.name == "nstool" && err != nil {
						t.Errorf("it never got into the mount namespace, where it was to try: %v", err)
					}
					return won + c.loot()
				}
				control := entrant{name: "nsenter", words: []string{"nsenter", "-t", "PID", "-p", "--"}}
				if caps != capsDefault && view == "target" && !testing.Short() {
					if won := try(t, control); won == "" {
						t.Error("nsenter withstood the attack: it proves nothing")
					} else {
						t.Logf("against nsenter: %.200s", won)
					}
				}
				for _, user := range []string{"root", "target"} {
					if won := try(t, entrant{name: "nstool", words: []string{"nstool", "enter", "-p", "PID", "--tools=DIR", "--view=" + view, "--as=" + user, "--"}}); won != "" {
						t.Errorf("as %s: the attack succeeded: %s", user, won)
					}
				}
			})
		}
	}
}

// Tools that have more rights than the container take nothing of it for their
// own: neither a program, nor an interpreter, a loader, a library or a script
// that a shell reads.
func TestToolsMisled(t *testing.T) {
	library := filepath.Join(t.TempDir(), "evil.so")
	nstest.Need(t, "gcc", "bash")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-o", library, "testdata/preload.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tell := "for l in /tmp/loot /.nstool/target/tmp/loot; do echo $0 $(grep CapEff /proc/self/status) >>$l; done 2>/dev/null\n"
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, func(root string) {
			for _, name := range []string{"sh", "bash", "ls", "env", "id"} {
				for _, dir := range []string{"bin", "usr/bin"} {
					_ = os.Remove(filepath.Join(root, dir, name)) //nolint:errcheck // it may not be there
					mustWrite(t, filepath.Join(root, dir, name), "#!/bin/busybox sh\n"+tell, 0o755)
				}
			}
			for _, name := range []string{"etc/profile", "etc/bash.bashrc", "root/.bashrc", "root/.profile", ".bashrc", ".profile"} {
				mustWrite(t, filepath.Join(root, name), tell, 0o644)
			}
			mustWrite(t, filepath.Join(root, "etc/ld.so.preload"), "/evil.so\n", 0o644)
			mustWrite(t, filepath.Join(root, "etc/nsswitch.conf"), "passwd: evil\nhosts: evil\n", 0o644)
			copyFile(t, library, filepath.Join(root, "evil.so"))
			for _, name := range []string{"lib/x86_64-linux-gnu/libc.so.6", "lib/libnss_evil.so.2", "lib/libc.so.6"} {
				mustWrite(t, filepath.Join(root, name), "", 0o755)
				copyFile(t, library, filepath.Join(root, name))
			}
			mustWrite(t, filepath.Join(root, loaderPath()), "", 0o755)
			copyFile(t, program(t, "loader"), filepath.Join(root, loaderPath()))
		}, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		for _, words := range [][]string{{"bash", "-ic", "ls; env; id"}, {"sh", "-c", "ls; id; getent passwd root; getent hosts x"}, {"ls"}} {
			cmd := command(t, by.expand(t, c, words...)...)
			cmd.Env = append(os.Environ(), "BASH_ENV=/root/.bashrc")
			out, err := cmd.CombinedOutput()
			t.Logf("%v: %v: %.300s", words, err, out)
		}
		return c.loot()
	}}.runWith(t,
		entrant{name: "privileged", words: []string{"nstool", "enter", "-p", "PID", "--tools", "--privileged", "--"}},
		entrant{name: "capability", words: []string{"nstool", "enter", "-p", "PID", "--tools", "--cap-add=SYS_PTRACE", "--"}},
	)
}

// runWith runs an attack against its control and against others than nstool's
// usual way in.
func (a attack) runWith(t *testing.T, list ...entrant) {
	nstest.Need(t, "root", "gcc", "busybox", "nsenter")
	t.Run("control", func(t *testing.T) {
		if won := a.try(t, a.control); won == "" {
			t.Errorf("%s withstood the attack: it proves nothing", a.control.name)
		}
	})
	for _, by := range list {
		t.Run(by.name, func(t *testing.T) {
			if won := a.try(t, by); won != "" {
				t.Errorf("the attack succeeded: %s", won)
			}
		})
	}
}

// A root directory with more in it than anybody needs, or with names and links
// that lead elsewhere, keeps tools from nothing but what it names.
func TestToolsHostileRoot(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox")
	c := newCage(t, func(root string) {
		for name, to := range map[string]string{
			"lib64": "/lib64", "usr": "../../usr", "bin2": "bin2", "sbin": "/proc/self/root/sbin", "a\n\x1b[31mb": "/etc", ".nstool": "/tmp",
		} {
			_ = os.RemoveAll(filepath.Join(root, name)) //nolint:errcheck // it may not be there
			if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		mustFIFO(t, filepath.Join(root, "fifo"))
		mustFIFO(t, filepath.Join(root, "etc/resolv.conf"))
	}, []string{"-c", capsDefault}, "/bin/attack", "sleep")
	enter := func(tools, view string) (string, error) {
		out, err := command(t, program(t, "nstool"), "enter", "-p", fmt.Sprint(c.pid), "--tools"+tools, "--view="+view, "/.nstool/tools/bin/sh", "-c", "cat /.nstool/target/etc/inside && echo inside").CombinedOutput()
		return string(out), err
	}
	for _, way := range [][2]string{{"", "tools"}, {"=" + nstest.Busybox(t), "target"}, {"=" + nstest.Busybox(t), "tools"}} {
		if out, err := enter(way[0], way[1]); err != nil || out != "inside\n" {
			t.Errorf("%v: %v: %q", way, err, out)
		}
	}
	if out, err := enter("", "target"); err == nil || !strings.Contains(out, "\nhint: --view=tools ") {
		t.Errorf("a link to itself where the loader is to be: %v: %q", err, out)
	}
}

// A container that takes hold of the pipe by which the parent of a visitor tells
// nstool what becomes of it keeps nobody from ending.
func TestToolsHeld(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox")
	c := newCage(t, nil, []string{"-c", capsPtrace}, "/bin/attack", "hold")
	cmd := command(t, program(t, "nstool"), "enter", "-p", fmt.Sprint(c.pid), "--tools="+nstest.Busybox(t), "sh", "-c", "sleep 1000 & until grep -q holds /tmp/loot; do sleep 0.05; done; exit 7")
	out, err := cmd.CombinedOutput()
	// Who may do that may kill the visitor too.
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 7 && e.ExitCode() != 128+9 {
		t.Errorf("%v: %s", err, out)
	}
	if !strings.Contains(c.loot(), "holds ") {
		t.Errorf("it was not tried: %q", c.loot())
	}
	if !eventually(patience, func() bool { return len(c.members()) == 0 }) {
		t.Errorf("%v still run", c.members())
	}
}

// Who goes on from the tools into a mount namespace of his own does not stay
// either, whether the program ends or nstool is killed.
func TestToolsElsewhere(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox")
	for _, killed := range []bool{false, true} {
		c := quiet(t)
		words := []string{
			program(t, "nstool"), "enter", "-p", fmt.Sprint(c.pid), "--tools=" + nstest.Busybox(t), "--privileged", "sh", "-c",
			`busybox unshare -m busybox sh -c 'busybox setsid busybox sleep 1000 & : >tmp/elsewhere; busybox sleep 1001' & until [ -e tmp/elsewhere ]; do :; done; ` + map[bool]string{false: "exit 3", true: "sleep 1002"}[killed],
		}
		cmd := command(t, words...)
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if killed {
			if !eventually(patience, func() bool {
				_, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/elsewhere", c.pid))
				return err == nil
			}) {
				t.Fatal("the program does nothing")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		err := cmd.Wait()
		if e, ok := errors.AsType[*exec.ExitError](err); !killed && (!ok || e.ExitCode() != 3) {
			t.Errorf("%v: %s", err, said.String())
		}
		if !eventually(patience, func() bool { return len(c.members()) == 0 }) {
			t.Errorf("killed: %t: %v still run", killed, c.members())
		}
	}
}

// A target without /proc has nothing there that keeps the settings of the kernel
// from its visitors: they are given one that nobody can write to.
func TestToolsWithoutProc(t *testing.T) {
	nstest.Need(t, "root", "busybox")
	root := nstest.Busybox(t)
	target := exec.Command(program(t, "nstool"), "run", "--mnt", "--pid", "--no-init", "--root", root, "/bin/busybox", "sleep", "60")
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer target.Wait()         //nolint:errcheck // it is killed
	defer target.Process.Kill() //nolint:errcheck // it has not ended
	pid := 0
	if !eventually(patience, func() bool {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", target.Process.Pid))
		for _, list := range lists {
			text, rerr := os.ReadFile(list)
			if n, serr := fmt.Sscan(string(text), &pid); err == nil && rerr == nil && serr == nil && n == 1 {
				cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				return err == nil && strings.HasPrefix(string(cmdline), "/bin/busybox")
			}
		}
		return false
	}) {
		t.Fatal("the target does not start")
	}
	for _, flags := range []string{"--view=target", "--view=tools", "--privileged"} {
		out, err := command(t, program(t, "nstool"), "enter", "-p", fmt.Sprint(pid), "--tools="+root, flags, "sh", "-c",
			"[ -d /proc/1 ] || { echo none; exit; }; cat /proc/1/comm; (echo evil >/proc/sys/kernel/hostname) 2>&1 | grep -o 'Read-only.*'").CombinedOutput()
		if string(out) == "none\n" {
			nstest.SkipUnsupported(t, errors.ErrUnsupported, "6.17")
		}
		if want := "busybox\nRead-only file system\n"; err != nil || string(out) != want {
			t.Errorf("%s: %v: %q, not %q", flags, err, out, want)
		}
	}
}
