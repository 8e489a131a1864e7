package enter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// A situation is what a plan is made from: everything about the caller and the target that it
// depends on, with the descriptors to use. Reading it changes nothing, and nothing is opened by
// path after it.
type situation struct {
	proc   int        // the root of procfs
	pidfd  int        // of the target, or -1
	target string     // "process 4242"
	joins  []joinable // namespaces to join, in no order
	root   int        // root directory to enter, or -1
	rootOf string     // whose directory it is, for messages
	// chrooted: the target has a root directory of its own.
	chrooted bool
	dir      int // working directory to take, or -1
	dirOf    string

	own      task.Task // the caller, as far as needed
	initial  bool      // it is in the initial user namespace
	capable  bool      // it has CAP_SYS_ADMIN in its user namespace
	bounding bool      // its bounding set has it
	filtered bool      // it is under a seccomp filter

	id     Identity   // of the target, as far as needed
	status *task.Task // the source of id, or nil
	traced bool       // see circumstances
	owned  bool       // the same
	terms  terms
	user   programUser

	// uids and gids are the maps of the user namespace to join. setgroups: setgroups(2) is
	// allowed there.
	uids, gids idMap
	setgroups  bool
	lastCap    int

	env       []string // of the caller
	targetEnv []string
	account   account  // of the program's user
	dirPath   string   // working directory of the caller, or ""
	terminal  bool     // one of the standard files is a terminal
	sysMounts []string // below /sys, for NetnsFiles
	etcFiles  []string // in /etc/netns/NAME

	// Steps that the confinement of the target, or a terminal, adds to the plan: before the
	// joins, before and after the change of user, and in the last process.
	first, lower, confine, session []Step

	// full: the cgroup to move to, or the user of the program, has reached its limit of
	// processes.
	full bool
	// nproc takes the limit of processes of the user in the last process, or is nil if that
	// cannot be done.
	nproc *Step

	toolsMount *toolsMount // for tools, or nil
	lacks      Caps        // which the program cannot have

	stdio   [3]int // the caller's files for the program; -1 is closed
	proxied bool   // the program gets others in their place
	ptmx    int    // /dev/ptmx of the target, whose terminals have a name there, or -1

	notes []string // for [Cmd.Note]

	fds []int // to close at the end
}

// A joinable is a namespace to join, unless the caller is in it.
type joinable struct {
	typ        inspect.Type
	fd         int
	id         inspect.ID
	own        inspect.ID  // the caller's of this type
	toolsMount *toolsMount // if it is the mount namespace of a tools mount, which is made later
	of         string      // " of process 4242", " by /run/netns/blue"
	byTarget   bool        // setns(2) by the pidfd of the target joins the same one
}

// look reads the situation of c.
func (c *Cmd) look() (s *situation, err error) {
	s = &situation{pidfd: -1, root: -1, dir: -1, ptmx: -1, setgroups: true}
	defer func() {
		if err != nil {
			s.close()
			s = nil
		}
	}()
	self := c.Target
	if self == nil {
		// Without a target all namespaces come by file, but the caller's procfs is needed all
		// the same.
		if self, err = Self(); err != nil {
			return s, err
		}
		defer self.Close()
		s.proc = s.keep(sys.Dup(self.proc.Proc))
	} else {
		s.proc, s.pidfd, s.target = self.proc.Proc, self.proc.Pidfd, self.String()
	}
	if err := s.lookAtNamespaces(c, self.proc); err != nil {
		return s, err
	}
	if err := s.lookAtUsers(c, self.proc); err != nil {
		return s, err
	}
	if err := s.decide(c); err != nil {
		return s, err
	}
	if err := s.lookAtTools(c, self.proc); err != nil {
		return s, err
	}
	joined := s.differing()
	if err := s.lookAtFiles(c, self.proc, joined); err != nil {
		return s, err
	}
	if err := s.lookAtMounts(c, self.proc); err != nil {
		return s, err
	}
	if err := s.lookAtStdio(c); err != nil {
		return s, err
	}
	s.lookAtTerminals(c, self.proc)
	if err := s.lookAtProgram(c, self.proc); err != nil {
		return s, err
	}
	if err := s.lookAtConfinement(c, self.proc, joined); err != nil {
		return s, err
	}
	if c.Target != nil {
		if err := self.proc.Alive(); err != nil {
			return s, &noProcessError{PID: c.Target.PID(), Why: "it has just ended", Err: err}
		}
	}
	if c.Confirm != nil {
		if err := c.Confirm(); err != nil {
			return s, err
		}
	}
	if c.Looked != nil {
		c.Looked()
	}
	if c.Note != nil {
		for _, note := range s.notes {
			c.Note(note)
		}
	}
	return s, nil
}

