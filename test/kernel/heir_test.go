package kernel_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A process whose first thread has exited is as good as any other: its namespaces,
// its root directory and its bounds are those of a thread that lives.
func TestFirstThreadIsZombie(t *testing.T) {
	nstest.Need(t, "root", "unshare", "gcc", "busybox")
	dir := nstest.Busybox(t)
	if err := os.WriteFile(dir+"/leave.c", []byte(`#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
static void *serve(void *x) { char c; prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); puts("ready"); fflush(stdout); if (read(0, &c, 1) < 1) exit(0); return 0; }
int main(void) { pthread_t t; printf("%d\n", getpid()); pthread_create(&t, 0, serve, 0); pthread_exit(0); }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-static", "-O1", "-o", dir+"/leave", dir+"/leave.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(dir+"/etc/hostname", []byte("inside\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := nstest.Start(t, exec.Command("unshare", "-m", "-n", "-u", "sh", "-c", `mkdir -p "$1/proc" && mount -t proc proc "$1/proc" && exec chroot "$1" /leave`, "sh", dir))
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	until(t, "the first thread is a zombie", func() bool { return strings.Contains(read(fmt.Sprintf("/proc/%d/stat", pid)), ") Z ") })
	if line, err := out.ReadString('\n'); err != nil && line == "" {
		t.Fatal(err)
	}
	for _, tc := range []struct{ args, want string }{
		{"enter -p PID cat /etc/hostname /proc/self/status", "inside\nName:"},
		{"enter -p PID grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"},
		{"enter -p PID --net readlink /proc/self/ns/net", "net:["},
		{"cp PID:/etc/hostname -", "inside"},
		{"show PID", "its first thread a zombie"},
		{"show PID", "no_new_privs"},
		{"diff PID self", "different"},
		{"ls -t net -p PID", "leave"},
	} {
		args := strings.Fields(strings.ReplaceAll(tc.args, "PID", fmt.Sprint(pid)))
		said, err := exec.Command(program(t), args...).CombinedOutput()
		if !strings.Contains(string(said), tc.want) {
			t.Errorf("nstool %v: %v: %s\nwhich has no %q", args, err, said, tc.want)
		}
	}
}
