package kernel_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// TestLsAgreesWithLsns holds the listing against that of lsns(8), of sandboxes,
// which do not change meanwhile: by root and by an ordinary user.
func TestLsAgreesWithLsns(t *testing.T) {
	nstest.Need(t, "lsns", "userns")
	exe := program(t)
	var inos []uint64
	add := func(box *nstest.Box, types ...string) {
		for _, typ := range types {
			inos = append(inos, box.Ino[typ])
		}
	}
	all := []string{"user", "mnt", "net", "ipc", "uts", "pid", "cgroup", "time"}
	add(nstest.Spec{Types: all, Nobody: true}.Start(t), all...)
	add(nstest.Spec{Types: []string{"user", "pid"}, Nobody: true}.Start(t), "user", "pid")
	add(nstest.Spec{Types: []string{"user", "net"}, Nobody: true, Exec: []string{"cat", "-"}}.Start(t), "user", "net")
	users := []int{nstest.Nobody}
	if nstest.Lacks("root") == nil {
		users = append(users, 0)
		add(nstest.Sandbox(t, all[1:]...), all[1:]...)
		add(nstest.Sandbox(t, "user"), "user")
	} else {
		users = []int{65534}
	}
	columns := "NS,TYPE,NPROCS,PID,PPID,UID,USER,COMMAND,ONS,PNS"
	for _, uid := range users {
		t.Run(fmt.Sprint(uid), func(t *testing.T) {
			parse := func(r run) map[uint64]map[string]any {
				if r.status != 0 {
					t.Fatalf("status %d: %s", r.status, r.err)
				}
				var l struct{ Namespaces []map[string]any }
				if err := json.Unmarshal([]byte(r.out), &l); err != nil {
					t.Fatal(err)
				}
				m := make(map[uint64]map[string]any)
				for _, ns := range l.Namespaces {
					m[uint64(ns["ns"].(float64))] = ns
				}
				return m
			}
			if uid != 0 && nstest.Lacks("root") != nil {
				nstest.Need(t, "user")
			}
			theirs := parse(finish(t, nstest.Command(t, uid, "lsns", "-J", "-l", "-o", columns)))
			ours := parse(finish(t, nstest.Command(t, uid, exe, "ls", "-J", "-o", columns)))
			compared := 0
			for _, n := range inos {
				a, b := theirs[n], ours[n]
				if a == nil {
					continue // it cannot see it; we may
				}
				if b == nil {
					t.Errorf("%v is not in ours", a)
					continue
				}
				compared++
				for key, v := range a {
					if (key == "ons" || key == "pns") && v == float64(0) {
						v = nil // it has 0 for none and for hidden
					}
					if key == "command" && b[key] == fmt.Sprintf("[%v]", v) {
						continue // without arguments, as ps(1) shows it
					}
					if !reflect.DeepEqual(v, b[key]) {
						t.Errorf("%v:[%d]: %s is %v, and to lsns %v", a["type"], n, key, b[key], v)
					}
				}
			}
			t.Logf("%d namespaces compared", compared)
			if uid == 0 && compared != len(inos) || compared < 3 {
				t.Errorf("only %d of %d namespaces compared", compared, len(inos))
			}
			// What lsns can see of all others, so can we. They come and go: what is
			// missed must be gone by now.
			again := parse(finish(t, nstest.Command(t, uid, "lsns", "-J", "-l", "-o", columns)))
			for n, ns := range theirs {
				if ours[n] == nil && again[n] != nil {
					t.Errorf("%v:[%d] of %v is not listed", ns["type"], n, ns["command"])
				}
			}
		})
	}
}
