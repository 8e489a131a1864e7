package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// An Owner is a user, by number in the initial user namespace as far as the caller's own maps it.
// It is the author of a fact.
type Owner int64

const (
	// Root administers the host, and may say anything about it.
	Root Owner = 0
	// Unknown is any user. Its word confirms nothing.
	Unknown Owner = -1
)

// Known reports whether the user is known.
func (o Owner) Known() bool { return o >= 0 }

// overflowUID stands for users that a user namespace does not map.
const overflowUID = 65534

// owners finds the owners of processes and control groups.
type owners struct {
	proc   *procDir
	stated *statement // of a made-up host
	mapped bool       // users that the caller's user namespace does not map can be told from others

	trees  map[string]sys.StateDir // the hierarchies of control groups, by the words of /proc/pid/cgroup
	asked  bool
	groups map[string]Owner // by hierarchy and path
	users  map[uint64]Owner // by inode of a user namespace
	inodes map[inodeKey]uint64
	exes   map[exeKey]bool
}

type inodeKey struct {
	pid int
	typ inspect.Type
}

type exeKey struct {
	mnt  uint64
	path string
}

func newOwners(proc *procDir, stated bool) *owners {
	o := &owners{
		proc: proc, trees: make(map[string]sys.StateDir), groups: make(map[string]Owner), users: make(map[uint64]Owner),
		inodes: make(map[inodeKey]uint64), exes: make(map[exeKey]bool),
	}
	if stated {
		o.stated = readStatement(proc)
	} else {
		initial, _ := inspect.User.InitialIno()
		o.mapped = o.inode(0, inspect.User) == initial
	}
	return o
}

func (o *owners) close() {
	for _, d := range o.trees {
		d.Close()
	}
}

// of returns the owner with a number.
func (o *owners) of(uid uint32) Owner {
	if uid == overflowUID && !o.mapped {
		return Unknown
	}
	return Owner(uid)
}

// inode returns the inode number of a namespace of a process, or of the caller for 0. It is 0 if
// it cannot be read.
func (o *owners) inode(of int, typ inspect.Type) uint64 {
	key := inodeKey{of, typ}
	if ino, ok := o.inodes[key]; ok {
		return ino
	}
	dir := "self"
	if of != 0 {
		dir = strconv.Itoa(of)
	}
	link, _ := o.proc.readlink(dir + "/ns/" + typ.String())
	_, ino, _ := inspect.ParseLink(link)
	o.inodes[key] = ino
	return ino
}

// process returns the owner of a process, where host is the inode number of the host's user
// namespace. In that it is the effective user, in another one the creator of the outermost
// namespace below the host's. If root made that, the owner of its processes is not known.
func (o *owners) process(of int, ino, host uint64) Owner {
	if o.stated != nil {
		return o.stated.process(of)
	}
	switch {
	case ino == 0 || host == 0:
		return Unknown
	case ino == host:
		// The directory belongs to the effective user also if the process is not dumpable. See
		// task_dump_owner in the kernel's fs/proc/base.c.
		st, err := o.proc.dir.Stat(strconv.Itoa(of), false)
		if err != nil {
			return Unknown
		}
		return o.of(st.UID)
	}
	owner, known := o.users[ino]
	if !known {
		if owner = o.creator(of, host); owner == Root {
			owner = Unknown
		}
		o.users[ino] = owner
	}
	return owner
}

// maxUsers is the largest depth of nested user namespaces: 32 levels in the kernel
// (include/linux/user_namespace.h, kernel/user_namespace.c).
const maxUsers = 33

