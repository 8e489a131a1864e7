package inside

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// Mnt is what is inside a mount namespace: see mount_namespaces(7).
type Mnt struct {
	// Mounts are those that are seen from Root, in the order of the kernel.
	Mounts []Mount
	// Whole says that these are all there are: they were read from the root of
	// the namespace, and not from that of a process that sees a part.
	Whole bool
}

// A Mount is a line of /proc/pid/mountinfo: see proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent int
	Device     string // major:minor
	Root       string // the directory in the file system that is mounted
	Point      string // where, from the root of the namespace
	Options    string
	Shared     []string // what it shares mounts with: "shared:2", "master:1"
	FS         string   // the type of the file system
	Source     string
	Super      string // the options of the file system
}

// ReadOnly reports whether nothing can be written through the mount.
func (m Mount) ReadOnly() bool { return slices.Contains(strings.Split(m.Options, ","), "ro") }

// Namespace returns the namespace that is mounted, if it is one.
func (m Mount) Namespace() (t inspect.Type, ino uint64, ok bool) {
	if m.FS != "nsfs" {
		return 0, 0, false
	}
	return inspect.ParseLink(m.Root)
}

// Root returns what is mounted at the root: of several, the last, which covers
// the others.
func (in *Mnt) Root() (Mount, bool) {
	for _, m := range slices.Backward(in.Mounts) {
		if m.Point == "/" {
			return m, true
		}
	}
	return Mount{}, false
}

func (r *reader) mnt() *Mnt {
	whole := true
	texts, err := r.ofMember(func(p *sys.Process) bool {
		root, err := p.Readlink("root")
		return err == nil && root == "/"
	}, "mountinfo")
	if err != nil {
		texts, err = r.joined("thread-self/mountinfo")
		if err == nil && texts[0] == nil {
			err = fmt.Errorf("mountinfo: %w", inspect.ErrNotAsked)
		}
	}
	if err != nil { // then what a member with another root sees
		if part, e := r.ofMember(nil, "mountinfo"); e == nil {
			texts, err, whole = part, nil, false
		}
	}
	if err != nil {
		r.gap("mounts", err)
		return nil
	}
	mounts, err := parseMounts(string(texts[0]))
	r.gap("mounts", err)
	return &Mnt{Mounts: mounts, Whole: whole}
}

// parseMounts reads the text of a mountinfo file.
func parseMounts(text string) ([]Mount, error) {
	var mounts []Mount
	for line := range strings.Lines(text) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return mounts, err
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMount reads one line:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseMount(line string) (Mount, error) {
	fields := strings.Split(line, " ")
	end := slices.Index(fields, "-")
	if end < 6 || len(fields) < end+3 {
		return Mount{}, fmt.Errorf("a line of mountinfo says %q", line)
	}
	m := Mount{
		Device: fields[2], Root: unescape(fields[3]), Point: unescape(fields[4]), Options: fields[5],
		Shared: slices.Clone(fields[6:end]), FS: unescape(fields[end+1]), Source: unescape(fields[end+2]),
	}
	if len(fields) > end+3 {
		m.Super = unescape(fields[end+3])
	}
	var err error
	if m.ID, err = strconv.Atoi(fields[0]); err == nil {
		m.Parent, err = strconv.Atoi(fields[1])
	}
	return m, err
}

// unescape undoes the octal escapes of mountinfo: \040 for a blank and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
