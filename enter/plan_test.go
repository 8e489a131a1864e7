package enter

import (
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
)

// at is a namespace of the target, which is the caller's own if own is the
// same number.
func at(t inspect.Type, ino, own uint64) place {
	return place{typ: t, fd: 100 + int(t), id: inspect.ID{Dev: 4, Ino: ino}, own: inspect.ID{Dev: 4, Ino: own}, of: " of process 42", byTarget: true}
}

func TestPlan(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	rootMap := idMap{{Inside: 0, Outside: 100000, Count: 65536}}
	for _, tc := range []struct {
		name string
		cmd  Cmd
		s    situation
		want []string
		here bool
		err  string
	}{
		{
			name: "net alone, in place",
			s:    situation{capable: true, joins: []place{at(inspect.Net, 7, 1)}},
			want: []string{"join the net namespace 7 of process 42", "run prog from the PATH"},
			here: true,
		}, {
			name: "what is the same is passed over",
			s:    situation{capable: true, joins: []place{at(inspect.Net, 7, 1), at(inspect.UTS, 2, 2), at(inspect.User, 3, 3)}},
			want: []string{"join the net namespace 7 of process 42", "run prog from the PATH"},
			here: true,
		}, {
			name: "nothing to join",
			s:    situation{joins: []place{at(inspect.User, 3, 3)}},
			want: []string{"run prog from the PATH"},
			here: true,
		}, {
			name: "the privileged join the user namespace last",
			s: situation{
				capable: true, setgroups: true, uids: rootMap, gids: rootMap,
				joins: []place{at(inspect.User, 8, 3), at(inspect.Net, 7, 1), at(inspect.Time, 9, 4)},
			},
			want: []string{
				"join the net namespace 7 of process 42", "join the time namespace 9 of process 42", "join the user namespace 8 of process 42",
				"take no supplementary groups, group 0, user 0", "run prog from the PATH",
			},
		}, {
			name: "the others join it first",
			s: situation{
				setgroups: false, uid: 1000, uids: idMap{{Inside: 0, Outside: 1000, Count: 1}}, gids: idMap{{Inside: 0, Outside: 1000, Count: 1}},
				joins: []place{at(inspect.Net, 7, 1), at(inspect.User, 8, 3)},
			},
			want: []string{
				"join the user namespace 8 of process 42", "join the net namespace 7 of process 42",
				"take group 0, user 0", "run prog from the PATH",
			},
		}, {
			name: "a user namespace without root has a first user",
			s: situation{
				uid: 1000, uids: idMap{{Inside: 1000, Outside: 1000, Count: 1}}, gids: idMap{{Inside: 100, Outside: 1000, Count: 1}},
				joins: []place{at(inspect.User, 8, 3)},
			},
			want: []string{"join the user namespace 8 of process 42", "take group 100, user 1000", "run prog from the PATH"},
		}, {
			name: "a user namespace without users",
			s:    situation{uids: idMap{}, gids: idMap{}, setgroups: true, joins: []place{at(inspect.User, 8, 3)}},
			want: []string{"join the user namespace 8 of process 42", "run prog from the PATH"},
		}, {
			name: "credentials preserved",
			cmd:  Cmd{PreserveCredentials: true},
			s:    situation{uids: rootMap, gids: rootMap, setgroups: true, joins: []place{at(inspect.User, 8, 3)}},
			want: []string{"join the user namespace 8 of process 42", "run prog from the PATH"},
		}, {
			name: "followed into a user namespace, as it has them",
			cmd:  Cmd{FollowUID: true, FollowGID: true},
			s: situation{
				capable: true, setgroups: true, uids: rootMap, gids: rootMap, account: account{100005, 100006, []uint32{100007, 5}},
				joins: []place{at(inspect.User, 8, 3)},
			},
			want: []string{"join the user namespace 8 of process 42", "take supplementary groups [7], group 6, user 5", "run prog from the PATH"},
		}, {
			name: "followed outside",
			cmd:  Cmd{FollowUID: true},
			s:    situation{capable: true, setgroups: true, account: account{1005, 1006, nil}, joins: []place{at(inspect.Net, 7, 1)}},
			want: []string{"join the net namespace 7 of process 42", "take user 1005", "run prog from the PATH"},
			here: true,
		}, {
			name: "followed to where it does not exist",
			cmd:  Cmd{FollowUID: true},
			s:    situation{target: "process 42", uids: rootMap, gids: rootMap, account: account{5, 5, nil}, joins: []place{at(inspect.User, 8, 3)}},
			err:  "user 5 of process 42 does not exist in the user namespace to join",
		}, {
			name: "a user that is not there",
			cmd:  Cmd{UID: id(70000)},
			s:    situation{uids: rootMap, gids: rootMap, joins: []place{at(inspect.User, 8, 3)}},
			err:  "user 70000 does not exist in the user namespace to join",
		}, {
			name: "a PID namespace takes a process of its own",
			s:    situation{capable: true, joins: []place{at(inspect.PID, 7, 1)}},
			want: []string{"join the pid namespace 7 of process 42", "start a process in the PID namespace 7", "run prog from the PATH"},
		}, {
			name: "or not",
			cmd:  Cmd{NoFork: true},
			s:    situation{capable: true, joins: []place{at(inspect.PID, 7, 1)}},
			want: []string{"join the pid namespace 7 of process 42", "run prog from the PATH"},
			here: true,
		}, {
			name: "a program of the target does not get the caller's groups",
			s:    situation{capable: true, setgroups: true, joins: []place{at(inspect.Mnt, 7, 1)}},
			want: []string{"join the mnt namespace 7 of process 42", "take no supplementary groups", "run prog from the PATH"},
		}, {
			name: "a root directory of its own",
			s:    situation{capable: true, chrooted: true, rootOf: "that of process 42", root: 9, joins: []place{at(inspect.Mnt, 1, 1)}},
			cmd:  Cmd{Privileged: true},
			want: []string{"change the root directory to that of process 42", "change the working directory to /", "run prog from the PATH"},
		}, {
			name: "a directory outside is not for a program of the target",
			cmd:  Cmd{DirPath: "/srv"},
			s:    situation{capable: true, dir: 9, dirOf: "/srv", joins: []place{at(inspect.Mnt, 7, 1)}},
			err:  "/srv is a directory outside",
		}, {
			name: "two working directories",
			cmd:  Cmd{DirPath: "/srv", InnerDir: "/"},
			s:    situation{dir: 9, dirOf: "/srv"},
			err:  "two working directories",
		}, {
			name: "a procfs for the PID namespace",
			cmd:  Cmd{MountProc: true},
			s:    situation{capable: true, joins: []place{at(inspect.PID, 7, 1)}},
			want: []string{
				"join the pid namespace 7 of process 42", "make a mount namespace of its own", "mount a procfs on /proc",
				"start a process in the PID namespace 7", "run prog from the PATH",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, s := tc.cmd, tc.s
			c.Path = "prog"
			s.pidfd = 99
			s.env = []string{"PATH=/bin"}
			for _, fd := range []*int{&s.root, &s.dir} {
				if *fd == 0 {
					*fd = -1
				}
			}
			p, err := c.plan(&s)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v; want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, step := range p.steps {
				got = append(got, step.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
			if p.here != tc.here {
				t.Errorf("in place: %v", p.here)
			}
		})
	}
}

func TestIDMap(t *testing.T) {
	m, err := task.ParseIDMap("         0     100000      65536\n     70000       5000          2\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		outside, inside uint32
		ok              bool
	}{{100000, 0, true}, {165535, 65535, true}, {165536, 0, false}, {5001, 70001, true}, {5002, 0, false}, {0, 0, false}} {
		if in, ok := m.Inside(tc.outside); in != tc.inside || ok != tc.ok {
			t.Errorf("%d is %d, %v inside; want %d, %v", tc.outside, in, ok, tc.inside, tc.ok)
		}
	}
	if root, ok := (idMap{{Inside: 7, Count: 1}, {Inside: 3, Outside: 9, Count: 1}}).Root(); root != 3 || !ok {
		t.Errorf("first user %d, %v", root, ok)
	}
	for _, bad := range []string{"1 2\n", "a 0 1\n", "0 0 4294967296\n", "1 2 3 4\n", "-1 0 1\n"} {
		if _, err := task.ParseIDMap(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestShellOf(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nbad:x:7\nrel:x:8:8:::sh\nnobody:x:65534:65534::/:/sbin/nologin\nroot:x:0:0::/:/bin/second\n"
	for uid, want := range map[uint32]string{0: "/bin/bash", 7: "", 8: "", 9: "", 65534: "/sbin/nologin"} {
		if got := shellOf([]byte(passwd), uid); got != want {
			t.Errorf("user %d has %q; want %q", uid, got, want)
		}
	}
}

// The environment is read to its end and no further: every length of the first
// variable (nsenter reads beyond).
func TestSplitEnviron(t *testing.T) {
	for n := range 5000 {
		first := "A=" + strings.Repeat("x", n)
		if got := splitEnviron([]byte(first + "\x00B=2\x00=bad\x00nothing\x00")); !slices.Equal(got, []string{first, "B=2"}) {
			t.Fatalf("with %d bytes: %d variables", n, len(got))
		}
	}
}

func TestSearch(t *testing.T) {
	var got []string
	for _, p := range search("ls", []string{"ls"}, "/bin::rel:/usr/bin/:.") {
		got = append(got, p.Path)
	}
	if want := []string{"/bin/ls", "/usr/bin/ls"}; !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if p := search("./ls", nil, "/bin"); len(p) != 1 || p[0].Path != "./ls" {
		t.Errorf("got %v", p)
	}
}

func TestOutermost(t *testing.T) {
	table := ""
	for _, point := range []string{"/", "/sys", "/sysfs/x", "/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup-x", "/sys/fs/cgroup", `/sys/a\040b`, "/sys/fs/cgroup/cpu/y", "/sys/fs/bpf"} {
		table += "36 35 98:0 / " + point + " rw - tmpfs t rw\n"
	}
	want := []string{"/sys/a b", "/sys/fs/bpf", "/sys/fs/cgroup", "/sys/fs/cgroup-x"}
	if got := outermost("/sys", []byte(table)); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}
