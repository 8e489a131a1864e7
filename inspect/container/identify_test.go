package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/wait"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// A made is a made-up host, from testdata/host/*.txtar.
type maker struct {
	*nstest.Host
	host host
}

func makeHost(t testing.TB, text string) *maker {
	t.Helper()
	h := nstest.MakeHost(t, text)
	return &maker{h, host{proc: h.Proc, root: h.Root, stated: true}}
}

func idOf(word string) string { return nstest.ContainerID(word) }

func (m *maker) identify() *Set {
	return identify(context.Background(), m.host, func(yield func(int, *inspect.Inodes) bool) {
		for _, pid := range m.PIDs {
			if !yield(pid, (*inspect.Inodes)(m.Inodes[pid])) {
				return
			}
		}
	})
}

// report says in words what was identified.
func (m *maker) report(set *Set) string {
	var b strings.Builder
	guests := set.guests(slices.Values(m.PIDs))
	for _, c := range set.Containers {
		fmt.Fprintf(&b, "%s engine=%s", c, c.Engine)
		if !isHexID(c.ID) && c.ID != c.Name {
			fmt.Fprintf(&b, " id=%s", c.ID)
		}
		switch {
		case c.Outer != nil:
		case c.User > Root:
			fmt.Fprintf(&b, " user=%d", c.User)
		case c.User == Unknown:
			b.WriteString(" user=?")
		}
		for _, w := range []struct{ key, value string }{{"image", c.Image}, {"namespace", c.Namespace}, {"path", c.Path}} {
			if w.value != "" {
				fmt.Fprintf(&b, " %s=%s", w.key, w.value)
			}
		}
		if c.Pod != nil {
			fmt.Fprintf(&b, " pod=%s/%s/%s", c.Pod.Namespace, c.Pod.Name, c.Pod.UID)
		}
		if c.Sandbox {
			b.WriteString(" sandbox")
		}
		fmt.Fprintf(&b, " init=%d:", c.Init)
		for _, pid := range m.PIDs {
			if set.members[pid].Container == c {
				fmt.Fprintf(&b, " %d", pid)
				if guests[pid] {
					b.WriteString("(guest)")
				}
			}
		}
		b.WriteString("\n")
	}
	for _, l := range set.Left() {
		fmt.Fprintf(&b, "left %s of type %d, with %s\n", l.Container, l.Type, l.Partner)
		if c := set.Owner(l.Ino); c != nil {
			fmt.Fprintf(&b, "it is said to be %s's\n", c)
		}
	}
	for _, g := range set.Gaps {
		text := strings.ReplaceAll(g.Err.Error(), m.host.root, "")
		fmt.Fprintf(&b, "gap %s: %s\n", g.What, text)
	}
	return b.String()
}

// Each file in testdata/host is a host with some engine, and what there is to know of it.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob("testdata/host/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no hosts", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			m := makeHost(t, string(text))
			if got := m.report(m.identify()); got != m.Want {
				t.Errorf("got\n%s\nwant\n%s", got, m.Want)
			}
		})
	}
	for _, e := range Engines() {
		if !strings.Contains(all.String(), " engine="+string(e)+" ") {
			t.Errorf("no host has a container of %s", e)
		}
	}
}

const oneDocker = `
-- processes --
1 0 host /init.scope /sbin/init
10 9 web /docker/ID(web) sleep
`

