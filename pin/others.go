package pin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// others are the directories in which other programs keep pins. Only there is a file without
// a namespace a dead name.
var others = []struct {
	dir string
	by  string
	typ inspect.Type
}{
	{IPNetnsDir, "ip-netns", inspect.Net}, // and CNI and CRI-O, see byName
	{"/run/docker/netns", "docker", inspect.Net},
	{"/run/ipcns", "crio", inspect.IPC},
	{"/run/utsns", "crio", inspect.UTS},
	{"/run/userns", "crio", inspect.User},
	{"/run/pidns", "crio", inspect.PID},
	{"/run/snapd/ns", "snapd", inspect.Mnt},
}

// byName distinguishes the programs that share /run/netns, by their names: "cni-" and a UUID
// for CNI of containerd, a UUID for CRI-O.
func byName(by, name string) string {
	switch {
	case by != "ip-netns":
		return by
	case strings.HasPrefix(name, "cni-"):
		return "cni"
	case isUUID(name):
		return "crio"
	}
	return by
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// Others yields the pins of other programs in the mount namespace of the caller: every
// namespace in mountinfo, and the dead names in the directories of ip-netns(8), Docker, CNI
// and CRI-O. Each is a Set of one pin. Those of [All] are left out.
//
// An inlined iterator doubles the code of each loop over it.
//
//go:noinline
func Others(ctx context.Context) iter.Seq2[Set, error] {
	return func(yield func(Set, error) bool) {
		file, err := os.Open("/proc/self/mountinfo")
		if err != nil {
			yield(Set{}, err)
			return
		}
		defer file.Close()
		mounts, err := readMounts(file)
		if err != nil {
			yield(Set{}, fmt.Errorf("read /proc/self/mountinfo: %w", err))
			return
		}
		ours := make(map[string]bool)
		for set := range All(ctx) {
			for _, p := range set.Pins {
				ours[p.Path] = true
			}
		}
		stat := newCoveredFiles()
		defer stat.close()
		mounted := make(map[string]bool)
		for _, m := range mounts {
			mounted[m.path] = true
			if ours[m.path] || strings.HasPrefix(m.path, SystemDir+"/") {
				continue
			}
			dead, there := m.check()
			if !there {
				continue
			}
			set := Set{Name: filepath.Base(m.path), By: Whose(m.path), Pins: []Pin{{Type: m.typ, ID: m.id, Path: m.path, Dead: dead}}}
			set.UID, set.Made = stat.of(m.path)
			if !yield(set, ctx.Err()) || ctx.Err() != nil {
				return
			}
		}
		for _, o := range others {
			for name, dead := range deadIn(o.dir) {
				if name == "" {
					if !yield(Set{By: o.by}, dead) {
						return
					}
					continue
				}
				path := filepath.Join(o.dir, name)
				if mounted[path] || ours[path] {
					continue
				}
				set := Set{Name: name, By: byName(o.by, name), Pins: []Pin{{Type: o.typ, Path: path, Dead: dead}}}
				set.UID, set.Made = stat.of(path)
				if !yield(set, nil) {
					return
				}
			}
		}
	}
}

// Whose returns the program that keeps pins in the directory of path, as [Set.By], or "". It
// reads nothing but the path.
func Whose(path string) string {
	dir, name := filepath.Split(path)
	if dir == SystemDir+"/"+filepath.Base(dir)+"/" {
		return "nstool"
	}
	for _, o := range others {
		if filepath.Clean(dir) == o.dir {
			return byName(o.by, name)
		}
	}
	return ""
}

// deadIn yields the names in dir without a namespace, each with the reason: regular files,
// and links that lead nowhere, such as one to a namespace of a process that has exited. If
// dir does not answer, it yields that error without a name.
func deadIn(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		entries, err := sys.ReadDir(dir)
		if errors.Is(err, sys.ErrNoAnswer) {
			yield("", err)
		}
		if err != nil {
			return
		}
		for _, e := range entries {
			dead := ErrUnmounted
			switch {
			case e.IsLink():
				if _, err := sys.StatPath(filepath.Join(dir, e.Name), true); !errors.Is(err, fs.ErrNotExist) {
					continue
				}
				dead = ErrDangling
			case !e.IsRegular():
				continue
			}
			if !yield(e.Name, dead) {
				return
			}
		}
	}
}

// A coveredFiles reads the files under mounts, which have the owner and the time of a pin.
type coveredFiles struct{ dirs map[string]int }

func newCoveredFiles() *coveredFiles { return &coveredFiles{dirs: make(map[string]int)} }

func (c *coveredFiles) of(path string) (uid uint32, made time.Time) {
	dir := filepath.Dir(path)
	fd, ok := c.dirs[dir]
	if !ok {
		fd = -1
		if top, err := sys.OpenDir(dir); err == nil {
			if under, err := sys.Uncover(top); err == nil {
				fd = under
			}
			sys.CloseFD(top)
		}
		c.dirs[dir] = fd
	}
	if fd < 0 {
		return 0, time.Time{}
	}
	st, err := sys.StatAt(fd, filepath.Base(path))
	if err != nil {
		return 0, time.Time{}
	}
	return st.UID, st.Changed
}

func (c *coveredFiles) close() {
	for _, fd := range c.dirs {
		if fd >= 0 {
			sys.CloseFD(fd)
		}
	}
}

// A mount is a namespace in mountinfo.
type mount struct {
	typ  inspect.Type
	id   inspect.ID
	path string
}

// check reports why the namespace is dead, if it is, and whether its path leads to it:
// another mount may cover it. Without permission to look, it is taken to lead there.
func (m mount) check() (dead error, there bool) {
	dir, name, err := openParent(m.path)
	if err != nil {
		return nil, !errors.Is(err, fs.ErrNotExist)
	}
	defer sys.CloseFD(dir)
	id, err := namespaceAt(dir, name)
	if err != nil || id != m.id {
		return nil, errors.Is(err, fs.ErrPermission)
	}
	if m.typ == inspect.PID {
		dead = deadInit(dir, name)
	}
	return dead, true
}

// readMounts returns the namespaces in a mountinfo file, see proc_pid_mountinfo(5). Of
// several on the same file it returns the top one, which is the last.
func readMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	at := make(map[string]int)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if m, ok := parseMount(line); ok {
			if i, again := at[m.path]; again {
				mounts[i] = m
			} else {
				at[m.path] = len(mounts)
				mounts = append(mounts, m)
			}
		}
		if errors.Is(err, io.EOF) {
			return mounts, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// parseMount reads a line such as
//
//	523 29 0:4 net:[4026532260] /run/netns/blue rw shared:21 - nsfs nsfs rw
func parseMount(line string) (mount, bool) {
	if !strings.Contains(line, " - nsfs ") {
		return mount{}, false // there may be very many
	}
	m, _ := procfile.ParseMount(strings.TrimSuffix(line, "\n"))
	t, ino, ok := inspect.ParseLink(m.Root)
	dev := sys.Makedev(uint64(m.Major), uint64(m.Minor))
	return mount{typ: t, id: inspect.ID{Dev: dev, Ino: ino}, path: strings.TrimSuffix(m.Point, "//deleted")}, ok && m.Type == "nsfs"
}