// lookAtStdio finds the standard files of the program.
func (s *situation) lookAtStdio(c *Cmd) error {
	null := -1
	if c.Stdin == nil || c.Stdout == nil || c.Stderr == nil {
		var err error
		if null, err = sys.OpenNull(); err != nil {
			return err
		}
		s.keep(null)
	}
	s.stdio = c.files(null)
	s.terminal = slices.ContainsFunc(s.stdio[:], func(fd int) bool { return sys.StreamOf(fd) == sys.StreamTerminal })
	return nil
}

// lookAtTerminals looks for the pseudo-terminals of the target. Processes of the same user
// there can open the program's terminal and type into it, so they are only for a program that
// has no more rights than the target.
func (s *situation) lookAtTerminals(c *Cmd, p *sys.Process) {
	if !s.terminal || c.RawStdio || c.Target == nil || s.terms.standing != asTarget || s.terms.file == callersFile {
		return
	}
	root, err := p.Open("root")
	if err != nil {
		return // the program gets one of the host's
	}
	defer sys.CloseAll(root)
	s.ptmx = s.keep(sys.FindPtmx(root))
}

// ttyUnnamed reports whether the program gets a terminal without a name where it runs.
func (s *situation) ttyUnnamed() bool {
	return s.terminal && s.proxied && s.ptmx < 0 && s.terms.file != callersFile
}

func (s *situation) keep(fd int) int {
	if fd >= 0 {
		s.fds = append(s.fds, fd)
	}
	return fd
}

func (s *situation) close() {
	s.toolsMount.close()
	sys.CloseAll(s.fds...)
	s.fds = nil
}

// differing returns the types of the namespaces that the caller is not in already.
func (s *situation) differing() (types inspect.Types) {
	for _, p := range s.joins {
		if p.id != p.own {
			types = types.With(p.typ)
		}
	}
	return types
}

// lookAtNamespaces opens the namespaces to join.
func (s *situation) lookAtNamespaces(c *Cmd, p *sys.Process) error {
	add := func(t inspect.Type, fd int, of string, byTarget bool) error {
		id, err := sys.Fstat(fd)
		if err != nil {
			return err
		}
		own, err := ownNamespace(p, t, id.Dev)
		if err != nil {
			return err
		}
		s.joins = append(s.joins, joinable{typ: t, fd: fd, id: inspect.ID(id), own: own, of: of, byTarget: byTarget})
		return nil
	}
	for t := range inspect.AllTypes.All() {
		if f := c.Files[t]; f != nil {
			got, err := typeOf(int(f.Fd()))
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
			if got != t {
				return &TypeError{Path: f.Name(), Got: got, Want: t}
			}
			if err := add(t, int(f.Fd()), " by "+f.Name(), false); err != nil {
				return err
			}
			continue
		}
		if !c.Types.Has(t) || c.Target == nil {
			continue
		}
		fd, err := p.OpenNamespace(t.String())
		if errors.Is(err, fs.ErrNotExist) && c.Types == inspect.AllTypes {
			if err := p.Alive(); err != nil {
				return &noProcessError{PID: p.PID, TID: p.TID, Err: err}
			}
			if _, err := p.Own("ns/" + t.String()); errors.Is(err, fs.ErrNotExist) {
				continue // the kernel has no such namespaces
			}
		}
		if err != nil {
			return s.noNamespace(p, t, err)
		}
		s.keep(fd)
		byTarget := p.TID == 0
		// The program belongs where a child of the target would be. The target of `unshare
		// --pid --fork` is not in that namespace itself.
		if name := t.ForChildren(); name != "" {
			child, err := p.OpenNamespace(name)
			if err == nil {
				s.keep(child)
				if !sys.SameFile(child, fd) {
					fd, byTarget = child, false
				}
			}
		}
		if err := add(t, fd, " of "+s.target, byTarget); err != nil {
			return err
		}
	}
	if c.UserParent {
		return s.userParent(c, p, add)
	}
	return nil
}