// creator returns the creator of the outermost user namespace of a process below the host's.
func (o *owners) creator(of int, host uint64) Owner {
	fd, err := sys.OpenNamespace(sys.CurrentDir, path.Join(o.proc.path, strconv.Itoa(of), "ns/user"))
	if err != nil {
		return Unknown
	}
	defer func() { sys.CloseFD(fd) }()
	for range maxUsers {
		parent, err := sys.Parent(fd)
		if err != nil {
			return Unknown
		}
		id, err := sys.Fstat(parent)
		if err == nil && id.Ino == host {
			sys.CloseFD(parent)
			uid, err := sys.CreatorUID(fd)
			if err != nil {
				return Unknown
			}
			return o.of(uid)
		}
		sys.CloseFD(fd)
		fd = parent
	}
	return Unknown
}

// group returns the user who can have made a control group: the owner of the first directory above
// it, from the root on, that is not root's alone. Everything below that counts as this user's,
// whoever made it. With self the group itself counts too.
func (o *owners) group(tree, name string, self bool) Owner {
	if strings.HasPrefix(name, "/..") {
		return Unknown // the groups above the reader's own cannot be seen
	}
	name = strings.Trim(name, "/")
	if !self {
		if name == "" {
			return Unknown // nobody made the root
		}
		if name = path.Dir(name); name == "." {
			name = ""
		}
	}
	return o.directory(tree, name)
}

// maker returns the user who can have made the control group that names a container.
func (o *owners) maker(ref Ref) Owner { return o.group(ref.tree, ref.base, false) }

// directory returns the user who can have made the contents of the directory of a control group.
func (o *owners) directory(tree, name string) Owner {
	key := tree + "\x00" + name
	if owner, known := o.groups[key]; known {
		return owner
	}
	owner := Root
	if name != "" {
		above := path.Dir(name)
		if above == "." {
			above = ""
		}
		owner = o.directory(tree, above)
	}
	if owner == Root {
		owner = o.writer(tree, name)
	}
	o.groups[key] = owner
	return owner
}

// writer returns the user who may make groups in the directory of a control group.
func (o *owners) writer(tree, name string) Owner {
	if o.stated != nil {
		return o.stated.group("/" + name)
	}
	o.findTrees()
	dir, ok := o.trees[tree]
	if !ok {
		return Unknown
	}
	if name == "" {
		name = "."
	}
	st, err := dir.Stat(name, false)
	switch {
	case err != nil:
		return Unknown
	case st.UID == 0 && !rootAlone(st):
		return Unknown
	}
	// This user is responsible for others that they let in.
	return o.of(st.UID)
}

// findTrees opens the hierarchies of control groups that are mounted on the host, each by its
// root: above another directory nothing is known.
func (o *owners) findTrees() {
	if o.asked {
		return
	}
	o.asked = true
	host := o.proc.host
	var text []byte
	if err := host.InCgroups(func() (err error) { text, err = os.ReadFile(host.Mountinfo()); return err }); err != nil {
		return
	}
	for m := range procfile.Mounts(text) {
		if m.Root != "/" || m.Type != "cgroup" && m.Type != "cgroup2" {
			continue
		}
		dir, err := sys.OpenKernelDir(host.Path(m.Point))
		if err != nil {
			continue
		}
		if !dir.IsCgroups() { // something is mounted over it
			dir.Close()
			continue
		}
		name := treeName(m.Type, strings.Split(m.Super, ","))
		if old, ok := o.trees[name]; ok {
			old.Close()
		}
		o.trees[name] = dir
	}
}

// treeName returns the name of a hierarchy in /proc/pid/cgroup, with its controllers sorted.
// Version 2 has no name.
func treeName(kind string, options []string) string {
	if kind == "cgroup2" {
		return ""
	}
	options = slices.DeleteFunc(options, func(o string) bool {
		known := []string{"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"}
		return slices.Contains(known, o) || strings.HasPrefix(o, "release_agent=")
	})
	return sortWords(options)
}

func sortWords(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(words, ",")
}

