package container

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// A made is a made-up host, from testdata/host/*.txtar. In the text ID(word)
// stands for an ID of 64 hexadecimal digits. The file "processes" has a line for
// each process:
//
//	PID PPID NAMESPACES CGROUP ARGV...
//
// NAMESPACES is "host", or a word for a set of namespaces of its own, with
// exceptions: "web,net=db,pid=host". CGROUP may hold several lines of
// /proc/pid/cgroup, separated by "|"; a path alone is one of cgroup v2. The
// start time of a process is its PID. What is below root/ is the host's file
// system, what is below proc/ is put into /proc.
type made struct {
	host  Host
	procs []madeProc
	want  string
}

type madeProc struct {
	pid  int
	inos *Inodes
}

var inodeNames = [9]string{"", "cgroup", "ipc", "net", "mnt", "pid", "time", "user", "uts"}

func makeHost(t testing.TB, text string) *made {
	t.Helper()
	text = regexp.MustCompile(`ID\((\w+)\)`).ReplaceAllStringFunc(text, func(s string) string { return idOf(s[3 : len(s)-1]) })
	archive := txtar.Parse([]byte(text))
	m := &made{}
	var files []txtar.File
	for _, f := range archive.Files {
		switch f.Name {
		case "want":
			m.want = string(f.Data)
		case "processes":
			for line := range strings.Lines(string(f.Data)) {
				if strings.TrimSpace(line) == "" {
					continue
				}
				p, made := makeProcess(t, line)
				m.procs = append(m.procs, p)
				files = append(files, made...)
			}
		default:
			files = append(files, f)
		}
	}
	files = append(files, txtar.File{Name: "root/"}, txtar.File{Name: "proc/"})
	dir := nstest.Proc(t, string(txtar.Format(&txtar.Archive{Files: files})))
	m.host = Host{Proc: filepath.Join(dir, "proc"), Root: filepath.Join(dir, "root")}
	return m
}

func makeProcess(t testing.TB, line string) (madeProc, []txtar.File) {
	t.Helper()
	fields := strings.Fields(line)
	if len(fields) < 5 {
		t.Fatalf("processes: %q has too few words", line)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	var inos Inodes
	set, exceptions, _ := strings.Cut(fields[2], ",")
	for i := 1; i < len(inos); i++ {
		inos[i] = inodeOf(set, i)
	}
	for _, exception := range strings.Split(exceptions, ",") {
		if name, set, ok := strings.Cut(exception, "="); ok {
			i := slices.Index(inodeNames[:], name)
			inos[i] = inodeOf(set, i)
		}
	}
	cgroup := fields[3]
	if strings.HasPrefix(cgroup, "/") {
		cgroup = "0::" + cgroup
	}
	links := ""
	for i, name := range inodeNames[1:] {
		links += fmt.Sprintf("%s -> %s:[%d]\n", name, name, inos[i+1])
	}
	argv := fields[4:]
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "|", " ")
	}
	return madeProc{pid, &inos}, []txtar.File{
		{Name: "proc/" + fields[0] + "/cgroup", Data: []byte(strings.ReplaceAll(cgroup, "|", "\n") + "\n")},
		{Name: "proc/" + fields[0] + "/stat", Data: fmt.Appendf(nil, "%d (%s) S %s %s%d 0\n", pid, filepath.Base(argv[0]), fields[1], strings.Repeat("0 ", 17), pid)},
		{Name: "proc/" + fields[0] + "/cmdline", Data: []byte(strings.Join(argv, "\n") + "\n")},
		{Name: "proc/" + fields[0] + "/ns/links", Data: []byte(links)},
	}
}

// inodeOf makes up the inode number of a namespace.
func inodeOf(set string, i int) uint64 {
	sum := sha256.Sum256([]byte(set))
	return 0xF0000000 + uint64(sum[0])<<16 + uint64(sum[1])<<8 + uint64(i)
}

func idOf(word string) string {
	sum := sha256.Sum256([]byte(word))
	return hex.EncodeToString(sum[:])
}

func (m *made) all() iter.Seq2[int, *Inodes] {
	return func(yield func(int, *Inodes) bool) {
		for _, p := range m.procs {
			if !yield(p.pid, p.inos) {
				return
			}
		}
	}
}

func (m *made) identify() *Set { return Identify(m.host, m.all()) }