// userParent replaces the user namespace to join by its parent, or else by the owner of one of
// the other namespaces.
func (s *situation) userParent(c *Cmd, p *sys.Process, add func(inspect.Type, int, string, bool) error) error {
	from, of := -1, ""
	for _, j := range s.joins {
		if from < 0 || j.typ == inspect.User {
			from, of = j.fd, "the "+j.String()
		}
	}
	if from < 0 {
		if c.Target == nil {
			return errors.New("no namespace whose user namespace could be asked for")
		}
		fd, err := p.OpenNamespace("user")
		if err != nil {
			return s.noNamespace(p, inspect.User, err)
		}
		from, of = s.keep(fd), "the user namespace of "+s.target
	}
	fd, err := sys.Owner(from)
	if err != nil {
		return fmt.Errorf("ask for the owner of %s: %w", of, err)
	}
	s.joins = slices.DeleteFunc(s.joins, func(p joinable) bool { return p.typ == inspect.User })
	return add(inspect.User, s.keep(fd), ", the owner of "+of, false)
}

// ownNamespace returns the namespace of type t that the caller is in. dev is the device of
// nsfs, which all namespaces share.
func ownNamespace(p *sys.Process, t inspect.Type, dev uint64) (inspect.ID, error) {
	link, err := p.Own("ns/" + t.String())
	if err != nil {
		return inspect.ID{}, err
	}
	_, ino, ok := inspect.ParseLink(link)
	if !ok {
		return inspect.ID{}, fmt.Errorf("%s: not a namespace", link)
	}
	return inspect.ID{Dev: dev, Ino: ino}, nil
}

// noNamespace returns the error for a namespace of the target that could not be opened.
func (s *situation) noNamespace(p *sys.Process, t inspect.Type, err error) error {
	e := &NamespaceError{Target: s.target, Type: t, Err: err}
	stat, readErr := p.ReadFile("stat", 4096)
	if readErr != nil {
		if sys.Gone(readErr) {
			return &noProcessError{PID: p.PID, TID: p.TID, Why: "it has just ended", Err: readErr}
		}
		return e
	}
	kind, _ := procfile.ParseStat(stat)
	e.Zombie = kind.Exited()
	e.UID, _ = p.Owner()
	e.lookAtCaps(p)
	return e
}

// lookAtCaps finds out which capabilities the caller lacks for ptrace access to p.
func (e *NamespaceError) lookAtCaps(p *sys.Process) {
	text, err := p.ReadOwn("status", task.MaxStatus)
	if err != nil {
		return
	}
	own, err := task.ParseStatus(string(text), "CapEff")
	if err != nil {
		return
	}
	ino, _ := inspect.User.InitialIno()
	link, err := p.Own("ns/user")
	e.Ptrace = err == nil && link == inspect.FormatLink(inspect.User, ino) && own.Caps.Effective.Has(capSysPtrace)
	if status, err := statusOf(p, "CapPrm"); err == nil {
		e.Lacks = status.Caps.Permitted &^ own.Caps.Effective
	}
}

