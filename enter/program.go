package enter

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// defaultPath is where programs are if the environment does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookAtProgram reads what the choice of program and environment depends on.
func (s *situation) lookAtProgram(c *Cmd, p *sys.Process, joined inspect.Types) error {
	s.env = os.Environ()
	foreign := c.entersFiles(joined) || s.chrooted
	if c.Target != nil && c.Env == nil && (foreign || c.TargetEnv) {
		b, err := p.ReadFile("environ", 4<<20)
		if err == nil && len(b) == 0 {
			err = without(p) // newer kernels say so themselves
		}
		s.targetEnv = splitEnviron(b)
		if err != nil && c.TargetEnv {
			return s.lacking(p, "read the environment", err)
		}
	}
	if c.Path != "" {
		return nil
	}
	if !foreign || s.room != nil {
		s.shell = value(s.env, "SHELL")
		return nil
	}
	root := s.root
	if root < 0 && c.Target != nil && c.Files[inspect.Mnt] == nil {
		var err error
		if root, err = p.Open("root"); err != nil {
			return s.lacking(p, "open the root directory", err)
		}
		s.keep(root)
	}
	if root < 0 {
		return nil
	}
	passwd, err := sys.ReadBeneath(root, "/etc/passwd", 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return nil // whatever it is, it names no shell
	}
	uid, _ := s.newUID(c, joined)
	s.shell = shellOf(passwd, uid)
	return nil
}

// splitEnviron reads /proc/pid/environ. What is no variable is left out.
func splitEnviron(b []byte) (env []string) {
	for v := range strings.SplitSeq(string(b), "\x00") {
		if name, _, ok := strings.Cut(v, "="); ok && name != "" {
			env = append(env, v)
		}
	}
	return env
}

// shellOf returns the shell that a passwd(5) file names for uid, or "".
func shellOf(passwd []byte, uid uint32) string {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.SplitSeq(string(passwd), "\n") {
		f := strings.Split(line, ":")
		if len(f) == 7 && f[2] == want && strings.HasPrefix(f[6], "/") {
			return strings.TrimSpace(f[6])
		}
	}
	return ""
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

// environ returns the environment of the program.
func (s *situation) environ(c *Cmd, foreign bool) []string {
	switch {
	case c.Env != nil:
		return c.Env
	case !foreign && !c.TargetEnv:
		return s.env
	}
	env := slices.Clone(s.targetEnv)
	set := func(name string) {
		if v := value(s.env, name); v != "" {
			env = slices.DeleteFunc(env, func(x string) bool { return strings.HasPrefix(x, name+"=") })
			env = append(env, name+"="+v)
		}
	}
	set("TERM")
	for _, name := range c.KeepEnv {
		set(name)
	}
	if value(env, "PATH") == "" {
		env = append(env, "PATH="+defaultPath)
	}
	return env
}

// programs returns what to try to execute, in order.
func (s *situation) programs(c *Cmd, env []string) []sys.Program {
	if c.Path != "" {
		args := c.Args
		if len(args) == 0 {
			args = []string{c.Path}
		}
		return search(c.Path, args, value(env, "PATH"))
	}
	var list []sys.Program
	shells := []string{"bash", "ash", "sh"}
	if s.shell != "" {
		shells = slices.Insert(shells, 0, s.shell)
	}
	for _, shell := range shells {
		list = append(list, search(shell, []string{"-" + path.Base(shell)}, defaultPath)...)
	}
	return list
}

// search returns where a program can be: execvp(3) without a look.
func search(name string, argv []string, path string) (list []sys.Program) {
	if strings.Contains(name, "/") {
		return []sys.Program{{Path: name, Argv: argv}}
	}
	for dir := range strings.SplitSeq(path, ":") {
		// An empty directory is the working directory, which is for the one
		// who stands in it to say, not for an environment.
		if strings.HasPrefix(dir, "/") {
			list = append(list, sys.Program{Path: strings.TrimRight(dir, "/") + "/" + name, Argv: argv})
		}
	}
	return list
}