// report says in words what was identified.
func (m *made) report(set *Set) string {
	var b strings.Builder
	for _, c := range set.Containers {
		fmt.Fprintf(&b, "%s engine=%s", c, c.Engine)
		if !isHexID(c.ID) && c.ID != c.Name {
			fmt.Fprintf(&b, " id=%s", c.ID)
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
		for i, p := range m.procs {
			if member := set.Members[i]; member.Container == c {
				fmt.Fprintf(&b, " %d", p.pid)
				if guest, err := set.Guest(p.pid, c); member.Guest || guest || err != nil {
					b.WriteString("(guest)")
				}
			}
		}
		b.WriteString("\n")
	}
	for _, g := range set.Gaps {
		text := strings.ReplaceAll(g.Err.Error(), m.host.Root, "")
		fmt.Fprintf(&b, "gap %s: %s\n", g.What, text)
	}
	return b.String()
}

// Each file in testdata/host is a host with some engine, and what there is to
// know of it.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob("testdata/host/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no hosts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m := makeHost(t, string(text))
			if got := m.report(m.identify()); got != m.want {
				t.Errorf("got\n%s\nwant\n%s", got, m.want)
			}
		})
	}
}

const oneDocker = `
-- processes --
1 0 host /init.scope /sbin/init
10 9 web /docker/ID(web) sleep
`

// Whatever stands in the place of a state file costs the name alone, is told,
// and is not waited for.
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
		{"none", func(t *testing.T, path string) {}, "docker:" + idOf("web")[:12], "no state of it was found"},
		{"empty", func(t *testing.T, path string) { write(t, path, "") }, "docker:" + idOf("web")[:12], "no valid JSON"},
		{"half", func(t *testing.T, path string) { write(t, path, valid[:4]) }, "docker:" + idOf("web")[:12], "no valid JSON"},
		{"not JSON", func(t *testing.T, path string) { write(t, path, "hello") }, "docker:" + idOf("web")[:12], "no valid JSON"},
		{"FIFO", func(t *testing.T, path string) { check(t, syscall.Mkfifo(path, 0o644)) }, "docker:" + idOf("web")[:12], "no regular file"},
		{"directory", func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o755)) }, "docker:" + idOf("web")[:12], "no regular file"},
		{"huge", func(t *testing.T, path string) {
			write(t, path, valid)
			check(t, os.Truncate(path, maxState+1))
		}, "docker:" + idOf("web")[:12], "more than"},
		{"large", func(t *testing.T, path string) {
			write(t, path, `{"x":"`+strings.Repeat("x", 1<<20)+`",`+valid[1:])
		}, "docker:web", ""},
		{"link", func(t *testing.T, path string) {
			other := filepath.Join(t.TempDir(), "other")
			write(t, other, valid)
			check(t, os.Symlink(other, path))
		}, "docker:" + idOf("web")[:12], "a link, which is not followed"},
		{"link inside", func(t *testing.T, path string) {
			write(t, path+".real", valid)
			check(t, os.Symlink(path+".real", path))
		}, "docker:" + idOf("web")[:12], "a link, which is not followed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := makeHost(t, oneDocker+"-- "+filepath.Dir(file)+"/ --\n")
			c.make(t, filepath.Join(filepath.Dir(m.host.Root), file))
			set := m.identify()
			if len(set.Containers) != 1 || set.Containers[0].String() != c.want || set.Members[1].Container != set.Containers[0] {
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
	m = makeHost(t, oneDocker+"-- root/var/lib/links --\ndocker -> /srv/docker\n-- root/srv/docker/containers/ID(web)/config.v2.json --\n{\"Name\":\"/web\"}\n")
	if got := m.identify().Containers[0].String(); got != "docker:web" {
		t.Errorf("got %s through a link inside the root", got)
	}
}

func TestUnreadableState(t *testing.T) {
	nstest.AsUser(t)
	m := makeHost(t, oneDocker+"-- root/var/lib/docker/modes --\n0000 .\n")
	set := m.identify()
	if len(set.Containers) != 1 {
		t.Fatalf("got %v", set.Containers)
	}
	if os.Getuid() != 0 && !slices.ContainsFunc(set.Gaps, func(g Gap) bool { return errors.Is(g.Err, fs.ErrPermission) }) {
		t.Errorf("gaps %v, want one of permission", set.Gaps)
	}
}

func TestNoProc(t *testing.T) {
	set := Identify(Host{Proc: filepath.Join(t.TempDir(), "none")}, func(func(int, *Inodes) bool) {})
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