// targetError says that the target could not be asked for what it would have if it
// were another kind of process.
func (s *situation) targetError(p *sys.Process, what string, err error) error {
	return targetError(p, what, s.target, err)
}

func targetError(p *sys.Process, what, of string, err error) error {
	why := whyEmpty(p)
	if why == nil {
		why = pathCause(err)
	}
	return fmt.Errorf("%s of %s: %w", what, of, why)
}

// whyEmpty says why a process has no memory, files and the like, or returns nil.
func whyEmpty(p *sys.Process) error {
	stat, err := p.ReadFile("stat", 4096)
	if err != nil {
		return nil //nolint:nilerr // the reason is another one
	}
	switch s, _ := procfile.ParseStat(stat); {
	case s.Exited():
		return errors.New("it is a zombie and has none any more")
	case s.IsKernelThread():
		return errors.New("it is a thread of the kernel and has none")
	}
	return nil
}

// A NamespaceError reports that a namespace of the target could not be opened.
type NamespaceError struct {
	Target string
	Type   inspect.Type
	Zombie bool   // the target is a zombie
	UID    uint32 // the user of the target
	Lacks  Caps   // capabilities that the target is permitted and the caller does not have
	Ptrace bool   // the caller has CAP_SYS_PTRACE over every process
	Err    error
}

func (e *NamespaceError) Error() string {
	if e.Zombie {
		return fmt.Sprintf("cannot open the %s namespace of %s: it is a zombie and has none any more", e.Type, e.Target)
	}
	return fmt.Sprintf("cannot open the %s namespace of %s: %v", e.Type, e.Target, pathCause(e.Err))
}
func (e *NamespaceError) Unwrap() error { return e.Err }

// pathCause returns err without its path, for a message that names the file in other words.
func pathCause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return cause(err)
}

// decide chooses the standing of the program, and its user.
func (s *situation) decide(c *Cmd) (err error) {
	if s.terms, err = s.circumstances(c).terms(); err != nil {
		return err
	}
	s.user, err = s.chooseUser(c)
	return err
}

// lookAtUsers reads users and groups of the caller and of the target, and the maps of the user
// namespace to join.
func (s *situation) lookAtUsers(c *Cmd, p *sys.Process) error {
	joined := s.differing()
	if c.Target != nil && (c.Types.Has(inspect.Mnt) && c.Files[inspect.Mnt] == nil || c.Root) && c.RootDir == "" && c.Tools == nil {
		link, err := p.Readlink("root")
		if err != nil {
			return s.targetError(p, "look at the root directory", err)
		}
		s.chrooted = link != "/"
	}
	files := c.entersFiles(joined) || s.chrooted || c.Tools != nil
	asked := c.UID != nil || c.GID != nil || c.FollowUID || c.FollowGID || c.TargetEnv || c.JoinCgroup || c.FollowContext
	// An ordinary join by root does not need this, and does not wait for it.
	if files || asked || joined.Has(inspect.User) || joined.Has(inspect.PID) || os.Geteuid() != 0 {
		if err := s.lookAtCaller(); err != nil {
			return err
		}
	}
	if c.Target != nil && (files || asked || joined.Has(inspect.User) || joined.Has(inspect.PID)) {
		status, err := statusOf(p, boundFields...)
		if err != nil {
			return targetError(p, "read who it is", s.target, err)
		}
		s.status = status
		s.id.of(status)
	}
	if c.KeepCaps {
		b, err := readSysctl(p, "cap_last_cap")
		if err != nil {
			return err
		}
		s.lastCap = b
	}
	if err := s.lookAtTracers(c, p); err != nil {
		return err
	}
	if !joined.Has(inspect.User) {
		if files || asked {
			word, err := p.ReadOwn("setgroups", 16)
			s.setgroups = err != nil || strings.TrimSpace(string(word)) != "deny"
		}
		return nil
	}
	return s.lookAtMaps(c, p)
}

