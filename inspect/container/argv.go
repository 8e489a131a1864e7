package container

import (
	"path"
	"strings"
)

// A Monitor is what the command line of a container's parent says about it.
type Monitor struct {
	Ref
	// Name is the name, if the engine passed it to the monitor.
	Name string
	// Path is the bundle, or the root directory, or "".
	Path string
	// Socket is the socket of containerd, which keeps its state beside it.
	Socket string
	// Many: it watches over a whole pod, whose sandbox is ID.
	Many bool
}

// ParseMonitor reads the command line of a process that watches over a
// container: conmon (podman, CRI-O), a shim of containerd, the monitor of LXC,
// systemd-nspawn, or runc and crun in the foreground.
func ParseMonitor(argv []string) (Monitor, bool) {
	if len(argv) == 0 {
		return Monitor{}, false
	}
	// LXC's monitor overwrites its arguments with a title.
	if title, ok := strings.CutPrefix(argv[0], "[lxc monitor] "); ok {
		return lxcMonitor(strings.TrimRight(title, " "))
	}
	switch name := path.Base(argv[0]); {
	case name == "conmon":
		return conmon(argv[1:])
	case strings.HasPrefix(name, "containerd-shim"):
		return shim(argv[1:])
	case name == "systemd-nspawn":
		return nspawn(argv[1:])
	}
	return Monitor{}, false
}

func lxcMonitor(title string) (Monitor, bool) {
	dir, name, ok := cutLast(title, " ")
	if !ok || !isName(name) || !strings.HasPrefix(dir, "/") {
		return Monitor{}, false
	}
	m := Monitor{Ref: Ref{Engine: LXC, ID: name}, Path: path.Join(dir, name)}
	return m, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// conmon reads the arguments of conmon(8).
func conmon(args []string) (Monitor, bool) {
	m := Monitor{Ref: Ref{Engine: Podman}}
	for i := 0; i+1 < len(args); i++ {
		value := args[i+1]
		switch args[i] {
		case "-c", "--cid":
			m.ID = value
		case "-n", "--name":
			m.Name = value
		case "-b", "--bundle":
			m.Path = value
		case "--exit-dir", "--socket-dir-path":
			if strings.Contains(value, "/crio/") {
				m.Engine = CRIO
			}
		default:
			continue
		}
		i++
	}
	return m, isName(m.ID)
}

// shim reads the arguments of a shim of containerd: of runtime version 2, with flags of Go's flag
// package, and of version 1, which has the ID only at the end of -workdir.
func shim(args []string) (Monitor, bool) {
	m := Monitor{Ref: Ref{Engine: Containerd}}
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch strings.TrimPrefix(strings.TrimPrefix(name, "-"), "-") {
		case "namespace":
			m.Namespace = value
		case "id":
			m.ID = value
		case "workdir":
			m.ID = path.Base(value)
		case "address":
			m.Socket = value
		default:
			continue
		}
		if !joined {
			i++
		}
	}
	if m.Namespace == "moby" {
		m.Engine = Docker
	}
	m.Many = m.Namespace == "k8s.io"
	return m, isName(m.ID) && isName(m.Namespace)
}

// nspawnShort are the short options of systemd-nspawn(1) that take a value.
const nspawnShort = "DiMuSZLpE"

// nspawn reads the options of systemd-nspawn(1), up to the command.
func nspawn(args []string) (Monitor, bool) {
	m := Monitor{Ref: Ref{Engine: Nspawn}}
	set := func(option, value string) {
		switch option {
		case "M", "machine":
			m.ID = value
		case "D", "directory", "i", "image":
			m.Path = value
		}
	}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" || !strings.HasPrefix(arg, "-") {
			break
		}
		if long, ok := strings.CutPrefix(arg, "--"); ok {
			name, value, joined := strings.Cut(long, "=")
			if !joined && (name == "machine" || name == "directory" || name == "image") && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			set(name, value)
			continue
		}
		for i := 1; i < len(arg); i++ {
			if !strings.Contains(nspawnShort, arg[i:i+1]) {
				continue
			}
			value := arg[i+1:]
			if value == "" && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			set(arg[i:i+1], value)
			break
		}
	}
	if m.ID == "" && m.Path != "" {
		// As systemd-nspawn does: the directory gives the machine its name.
		m.ID = strings.TrimSuffix(path.Base(path.Clean(m.Path)), ".raw")
	}
	return m, isName(m.ID)
}

// option returns the value of a long or short option, given as "--name value"
// or "--name=value", as dockerd and containerd take them.
func option(argv []string, names ...string) string {
	for i, arg := range argv {
		name, value, joined := strings.Cut(arg, "=")
		for _, want := range names {
			switch {
			case name != want:
			case joined:
				return value
			case i+1 < len(argv):
				return argv[i+1]
			}
		}
	}
	return ""
}

// isName reports whether s can be one component of a path.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 255 && !strings.ContainsAny(s, "/\x00")
}
