package kernel_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// TestLsChurn lists while processes and namespaces come and go: no listing
// fails, and none misses what stays. NSTOOL_TEST_LONG=1 does it 5,000 times.
func TestLsChurn(t *testing.T) {
	nstest.Need(t, "userns", "sh", "unshare")
	exe := program(t)
	runs, limit := 200, 12*time.Second
	switch {
	case os.Getenv("NSTOOL_TEST_LONG") != "":
		runs, limit = 5000, time.Hour
	case testing.Short():
		runs = 30
	}
	spec := nstest.Spec{Types: []string{"user", "mnt", "net", "pid", "uts", "ipc", "cgroup"}, Pins: []string{"uts"}, Files: []string{"ipc"}, Thread: []string{"net"}}
	box := spec.Start(t)
	stable := make(map[uint64]string)
	for typ, n := range box.Ino {
		stable[n] = typ
	}
	for typ, n := range box.ThreadIno {
		stable[n] = typ
	}
	for _, h := range box.Held {
		stable[h.Ino] = h.Type
	}
	var done sync.WaitGroup
	stop := make(chan struct{})
	churn := func(script string) {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				cmd := exec.Command("sh", "-c", script)
				cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
				_ = cmd.Run()
			}
		})
	}
	churn(`i=0; while [ $i -lt 50 ]; do true | true & i=$((i+1)); done; wait`)
	churn(`unshare -Urn true; unshare -Urum --propagation unchanged true; unshare -Ur sh -c "true & true"`)
	defer done.Wait()
	defer close(stop)
	slowest := time.Duration(0)
	gaps := 0
	begin, i := time.Now(), 0
	for ; i < runs && time.Since(begin) < limit; i++ {
		args := [][]string{{"ls", "-u", "-r", "-o", "NS,TYPE,PID,COMMAND"}, {"ls", "--json"}, {"ls", "--tree=process"}, {"ls", "-r", "-o", "NS,HOLDERS"}}[i%4]
		r := finish(t, exec.Command(exe, args...))
		if r.status != 0 {
			t.Fatalf("run %d: %v: status %d: %s", i, args, r.status, r.err)
		}
		if args[1] == "--json" {
			l := decode(t, r)
			for n := range stable {
				l.find(t, n)
			}
			for _, g := range l.Gaps {
				if strings.Contains(g.Error, "no such process") || strings.Contains(g.Error, "no such file") || strings.Contains(g.Error, "process exited") {
					t.Errorf("run %d: a gap for one that has gone: %+v", i, g)
				}
				gaps++
			}
		} else {
			lines := rows(r.out)
			for n, typ := range stable {
				if len(lines[n]) != 1 {
					t.Fatalf("run %d: %v: %s:[%d] has %d lines\n%s", i, args, typ, n, len(lines[n]), r.err)
				}
			}
		}
		slowest = max(slowest, r.took)
	}
	t.Logf("%d runs, the slowest took %v, %d gaps", i, slowest, gaps)
}