// isProgram reports whether a process of root runs one of these programs from a place where only
// root can put one.
func (o *owners) isProgram(of int, ino uint64, names []string) bool {
	proc := strconv.Itoa(of)
	link, err := o.proc.readlink(proc + "/exe")
	if err != nil {
		return false
	}
	file := strings.TrimSuffix(link, " (deleted)") // by an update
	if !path.IsAbs(file) || !slices.ContainsFunc(names, func(name string) bool {
		prefix, any := strings.CutSuffix(name, "*")
		return path.Base(file) == name || any && strings.HasPrefix(path.Base(file), prefix)
	}) {
		return false
	}
	if o.stated != nil {
		return o.stated.file(file) == Root
	}
	if st, err := o.proc.dir.Stat(proc+"/exe", true); err != nil || !rootAlone(st) {
		return false
	}
	key := exeKey{ino, path.Dir(file)}
	ours, known := o.exes[key]
	if !known {
		ours = o.isRoots(o.proc.root(of), o.proc.mountinfo(of), path.Dir(file))
		o.exes[key] = ours
	}
	return ours
}

// isRoots reports whether a directory, and every one above it, is root's alone.
func (o *owners) isRoots(root, mountinfo, dir string) bool {
	top, err := sys.OpenStateRoot(root, mountinfo)
	if err != nil {
		return false
	}
	defer top.Close()
	d, err := top.Open(dir, true)
	if err != nil {
		return false
	}
	defer d.Close()
	ok, err := d.Above(rootAlone, nil)
	return ok && err == nil
}

// rootAlone reports whether only root can write a file or directory. The group of root does not
// count as root: a container may have a user in it. With an access control list these bits are the
// most that it gives (acl(5)).
func rootAlone(st sys.FileStatus) bool { return st.UID == 0 && st.Mode&0o022 == 0 }

// A statement is how a made-up host says whose what is: in a file "owners" beside
// its processes, a line for each that is not root's.
//
//	process 50 1000
//	group /user.slice/user-1000.slice/user@1000.service 1000
//	file /home/u 1000
//
// A group and a file stand for all that is below. "?" is an owner who is not known.
type statement struct {
	processes     map[int]Owner
	groups, files map[string]Owner
}

var errStatement = errors.New("a line is no \"process PID UID\", \"group PATH UID\" or \"file PATH UID\"")

func readStatement(proc *procDir) *statement {
	s := &statement{processes: make(map[int]Owner), groups: make(map[string]Owner), files: make(map[string]Owner)}
	data, err := proc.dir.ReadProc("owners", make([]byte, 64<<10))
	if err != nil {
		return s
	}
	for line := range strings.Lines(string(data)) {
		if err := s.add(strings.Fields(line)); err != nil && !errors.Is(err, io.EOF) {
			return &statement{} // then no owner is known
		}
	}
	return s
}

func (s *statement) add(words []string) error {
	if len(words) == 0 {
		return nil
	}
	if len(words) != 3 {
		return errStatement
	}
	owner := Unknown
	if words[2] != "?" {
		uid, err := strconv.ParseUint(words[2], 10, 32)
		if err != nil {
			return fmt.Errorf("%w: %w", errStatement, err)
		}
		owner = Owner(uid)
	}
	switch words[0] {
	case "process":
		pid, err := strconv.Atoi(words[1])
		s.processes[pid] = owner
		return err
	case "group":
		s.groups[words[1]] = owner
	case "file":
		s.files[words[1]] = owner
	default:
		return errStatement
	}
	return nil
}

func (s *statement) process(pid int) Owner {
	if s.processes == nil {
		return Unknown
	}
	return s.processes[pid]
}

func (s *statement) group(name string) Owner { return above(s.groups, name) }
func (s *statement) file(name string) Owner  { return above(s.files, name) }

// above returns the entry of the nearest of a path and its parents.
func above(of map[string]Owner, name string) Owner {
	if of == nil {
		return Unknown
	}
	for {
		if owner, ok := of[name]; ok || name == "/" || name == "." {
			return owner
		}
		name = path.Dir(name)
	}
}