// lookAtMaps reads the maps of the user namespace to join. If it is not that of the target, a
// helper process joins it to read them.
func (s *situation) lookAtMaps(c *Cmd, p *sys.Process) error {
	i := slices.IndexFunc(s.joins, func(j joinable) bool { return j.typ == inspect.User })
	j := s.joins[i]
	if c.Target != nil {
		link, err := p.Readlink("ns/user")
		if err != nil {
			return err
		}
		if link == inspect.FormatLink(inspect.User, j.id.Ino) {
			if err := s.id.readUsers(p); err != nil {
				return err
			}
			s.uids, s.gids, s.setgroups = s.id.uids, s.id.gids, s.id.Setgroups
			return nil
		}
	}
	maps, err := sys.UserMaps(s.proc, j.fd)
	if err != nil {
		return &StepError{Step: Step{Op: Join, Type: inspect.User, Text: "join the " + j.String()}, Call: "setns", Err: cause(err), Denial: s.denial(j)}
	}
	if s.uids, err = task.ParseIDMap(string(maps[0])); err != nil {
		return err
	}
	if s.gids, err = task.ParseIDMap(string(maps[1])); err != nil {
		return err
	}
	s.setgroups = strings.TrimSpace(string(maps[2])) != "deny"
	if uid, err := sys.CreatorUID(j.fd); err == nil {
		s.owned = uid == s.own.UID.Effective
	}
	return nil
}

// lookAtCaller reads the rights of the calling thread.
func (s *situation) lookAtCaller() error {
	text, err := sys.ReadAt(s.proc, "thread-self/status", task.MaxStatus)
	if err != nil {
		return err
	}
	t, err := task.ParseStatus(string(text), boundFields...)
	if err != nil {
		return fmt.Errorf("/proc/thread-self/status: %w", err)
	}
	s.own = *t
	if link, err := sys.ReadlinkAt(s.proc, "thread-self/ns/user"); err == nil {
		ino, _ := inspect.User.InitialIno()
		s.initial = link == inspect.FormatLink(inspect.User, ino)
	}
	s.capable, s.bounding = t.Caps.Effective.Has(capSysAdmin), t.Caps.Bounding.Has(capSysAdmin)
	s.filtered = t.Seccomp == task.SeccompFilter
	return nil
}

func readSysctl(p *sys.Process, name string) (int, error) {
	b, err := sys.ReadAt(p.Proc, "sys/kernel/"+name, 32)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// lookAtFiles opens the directories to enter.
func (s *situation) lookAtFiles(c *Cmd, p *sys.Process, joined inspect.Types) (err error) {
	wantsMnt := c.Types.Has(inspect.Mnt) || c.Files[inspect.Mnt] != nil
	switch {
	case c.RootDir != "":
		if s.root, err = sys.OpenDirectory(c.RootDir); err != nil {
			return err
		}
		s.rootOf = c.RootDir
	case s.toolsMount != nil:
	case c.Target != nil && (c.Root || wantsMnt && c.Files[inspect.Mnt] == nil):
		if !s.chrooted && !c.Root {
			break
		}
		if s.root, err = p.Open("root"); err != nil {
			return s.targetError(p, "open the root directory", err)
		}
		s.rootOf = "that of " + s.target
	case c.Root:
		return errors.New("no target whose root directory could be entered")
	}
	s.keep(s.root)

	switch {
	case s.terms.changesDirItself() && !c.Dir:
		if s.dirPath, err = filepath.Abs(c.DirPath); err != nil || c.InnerDir != "" {
			s.dirPath = "/"
		}
	case c.DirPath != "":
		if s.dir, err = sys.OpenDirectory(c.DirPath); err != nil {
			return err
		}
		s.dirOf = c.DirPath
	case c.Dir && c.Target == nil:
		return errors.New("no target whose working directory could be taken")
	case c.Dir:
		if s.dir, err = p.Open("cwd"); err != nil {
			return s.targetError(p, "open the working directory", err)
		}
		s.dirOf = "that of " + s.target
	}
	s.keep(s.dir)
	return nil
}
