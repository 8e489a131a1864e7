package enter

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// defaultPath is the PATH if the environment has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookAtProgram reads what the program and its environment depend on.
func (s *situation) lookAtProgram(c *Cmd, p *sys.Process) error {
	s.env = os.Environ()
	if c.Env == nil && (s.terms.env == ofTarget || c.TargetEnv) && c.Target != nil {
		if err := s.mayHaveEnv(c); err != nil {
			return fmt.Errorf("take the environment of %s: %w", s.target, err)
		}
		b, err := p.ReadFile("environ", maxEnv+1)
		switch {
		case err == nil && len(b) == 0:
			err = whyEmpty(p) // newer kernels return an error themselves
		case len(b) > maxEnv:
			return fmt.Errorf("take the environment of %s: it is longer than %d bytes, and no program is given more", s.target, maxEnv)
		}
		if err != nil && c.TargetEnv {
			return s.targetError(p, "read the environment", err)
		}
		var whole bool
		if s.targetEnv, whole = splitEnviron(b); !whole {
			s.otherEnviron(c, p)
		}
	}
	known := s.terms.standing == asCaller && s.terms.env == ofCaller || c.Env != nil ||
		s.terms.env == ofTarget && value(s.targetEnv, "HOME") != ""
	if known && c.Path != "" && !s.user.groupFromAccount {
		return nil
	}
	if s.terms.standing == asCaller && s.terms.env == ofCaller {
		s.account.shell = value(s.env, "SHELL")
		return nil
	}
	return s.lookAtAccount(c, p)
}

// mayHaveEnv returns nil if the program may have the environment of the target, through which
// the target can make it run any code: if it has no rights that the target does not have.
func (s *situation) mayHaveEnv(c *Cmd) error {
	if s.terms.env == ofTarget || !c.TargetEnv {
		return nil
	}
	same := !s.id.Mixed && s.user.outside == s.id.UID
	switch {
	case c.Tools != nil:
		return errToolsEnv
	case s.terms.standing == asTarget && same:
		return nil
	case s.terms.standing == asOtherUser && same && s.user.gid != nil && *s.user.gid == s.id.GID:
		return nil
	case s.terms.standing == asCaller && same && s.own.UID == s.status.UID && s.own.Caps.Permitted&^s.id.Caps.Permitted == 0:
		return nil
	}
	return errEnvironment
}

// lookAtAccount reads the entry of the program's user in passwd(5): in the target's file if the
// program is from the target's files.
func (s *situation) lookAtAccount(c *Cmd, p *sys.Process) error {
	uid := s.user.inside
	var text []byte
	switch {
	case s.terms.file == callersFile:
		if s.terms.standing != raised {
			uid = s.user.outside
		}
		text, _ = sys.ReadRegular("/etc/passwd", maxPasswd)
	case s.toolsMount != nil && s.toolsMount.view == ViewTools:
	default:
		root := s.root
		if root < 0 && c.Target != nil && c.Files[inspect.Mnt] == nil {
			var err error
			if root, err = p.Open("root"); err != nil {
				return s.targetError(p, "open the root directory", err)
			}
			s.keep(root)
		}
		if root >= 0 {
			text, _ = sys.ReadBeneath(root, "/etc/passwd", maxPasswd) // anything but a file has no entries
		}
	}
	s.account = accountOf(text, uid)
	if s.user.groupFromAccount {
		s.user.takeGroup(s.account)
	}
	return nil
}

// maxPasswd is the most that is read of passwd(5), in bytes.
const maxPasswd = 1 << 20

// An account is an entry of passwd(5).
type account struct {
	gid         uint32
	known       bool // there is an entry
	home, shell string
	name        string
}

// accountOf returns the entry of uid in a passwd(5) file.
func accountOf(passwd []byte, uid uint32) (a account) {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.SplitSeq(string(passwd), "\n") {
		f := strings.Split(line, ":")
		if len(f) != 7 || f[2] != want || strings.Contains(line, "\x00") {
			continue
		}
		gid, err := strconv.ParseUint(f[3], 10, 32)
		if err != nil {
			continue
		}
		a.gid, a.known, a.name = uint32(gid), true, f[0]
		if strings.HasPrefix(f[5], "/") {
			a.home = f[5]
		}
		if shell := strings.TrimSpace(f[6]); strings.HasPrefix(shell, "/") {
			a.shell = shell
		}
		break
	}
	if a.home == "" {
		a.home = "/"
		if uid == 0 {
			a.home = "/root"
		}
	}
	return a
}

// The most that is taken of a target's environment, in bytes. One variable has at most
// MAX_ARG_STRLEN of execve(2).
const (
	maxEnv      = 2 << 20
	maxVariable = 128<<10 - 1
	maxPlaces   = 512 // directories to search a program in
)

// splitEnviron parses /proc/pid/environ, without entries that are no variables. whole is false
// if there were any: the process has overwritten its environment, as those do that set a title
// for ps(1).
func splitEnviron(b []byte) (env []string, whole bool) {
	whole = true
	for v := range strings.SplitSeq(strings.TrimSuffix(string(b), "\x00"), "\x00") {
		if name, _, ok := strings.Cut(v, "="); ok && name != "" {
			env = append(env, v)
		} else if len(b) > 0 {
			whole = false
		}
	}
	return env, whole
}

// otherEnviron finds the environment that the target was started with, if the target has
// overwritten it: in the configuration of its engine, or in a child in the same namespaces with
// the same user.
func (s *situation) otherEnviron(c *Cmd, p *sys.Process) {
	if c.GivenEnv != nil {
		s.targetEnv = c.GivenEnv
		return
	}
	from := fmt.Sprintf("%d variables are left of it", len(s.targetEnv))
	for _, child := range p.Children() {
		if env, ok := s.environOf(child, p); ok {
			s.targetEnv, from = env, fmt.Sprintf("that of its child %d is taken", child)
			break
		}
	}
	s.notes = append(s.notes, s.target+" has written over its environment: "+from)
}

