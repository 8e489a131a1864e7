package inspect

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// A Mount is a line of a mount table; see proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent int    // unique at a time, over all mount namespaces
	Dev        Device // of the file system
	Root       string // the part of the file system that is mounted
	Point      string // from the root of the mount namespace
	Type       string // of the file system
	Source     string // "/dev/sda1", as the file system names it
	Options    string // of the mount: "rw,nosuid"
	Super      string // of the file system
	Shared     string // "shared:2 master:1"; see mount_namespaces(7)
	In         ID     // the mount namespace
}

// A Device is the number that the kernel gives a mounted file system. With few exceptions, that of
// one on a block device is the number of the device.
type Device struct{ Major, Minor uint32 }

func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// mountTables reads the mount tables of all mount namespaces of the snapshot, and calls f with one
// mount at a time.
func (s *Snapshot) mountTables(ctx context.Context, stuck *wait.Stuck, f func(Mount)) (gaps []Gap) {
	var all []*Namespace
	for ns := range s.Namespaces(Mnt) {
		all = append(all, ns)
	}
	type answer struct {
		mounts []Mount
		err    error
	}
	silent := wait.Many(ctx, stuck, len(all),
		func() func(int) answer {
			return func(i int) answer {
				mounts, err := s.mountTable(ctx, all[i])
				return answer{mounts, err}
			}
		},
		func(i int, a answer) {
			if a.err != nil && !sys.Gone(a.err) {
				gaps = append(gaps, Gap{What: "mounts of " + all[i].String(), Err: a.err})
			}
			for _, m := range a.mounts {
				f(m)
			}
		}, nil)
	for _, i := range silent {
		gaps = append(gaps, Gap{What: "mounts of " + all[i].String(), Err: ErrSlow})
	}
	return gaps
}

// mountTable reads the mounts of one mount namespace, by a member that sees all of it, or else
// from inside.
func (s *Snapshot) mountTable(ctx context.Context, ns *Namespace) (mounts []Mount, err error) {
	for _, m := range ns.Members[:min(len(ns.Members), 8)] {
		dir := filepath.Join(s.proc.path, strconv.Itoa(m.PID))
		if root, e := os.Readlink(dir + "/root"); e != nil || root != "/" {
			err = e
			continue
		}
		if mounts, err = readMountTable(dir+"/mountinfo", ns.ID); err == nil && len(mounts) > 0 {
			return mounts, nil
		}
	}
	if !s.proc.real || !s.proc.ours {
		return mounts, err
	}
	file, err := s.Open(ctx, ns)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	self, err := os.Open(s.proc.path) // inside, the path may lead elsewhere
	if err != nil {
		return nil, err
	}
	defer self.Close()
	err = sys.InMountNamespace(int(file.Fd()), func() error {
		mounts, err = readMountTable(fmt.Sprintf("/proc/self/fd/%d/thread-self/mountinfo", self.Fd()), ns.ID)
		return err
	})
	return mounts, err
}

// maxMountTable is the longest mount table that is read: by default a mount namespace has at most
// 100,000 mounts.
const maxMountTable = 64 << 20

func readMountTable(path string, in ID) ([]Mount, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxMountTable))
	if err != nil {
		return nil, err
	}
	mounts, err := ParseMounts(text)
	for i := range mounts {
		mounts[i].In = in
	}
	return mounts, err
}

// ReadOnly reports whether nothing can be written through the mount.
func (m Mount) ReadOnly() bool { return slices.Contains(strings.Split(m.Options, ","), "ro") }

// Namespace returns the namespace that is mounted, if it is one.
func (m Mount) Namespace() (t Type, ino uint64, ok bool) {
	if m.Type != "nsfs" {
		return 0, 0, false
	}
	return ParseLink(m.Root)
}

// ParseMounts reads the text of a mount table, without [Mount.In]. It ends at a line that
// it cannot read.
func ParseMounts(text []byte) (mounts []Mount, err error) {
	for line := range strings.Lines(string(text)) {
		m, ok := procfile.ParseMount(strings.TrimSuffix(line, "\n"))
		if !ok {
			return mounts, fmt.Errorf("a line of mountinfo says %q", line)
		}
		mounts = append(mounts, Mount{
			ID: m.ID, Parent: m.Parent, Dev: Device{m.Major, m.Minor}, Root: m.Root, Point: m.Point, Type: m.Type,
			Source: m.Source, Options: m.Options, Super: m.Super, Shared: m.Shared,
		})
	}
	return mounts, nil
}

// A MountTree is the mounts of one mount namespace.
type MountTree struct {
	root Mount
	at   map[mountPlace]Mount
}

// A mountPlace is a mount point: a path, and the mount that it is on.
type mountPlace struct {
	parent int
	point  string
}

// NewMountTree returns the tree of a mount table.
func NewMountTree(table []Mount) *MountTree {
	t := &MountTree{at: make(map[mountPlace]Mount, len(table))}
	ids := make(map[int]bool, len(table))
	for _, m := range table {
		ids[m.ID] = true
	}
	for _, m := range table {
		if m.Point == "/" && (!ids[m.Parent] || m.Parent == m.ID) {
			t.root = m
		} else {
			t.at[mountPlace{m.Parent, m.Point}] = m
		}
	}
	return t
}

// At returns the mounts on a mount point, the top one first, without those that a mount on a
// directory above covers.
func (t *MountTree) At(path string) (stack []Mount) {
	on := t.root
	if path == "/" && on.ID != 0 {
		stack = append(stack, on)
	}
	for end := 0; ; {
		m, ok := t.at[mountPlace{on.ID, cmp.Or(path[:end], "/")}]
		switch {
		case ok:
			if on = m; m.Point == path {
				stack = append(stack, m)
			}
			continue
		case end == len(path) || path == "/":
			slices.Reverse(stack)
			return stack
		}
		if next := strings.IndexByte(path[end+1:], '/'); next >= 0 {
			end += 1 + next
		} else {
			end = len(path)
		}
	}
}