// Anything in the place of a state file costs only the name, is reported, and is not waited for.
func TestHostileState(t *testing.T) {
	const valid = `{"Name":"/web","State":{"Pid":10},"Config":{"Image":"nginx"}}`
	file := "root/var/lib/docker/containers/" + idOf("web") + "/config.v2.json"
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want string // container, then gap
		gap  string
	}{
		{"good", func(t *testing.T, path string) { write(t, path, valid) }, "docker:web", ""},
		{"none", func(t *testing.T, path string) {}, "docker:" + idOf("web")[:12] + "?", "no state of it was found"},
		{"empty", func(t *testing.T, path string) { write(t, path, "") }, "docker:" + idOf("web")[:12] + "?", "no valid JSON"},
		{"half", func(t *testing.T, path string) { write(t, path, valid[:4]) }, "docker:" + idOf("web")[:12] + "?", "no valid JSON"},
		{"not JSON", func(t *testing.T, path string) { write(t, path, "hello") }, "docker:" + idOf("web")[:12] + "?", "no valid JSON"},
		{"FIFO", func(t *testing.T, path string) { check(t, syscall.Mkfifo(path, 0o644)) }, "docker:" + idOf("web")[:12] + "?", "no regular file"},
		{"directory", func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o755)) }, "docker:" + idOf("web")[:12] + "?", "no regular file"},
		{"huge", func(t *testing.T, path string) {
			write(t, path, valid)
			check(t, os.Truncate(path, maxState+1))
		}, "docker:" + idOf("web")[:12] + "?", "more than"},
		{"large", func(t *testing.T, path string) {
			write(t, path, `{"x":"`+strings.Repeat("x", 1<<20)+`",`+valid[1:])
		}, "docker:web", ""},
		{"long name", func(t *testing.T, path string) {
			write(t, path, `{"State":{"Pid":10},"Name":"/`+strings.Repeat("x", maxName+1)+`","Config":{"Image":"nginx"}}`)
		}, "docker:" + idOf("web")[:12], "a name of 256 bytes"},
		{"long image", func(t *testing.T, path string) {
			write(t, path, `{"State":{"Pid":10},"Name":"/web","Config":{"Image":"`+strings.Repeat("x", maxImage+1)+`"}}`)
		}, "docker:" + idOf("web")[:12], "a name of 766 bytes"},
		{"link", func(t *testing.T, path string) {
			other := filepath.Join(t.TempDir(), "other")
			write(t, other, valid)
			check(t, os.Symlink(other, path))
		}, "docker:" + idOf("web")[:12] + "?", "a link, which is not followed"},
		{"link inside", func(t *testing.T, path string) {
			write(t, path+".real", valid)
			check(t, os.Symlink(path+".real", path))
		}, "docker:" + idOf("web")[:12] + "?", "a link, which is not followed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := makeHost(t, oneDocker+"-- "+filepath.Dir(file)+"/ --\n")
			c.make(t, filepath.Join(filepath.Dir(m.host.root), file))
			set := m.identify()
			if len(set.Containers) != 1 || set.Containers[0].String() != c.want || set.members[10].Container != set.Containers[0] {
				t.Errorf("got %v, want %s", set.Containers, c.want)
			}
			gaps := m.report(set)
			if _, gaps, _ = strings.Cut(gaps, "gap "); c.gap == "" && gaps != "" || !strings.Contains(gaps, c.gap) {
				t.Errorf("gaps %q, want %q", gaps, c.gap)
			}
		})
	}
}

// A state directory that leads elsewhere is looked up inside the root, so that
// a container cannot have the host's files read as its own.
func TestStateStaysInRoot(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "containers", idOf("web"), "config.v2.json"), `{"Name":"/stolen"}`)
	m := makeHost(t, oneDocker+"-- root/var/lib/links --\ndocker -> "+outside+"\n")
	if got := m.identify().Containers[0].String(); strings.Contains(got, "stolen") {
		t.Errorf("got %s from outside the root", got)
	}
	// A link that stays inside is as good as the directory.
	m = makeHost(t, oneDocker+"-- root/var/lib/links --\ndocker -> /srv/docker\n-- root/srv/docker/containers/ID(web)/config.v2.json --\n{\"State\":{\"Pid\":10},\"Name\":\"/web\"}\n")
	if got := m.identify().Containers[0].String(); got != "docker:web" {
		t.Errorf("got %s through a link inside the root", got)
	}
}

// A container cannot make a scan read without end by naming many containers in
// it, each with a large file.
func TestInnerStateIsBounded(t *testing.T) {
	text := "-- processes --\n1 0 host /init.scope init\n10 1 web /docker/ID(web) sleep\n"
	const n = maxInner/maxState + 20
	for i := range n {
		text += fmt.Sprintf("%d 10 in%d /docker/ID(web)/docker/ID(in%d) sleep\n", 100+i, i, i)
	}
	m := makeHost(t, text+"-- root/var/lib/docker/containers/ID(web)/config.v2.json --\n{\"State\":{\"Pid\":10},\"Name\":\"/web\"}\n")
	for i := range n {
		file := filepath.Join(m.Proc, "10/root/var/lib/docker/containers", idOf(fmt.Sprint("in", i)), "config.v2.json")
		write(t, file, `{"Name":"/x"}`)
		check(t, os.Truncate(file, maxState))
	}
	set := m.identify()
	if len(set.Containers) != n+1 || !slices.ContainsFunc(set.Gaps, func(g inspect.Gap) bool { return errors.Is(g.Err, errTooMuch) }) {
		t.Errorf("%d containers, gaps %v", len(set.Containers), set.Gaps)
	}
	if set.Containers[0].String() != "docker:web" {
		t.Errorf("got %v", set.Containers[0])
	}
}