// environOf returns the environment of another process, if that is in the target's namespaces
// as its user, and has not overwritten it.
func (s *situation) environOf(pid int, target *sys.Process) (env []string, ok bool) {
	p, err := sys.OpenProcess(pid, 0)
	if err != nil {
		return nil, false
	}
	defer p.Close()
	for _, name := range []string{"mnt", "user", "pid"} {
		have, err := p.Readlink("ns/" + name)
		want, werr := target.Readlink("ns/" + name)
		if err != nil || werr != nil || have != want {
			return nil, false
		}
	}
	if t, err := statusOf(p, "Uid"); err != nil || t.UID != s.status.UID {
		return nil, false
	}
	b, err := p.ReadFile("environ", maxEnv)
	if err != nil || len(b) == 0 || p.Alive() != nil {
		return nil, false
	}
	return splitEnviron(b)
}

// value returns the value of a variable.
func value(env []string, name string) string {
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			return rest
		}
	}
	return ""
}

// setenv sets a variable.
func setenv(env []string, name, value string) []string {
	env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	return append(env, name+"="+value)
}

// environ returns the environment of the program.
func (s *situation) environ(c *Cmd) (env []string) {
	switch {
	case c.Env != nil:
		return c.Env
	case c.TargetEnv || s.terms.env == ofTarget:
		env = slices.Clone(s.targetEnv)
		if v := value(s.env, "TERM"); v != "" {
			env = setenv(env, "TERM", v)
		}
	case s.terms.env == ofCaller:
		return s.keepEnv(c, slices.Clone(s.env))
	default:
		env = []string{"HOME=" + s.account.home, "SHELL=" + cmp.Or(s.account.shell, "/bin/sh")}
		if s.account.name != "" {
			env = append(env, "USER="+s.account.name, "LOGNAME="+s.account.name)
		}
		if v := value(s.env, "TERM"); v != "" && s.terminal {
			env = append(env, "TERM="+v)
		}
	}
	if value(env, "PATH") == "" {
		env = setenv(env, "PATH", defaultPath)
	}
	if value(env, "HOME") == "" {
		env = setenv(env, "HOME", s.account.home)
	}
	return s.keepEnv(c, env)
}

// keepEnv adds the variables that were asked for.
func (s *situation) keepEnv(c *Cmd, env []string) []string {
	for _, name := range c.KeepEnv {
		if v := value(s.env, name); v != "" {
			env = setenv(env, name, v)
		}
	}
	for _, variable := range c.AddEnv {
		name, v, _ := strings.Cut(variable, "=")
		env = setenv(env, name, v)
	}
	return env
}

// programs returns the paths to try to execute, in order, and whether PATH has more directories
// than are tried.
func (s *situation) programs(c *Cmd, env []string) (list []sys.Program, more bool) {
	if c.Path != "" {
		args := c.Args
		if len(args) == 0 {
			args = []string{c.Path}
		}
		list, more = search(c.Path, args, pathOf(env))
		return scripts(list), more
	}
	shells := []string{"bash", "ash", "sh"}
	if s.account.shell != "" {
		shells = slices.Insert(shells, 0, s.account.shell)
	}
	for _, shell := range shells {
		places, _ := search(shell, []string{"-" + path.Base(shell)}, defaultPath)
		list = append(list, places...)
	}
	return list, false
}

// answering leaves out programs in directories whose file system does not answer: a process
// that executes one of those waits, and cannot be killed.
func (s *situation) answering(c *Cmd, programs []sys.Program) ([]sys.Program, error) {
	var silent error
	list := slices.DeleteFunc(programs, func(p sys.Program) bool {
		dir := path.Dir(p.Path)
		err := sys.Answers(dir)
		if !errors.Is(err, sys.ErrNoAnswer) {
			return false
		}
		silent = fmt.Errorf("%s: %w", printable(dir), sys.ErrNoAnswer)
		if c.Note != nil && !strings.Contains(c.Path, "/") {
			c.Note(printable(dir) + " is left out of the PATH: " + sys.ErrNoAnswer.Error())
		}
		return true
	})
	if len(list) == 0 && silent != nil {
		return nil, silent
	}
	return list, nil
}

// confstrPath is where execvp(3) looks without a PATH in the environment.
const confstrPath = "/bin:/usr/bin"

// pathOf returns the PATH of an environment.
func pathOf(env []string) string {
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		return confstrPath
	}
	return value(env, "PATH")
}

// scripts has /bin/sh read programs without a header, as execvp(3) does: the kernel does not
// execute them.
func scripts(list []sys.Program) []sys.Program {
	for i := range list {
		list[i].Script = true
	}
	return list
}

// search returns the paths that execvp(3) would try, from at most maxPlaces directories of
// path.
func search(name string, argv []string, path string) (list []sys.Program, more bool) {
	if strings.Contains(name, "/") {
		return []sys.Program{{Path: name, Argv: argv}}, false
	}
	for dir := range strings.SplitSeq(path, ":") {
		// An empty directory means the working directory, from which nothing is run. The kernel
		// takes no path longer than PATH_MAX.
		if !strings.HasPrefix(dir, "/") || len(dir)+len(name) > 4094 {
			continue
		}
		if len(list) == maxPlaces {
			return list, true
		}
		list = append(list, sys.Program{Path: strings.TrimRight(dir, "/") + "/" + name, Argv: argv})
	}
	return list, false
}
