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
func at(t inspect.Type, ino, own uint64) joinable {
	return joinable{typ: t, fd: 100 + int(t), id: inspect.ID{Dev: 4, Ino: ino}, own: inspect.ID{Dev: 4, Ino: own}, of: " of process 42", byTarget: true}
}

// rootsOwn and usersOwn are callers.
var (
	rootsOwn = task.Task{Caps: CapSets{Effective: task.KnownCaps, Permitted: task.KnownCaps, Bounding: task.KnownCaps}, Groups: []uint32{0, 27}}
	usersOwn = task.Task{UID: task.IDs{Real: 1000, Effective: 1000, Saved: 1000, FS: 1000}, GID: task.IDs{Real: 1000, Effective: 1000, Saved: 1000, FS: 1000}}
)

func TestPlan(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	rootMap := idMap{{Inside: 0, Outside: 100000, Count: 65536}}
	ownMap := idMap{{Inside: 0, Outside: 1000, Count: 1}}
	const net, run = "join the net namespace 7 of process 42", "run prog from the PATH"
	const user, stay = "join the user namespace 8 of process 42", "change the working directory to /srv, or / if it may not go there"
	for _, tc := range []struct {
		name string
		cmd  Cmd
		s    situation
		deny bool // setgroups(2) is denied there
		want []string
		here bool
		err  string
	}{
		{
			name: "net alone, in place",
			s:    situation{own: rootsOwn, joins: []joinable{at(inspect.Net, 7, 1)}},
			want: []string{net, run},
			here: true,
		}, {
			name: "what is the same is passed over",
			s:    situation{own: rootsOwn, joins: []joinable{at(inspect.Net, 7, 1), at(inspect.UTS, 2, 2), at(inspect.User, 3, 3)}},
			want: []string{net, run},
			here: true,
		}, {
			name: "nothing to join",
			s:    situation{joins: []joinable{at(inspect.User, 3, 3)}},
			want: []string{run},
			here: true,
		}, {
			name: "the privileged join the user namespace last, and are somebody in it before",
			s: situation{
				own: rootsOwn, uids: rootMap, gids: rootMap, id: Identity{UID: 100005, GID: 100006, Groups: []uint32{100007}},
				joins: []joinable{at(inspect.User, 8, 3), at(inspect.Net, 7, 1), at(inspect.Time, 9, 4)},
			},
			want: []string{"take supplementary groups [100007], group 100006, user 100005", net, "join the time namespace 9 of process 42", user, stay, run},
		}, {
			name: "the others join it first", deny: true,
			s: situation{
				own: usersOwn, uids: ownMap, gids: ownMap, id: Identity{UID: 1000, GID: 1000},
				joins: []joinable{at(inspect.Net, 7, 1), at(inspect.User, 8, 3)},
			},
			want: []string{user, net, "take group 0, user 0", stay, run},
		}, {
			name: "groups that cannot be left, and that the target has not", deny: true,
			s: situation{
				own: task.Task{UID: usersOwn.UID, GID: usersOwn.GID, Groups: []uint32{27}}, uids: ownMap, gids: ownMap, id: Identity{UID: 1000, GID: 1000},
				joins: []joinable{at(inspect.User, 8, 3)},
			},
			err: "group 27 of the caller cannot be left, and process 42 is not in it: that takes CAP_SETGID",
		}, {
			name: "groups that cannot be left, and that the target has too", deny: true,
			s: situation{
				own: task.Task{UID: usersOwn.UID, GID: usersOwn.GID, Groups: []uint32{27}}, uids: ownMap, gids: ownMap, id: Identity{UID: 1000, GID: 1000, Groups: []uint32{27, 28}},
				joins: []joinable{at(inspect.User, 8, 3)},
			},
			want: []string{user, "take group 0, user 0", stay, run},
		}, {
			name: "a user namespace without users: the target's own are taken outside",
			s:    situation{own: rootsOwn, uids: idMap{}, gids: idMap{}, id: Identity{UID: 1000, GID: 1000, Groups: []uint32{4}}, joins: []joinable{at(inspect.User, 8, 3)}},
			want: []string{"take supplementary groups [4], group 1000, user 1000", user, stay, run},
		}, {
			name: "or refused",
			s:    situation{own: usersOwn, uids: idMap{}, gids: idMap{}, id: Identity{UID: 1001, GID: 1001}, joins: []joinable{at(inspect.User, 8, 3)}},
			err:  "group 1001 of process 42 is not in the user namespace to join; to be it there takes CAP_SETUID and CAP_SETGID here",
		}, {
			name: "or are the caller's already",
			s:    situation{own: usersOwn, uids: idMap{}, gids: idMap{}, id: Identity{UID: 1000, GID: 1000}, joins: []joinable{at(inspect.User, 8, 3)}},
			want: []string{user, stay, run},
		}, {
			name: "credentials that can be preserved",
			cmd:  Cmd{PreserveCredentials: true},
			s: situation{
				own:  task.Task{UID: usersOwn.UID, GID: usersOwn.GID, Groups: []uint32{27}},
				uids: ownMap, gids: ownMap, id: Identity{UID: 1000, GID: 1000}, joins: []joinable{at(inspect.User, 8, 3)},
			},
			want: []string{user, "take no supplementary groups, group 0, user 0", stay, run},
		}, {
			name: "and that cannot",
			cmd:  Cmd{PreserveCredentials: true},
			s:    situation{own: rootsOwn, uids: rootMap, gids: rootMap, joins: []joinable{at(inspect.User, 8, 3)}},
			err:  "user 0, group 0, as which the caller is to stay, is not in the user namespace to join",
		}, {
			name: "root of a user namespace",
			cmd:  Cmd{UID: id(0), GID: id(0)},
			s:    situation{own: rootsOwn, uids: rootMap, gids: rootMap, id: Identity{UID: 101000, GID: 101000, Groups: []uint32{101007}}, joins: []joinable{at(inspect.User, 8, 3)}},
			want: []string{"take no supplementary groups, group 100000, user 100000", user, stay, run},
		}, {
			name: "followed outside, it is another's",
			cmd:  Cmd{FollowUID: true, FollowGID: true},
			s:    situation{own: rootsOwn, id: Identity{UID: 1005, GID: 1006, Groups: []uint32{4}}, joins: []joinable{at(inspect.Net, 7, 1)}},
			want: []string{net, "take supplementary groups [4], group 1006, user 1005", stay, run},
		}, {
			name: "a user that is not there",
			cmd:  Cmd{UID: id(70000)},
			s:    situation{own: rootsOwn, uids: rootMap, gids: rootMap, joins: []joinable{at(inspect.User, 8, 3)}},
			err:  "user 70000 does not exist in the user namespace to join",
		}, {
			name: "a PID namespace takes a process of its own",
			s:    situation{own: rootsOwn, joins: []joinable{at(inspect.PID, 7, 1)}},
			want: []string{"join the pid namespace 7 of process 42", "start a process in the PID namespace 7", run},
		}, {
			name: "or not",
			cmd:  Cmd{NoFork: true},
			s:    situation{own: rootsOwn, joins: []joinable{at(inspect.PID, 7, 1)}},
			want: []string{"join the pid namespace 7 of process 42", run},
			here: true,
		}, {
			name: "where it may be traced, it is the target's",
			s:    situation{own: rootsOwn, traced: true, joins: []joinable{at(inspect.PID, 7, 1)}},
			want: []string{"join the pid namespace 7 of process 42", "take no supplementary groups", stay, "start a process in the PID namespace 7", run},
		}, {
			name: "a program of the target is who that is",
			s:    situation{own: rootsOwn, id: Identity{UID: 1000, GID: 1001, Groups: []uint32{1002}}, joins: []joinable{at(inspect.Mnt, 7, 1)}},
			want: []string{"join the mnt namespace 7 of process 42", "take supplementary groups [1002], group 1001, user 1000", run},
		}, {
			name: "or root",
			cmd:  Cmd{UID: id(0), GID: id(0)},
			s:    situation{own: rootsOwn, id: Identity{UID: 1000, GID: 1001, Groups: []uint32{1002}}, joins: []joinable{at(inspect.Mnt, 7, 1)}},
			want: []string{"join the mnt namespace 7 of process 42", "take no supplementary groups", run},
		}, {
			name: "a root directory of its own",
			s:    situation{own: rootsOwn, chrooted: true, rootOf: "that of process 42", root: 9, joins: []joinable{at(inspect.Mnt, 1, 1)}},
			cmd:  Cmd{Privileged: true},
			want: []string{"change the root directory to that of process 42", "change the working directory to /", run},
		}, {
			name: "a directory outside is not for a program of the target",
			cmd:  Cmd{DirPath: "/srv"},
			s:    situation{own: rootsOwn, dir: 9, dirOf: "/srv", joins: []joinable{at(inspect.Mnt, 7, 1)}},
			err:  "/srv is a directory outside",
		}, {
			name: "two working directories",
			cmd:  Cmd{DirPath: "/srv", InnerDir: "/"},
			s:    situation{dir: 9, dirOf: "/srv"},
			err:  "two working directories",
		}, {
			name: "a procfs for the PID namespace",
			cmd:  Cmd{MountProc: true},
			s:    situation{own: rootsOwn, joins: []joinable{at(inspect.PID, 7, 1)}},
			want: []string{
				"join the pid namespace 7 of process 42", "make a mount namespace of its own", "mount a procfs on /proc",
				"start a process in the PID namespace 7", run,
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, s := tc.cmd, tc.s
			c.Path, c.Target = "prog", &Target{}
			s.pidfd, s.target, s.initial, s.dirPath = 99, "process 42", true, "/srv"
			s.capable, s.setgroups = s.own.Caps.Effective.Has(capSysAdmin), !tc.deny
			s.env = []string{"PATH=/bin"}
			for _, fd := range []*int{&s.root, &s.dir} {
				if *fd == 0 {
					*fd = -1
				}
			}
			var p *plan
			err := s.decide(&c)
			if err == nil {
				p, err = c.plan(&s)
			}
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
			if p.inPlace != tc.here {
				t.Errorf("in place: %v", p.inPlace)
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

func TestAccountOf(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nbad:x:7\nrel:x:8:9::home:sh\nnul:x:10:10::/x\x00:/bin/sh\nnobody:x:65534:65533::/:/sbin/nologin\nroot:x:0:0::/:/bin/second\n"
	for uid, want := range map[uint32]account{
		0: {0, true, "/root", "/bin/bash", "root"}, 7: {home: "/"}, 8: {9, true, "/", "", "rel"}, 9: {home: "/"}, 10: {home: "/"}, 65534: {65533, true, "/", "/sbin/nologin", "nobody"},
	} {
		if got := accountOf([]byte(passwd), uid); got != want {
			t.Errorf("user %d has %+v; want %+v", uid, got, want)
		}
	}
	if got := accountOf(nil, 0); got != (account{home: "/root"}) {
		t.Errorf("root has %+v without a file", got)
	}
}

// The environment is read to its end and no further: every length of the first
// variable (nsenter reads beyond).
func TestSplitEnviron(t *testing.T) {
	for n := range 5000 {
		first := "A=" + strings.Repeat("x", n)
		got, whole := splitEnviron([]byte(first + "\x00B=2\x00=bad\x00nothing\x00"))
		if !slices.Equal(got, []string{first, "B=2"}) || whole {
			t.Fatalf("with %d bytes: %d variables, whole %v", n, len(got), whole)
		}
	}
	for text, want := range map[string]bool{
		"": true, "A=1\x00": true, "A=1\x00B=\x00": true, "A=1": true,
		"\x00\x00": false, "serve: idle\x00\x00\x00": false, "A=1\x00\x00B=2\x00": false,
	} {
		if _, whole := splitEnviron([]byte(text)); whole != want {
			t.Errorf("%q: whole %v", text, whole)
		}
	}
}

func TestSearch(t *testing.T) {
	var got []string
	list, more := search("ls", []string{"ls"}, "/bin::rel:/usr/bin/:.")
	for _, p := range list {
		got = append(got, p.Path)
	}
	if want := []string{"/bin/ls", "/usr/bin/ls"}; !slices.Equal(got, want) || more {
		t.Errorf("got %v, %v; want %v", got, more, want)
	}
	if p, _ := search("./ls", nil, "/bin"); len(p) != 1 || p[0].Path != "./ls" {
		t.Errorf("got %v", p)
	}
	// A target may have a PATH of any length.
	list, more = search("ls", nil, strings.Repeat("/a:", 1<<20)+"/"+strings.Repeat("b", 1<<20))
	if len(list) != maxPlaces || !more {
		t.Errorf("%d places, %v", len(list), more)
	}
	if list, _ = search("ls", nil, "/"+strings.Repeat("b", 1<<20)+":/bin"); len(list) != 1 {
		t.Errorf("%d places", len(list))
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

// Where there are as many processes as may be, the caller moves the process that is
// forked, which is held until then and takes the limit of its user itself, and nobody
// is started beside it.
func TestPlanFull(t *testing.T) {
	limit := Step{Op: Session, Text: "limit"}
	s := &situation{
		own: rootsOwn, joins: []joinable{at(inspect.PID, 7, 1)}, toolsMount: &toolsMount{tools: &Tools{}}, nproc: &limit,
		first: []Step{{Op: Prepare, Text: "mask"}, {Op: Prepare, Text: "move", move: &move{}}},
	}
	words := func(p *plan) string {
		var list []string
		for _, step := range p.steps {
			list = append(list, strings.Fields(step.Text)[0])
		}
		return strings.Join(list, " ")
	}
	for _, c := range []struct {
		full       bool
		want       string
		late       int
		hasAKeeper bool
	}{
		{false, "make mask move join change change start start run", 0, true},
		{true, "make mask have join change change start limit run", 1, false},
	} {
		s.full = c.full
		p, err := (&Cmd{Path: "prog", Env: []string{}}).plan(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := words(p); got != c.want || len(p.movesLater) != c.late || p.keeper != c.hasAKeeper {
			t.Errorf("full %v: %s, %d late, keeper %v", c.full, got, len(p.movesLater), p.keeper)
		}
	}
}