// Nor can containers, or users, have so many directories that root's cannot be opened any more.
func TestInnerDirsAreBounded(t *testing.T) {
	text, files := "-- processes --\n1 0 host /init.scope init\n900 1 web /docker/ID(web) sleep\n", "-- proc/owners --\ngroup /user.slice 1000\n"
	const n = 10
	for i := range n {
		text += fmt.Sprintf("%d 1 out%d /user.slice/ID(out%[2]d) sleep\n%[3]d %[1]d in%[2]d /user.slice/ID(out%[2]d)/ID(in%[2]d) sleep\n", 100+2*i, i, 101+2*i)
		for k := range 40 {
			files += fmt.Sprintf("-- proc/%d/root/run/containerd/io.containerd.runtime.v2.task/ns%d/x --\n", 100+2*i, k)
		}
	}
	m := makeHost(t, text+files+
		"-- root/var/lib/docker/containers/ID(web)/config.v2.json --\n{\"State\":{\"Pid\":900},\"Name\":\"/web\"}\n")
	var was syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	few := was
	few.Cur = 400
	check(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
	defer func() { check(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	set := m.identify()
	if !slices.ContainsFunc(set.Containers, func(c *Container) bool { return c.String() == "docker:web" }) {
		t.Errorf("root's is not found: %v, gaps %v", set.Containers, set.Gaps)
	}
	for _, g := range set.Gaps {
		if errors.Is(g.Err, syscall.EMFILE) {
			t.Fatal(g)
		}
	}
}

// FuzzState feeds every engine's state file with anything.
func FuzzState(f *testing.F) {
	files := []struct{ cgroup, file string }{
		{"/docker/" + idOf("a"), "var/lib/docker/containers/" + idOf("a") + "/config.v2.json"},
		{"/x/cri-containerd-" + idOf("a") + ".scope", "run/containerd/io.containerd.runtime.v2.task/k8s.io/" + idOf("a") + "/config.json"},
		{"/libpod-" + idOf("a"), "var/lib/containers/storage/overlay-containers/containers.json"},
		{"/crio-" + idOf("a") + ".scope", "run/containers/storage/overlay-containers/" + idOf("a") + "/userdata/config.json"},
		{"/runc-box.scope", "run/runc/box/state.json"},
		{"/machine-box.scope", "run/systemd/machines/box"},
		{"/docker/" + idOf("a"), "etc/docker/daemon.json"},
		{"/docker/" + idOf("a"), "run/docker.pid"},
		{"/k8s.io/" + idOf("a"), "etc/containerd/config.toml"},
	}
	for i := range files {
		f.Add(uint8(i), []byte(`{"Name":"/web","State":{"Pid":10},"Config":{"Image":"i","Labels":{"io.kubernetes.pod.name":"p"}}}`))
		f.Add(uint8(i), []byte(`{"annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri-o.ContainerType":"sandbox"}}`))
		f.Add(uint8(i), []byte("state = '/x'\nLEADER=1\nROOT=/\n"))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		c := files[int(which)%len(files)]
		dir := t.TempDir()
		for _, p := range []struct{ path, text string }{
			{"10/cgroup", "0::" + c.cgroup + "\n"},
			{"10/stat", "10 (x) S 1 " + strings.Repeat("0 ", 17) + "10 0\n"},
			{"10/cmdline", "x\x00"},
			{"1/cgroup", "0::/\n"},
			{"1/root/" + c.file, string(data)},
		} {
			write(t, filepath.Join(dir, p.path), p.text)
		}
		outside, own := inspect.Inodes{1, 2, 3, 4, 5, 6, 7, 8, 9}, inspect.Inodes{1, 12, 13, 14, 15, 16, 17, 18, 19}
		set := identify(context.Background(), host{proc: dir, root: dir + "/1/root", stated: true}, func(yield func(int, *inspect.Inodes) bool) {
			_ = yield(1, &outside) && yield(10, &own)
		})
		if len(set.Containers) != 1 || set.members[10].Container != set.Containers[0] || set.members[1].Container != nil || set.Containers[0].Init != 10 {
			t.Fatalf("%q: %v, members %v", data, set.Containers, set.members)
		}
		if set.Containers[0].String() == "" || len(set.Match("", set.Target(Match{Containers: set.Containers}))) > 1 {
			t.Errorf("%q: %+v", data, set.Containers[0])
		}
	})
}

func TestUnreadableState(t *testing.T) {
	nstest.AsUser(t)
	m := makeHost(t, oneDocker+"-- root/var/lib/docker/modes --\n0000 .\n")
	set := m.identify()
	if len(set.Containers) != 1 {
		t.Fatalf("got %v", set.Containers)
	}
	if os.Getuid() != 0 && !slices.ContainsFunc(set.Gaps, func(g inspect.Gap) bool { return errors.Is(g.Err, fs.ErrPermission) }) {
		t.Errorf("gaps %v, want one of permission", set.Gaps)
	}
}

func TestNoProc(t *testing.T) {
	set := identify(context.Background(), host{proc: filepath.Join(t.TempDir(), "none")}, func(func(int, *inspect.Inodes) bool) {})
	if len(set.Containers) != 0 || len(set.Gaps) != 1 || !errors.Is(set.Gaps[0].Err, fs.ErrNotExist) {
		t.Errorf("got %v, %v", set.Containers, set.Gaps)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

// A file system that may never answer is not touched in a container, and reported.
func TestFarState(t *testing.T) {
	text, err := os.ReadFile("testdata/host/nested.txtar")
	if err != nil {
		t.Fatal(err)
	}
	m := makeHost(t, string(text))
	m.host.far = func(pid int) ([]string, error) {
		switch pid {
		case 100:
			return []string{"/mnt", "/run/containerd/io.containerd.runtime.v2.task/k8s.io"}, nil
		case 200:
			return []string{"/"}, nil
		}
		return nil, fs.ErrNotExist
	}
	got := m.report(m.identify())
	for _, line := range []string{
		"docker:kind-node > containerd:sleepy engine", "lxc:box > docker:",
		"gap names of containers in docker:" + idOf("kind")[:12] + "?: the file system at /run/containerd/io.containerd.runtime.v2.task/k8s.io may never answer\n",
		"gap names of containers in lxc:box: the file system at / may never answer\n",
	} {
		if !strings.Contains("\n"+got, "\n"+line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	for _, name := range []string{"shop/cart", "docker:web"} {
		if strings.Contains(got, name) {
			t.Errorf("%s was named:\n%s", name, got)
		}
	}
}

// After some questions without an answer no more are asked.
func TestAsk(t *testing.T) {
	p := &procDir{stuck: wait.Stuck{Count: maxSlow - 1}}
	if n, err := ask(p, func() (int, error) { return 3, fs.ErrInvalid }); n != 3 || !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("%d, %v", n, err)
	}
	answer := make(chan int)
	defer close(answer)
	if _, err := ask(p, func() (int, error) { return <-answer, nil }); !errors.Is(err, inspect.ErrSlow) {
		t.Error(err)
	}
	if _, err := ask(p, func() (int, error) { t.Error("asked once more"); return 0, nil }); !errors.Is(err, inspect.ErrSlow) {
		t.Error(err)
	}
}

// A user starts a long line of processes, each the child of the one before and in a
// mount namespace of its own. What that costs is in proportion to how many they are.
func TestLongLine(t *testing.T) {
	cost := func(n int) float64 {
		var b strings.Builder
		b.WriteString("-- processes --\n1 0 host /init.scope /sbin/init\n100 1 host / sh\n")
		for i := range n {
			fmt.Fprintf(&b, "%d %d line,mnt=line%d / sh\n", 101+i, 100+i, i)
		}
		m := makeHost(t, b.String())
		if set := m.identify(); len(set.Containers) != 0 {
			t.Fatalf("containers: %s", m.report(set))
		}
		return testing.AllocsPerRun(1, func() { m.identify() })
	}
	if short, long := cost(100), cost(300); long > 4*short {
		t.Errorf("100 of them take %.0f allocations, 300 take %.0f", short, long)
	}
}
