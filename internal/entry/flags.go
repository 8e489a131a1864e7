// Package entry has the flags of nstool-enter(1) and nstool-run(1), and runs these commands.
//
// It is apart from the other commands because scripts run it often. The flags are one table,
// [Flags]. [Options.Parse] reads it, and so does the library for the command lines of the
// other commands. The init function of this package runs before those of libraries that
// enter does not need, and runs the command if it can.
package entry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
)

// Options are the meaning of the command line.
type Options struct {
	other string // a hint about the user that the engine would take

	Target    string // -p
	Container string // -c
	Pod       string // --pod
	All       bool
	// Namespaces are the types to join, each with its TARGET, or "" for the target of
	// the command.
	Namespaces map[inspect.Type]string
	// Make has the namespaces to make.
	Make       making
	UserParent bool
	NetSocket  int // a descriptor of the target, or -1

	Tools    tooling
	Unpacker Unpacker // of archives, or nil
	AddCaps  enter.Caps

	Root, Dir        bool // of the target
	RootDir, DirPath string
	InnerDir         string // or ""
	MountProc        bool
	NetnsFiles       bool
	UID, GID         *uint32
	// userName and groupName are looked up where the program will be.
	userName, groupName string
	FollowUID           bool
	FollowGID           bool
	Preserve            bool
	KeepCaps            bool
	TargetEnv           bool
	KeepEnv, AddEnv     []string
	NoFork              bool
	JoinCgroup          bool
	FollowContext       bool
	Privileged          bool
	AllowMissing        []string
	RawStdio            bool
	KeepFDs             bool
	KillChild           syscall.Signal
	DryRun              bool
	Wait                time.Duration // for a target to run
	Help                bool
	Program             []string

	run bool // the command is nstool-run(1)
}

// A Flag is one row of the table of flags.
type Flag struct {
	Name    string
	Aliases []string // other long names
	Short   string   // its letters
	// Arg is the word for the argument in the help, or "" if there is none.
	Arg string
	// Optional says that the argument can be left out. It follows an equals sign.
	Optional bool
	// Group is the heading in the help. The first flag of a group has it.
	Group string
	Help  string

	// typ is the type of namespace, for flags of namespaces; make says that it is a new one.
	typ  inspect.Type
	make bool
	set  func(o *Options, arg string) error
	// values returns the words that the argument can be, or can begin with, if Arg does
	// not have them.
	values func() []string
}

// Flags is the table of all flags of nstool-enter(1).
var Flags = []Flag{
	{
		Name: "target", Short: "pt", Arg: "TARGET", Group: "Target",
		Help: "the process to follow: a PID, or any other TARGET",
		set:  func(o *Options, arg string) error { o.Target = arg; return nil },
	},
	{
		Name: "container", Short: "c", Arg: "NAME", Help: "the container to enter",
		set: func(o *Options, arg string) error { o.Container = arg; return nil },
	},
	{
		Name: "pod", Arg: "NS/POD[/CONTAINER]", Help: "the network, IPC and UTS namespaces of a Kubernetes pod, or all of a container in it",
		set: func(o *Options, arg string) error { o.Pod = arg; return nil },
	},
	{
		Name: "all", Short: "a", Group: "Namespaces (of the target, or of a FILE, an INODE or another TARGET)",
		Help: "all that the target is in and the caller is not; the default with a target",
		set:  func(o *Options, _ string) error { o.All = true; return nil },
	},
	{Name: "mnt", Short: "m", Aliases: []string{"mount"}, Arg: "FROM", Optional: true, Help: "the mnt namespace", typ: inspect.Mnt},
	{Name: "uts", Short: "u", Arg: "FROM", Optional: true, Help: "the uts namespace", typ: inspect.UTS},
	{Name: "ipc", Short: "i", Arg: "FROM", Optional: true, Help: "the ipc namespace", typ: inspect.IPC},
	{Name: "net", Short: "n", Arg: "FROM", Optional: true, Help: "the net namespace", typ: inspect.Net},
	{Name: "pid", Arg: "FROM", Optional: true, Help: "the pid namespace", typ: inspect.PID},
	{Name: "user", Short: "U", Arg: "FROM", Optional: true, Help: "the user namespace", typ: inspect.User},
	{Name: "cgroup", Short: "C", Arg: "FROM", Optional: true, Help: "the cgroup namespace", typ: inspect.Cgroup},
	{Name: "time", Short: "T", Arg: "FROM", Optional: true, Help: "the time namespace", typ: inspect.Time},
	{
		Name: "user-parent", Help: "instead of the user namespace, its parent, or the owner of the others",
		set: func(o *Options, _ string) error { o.UserParent = true; return nil },
	},
	{
		Name: "net-socket", Short: "N", Arg: "FD", Help: "the network namespace of a socket of the target",
		set: func(o *Options, arg string) (err error) {
			o.NetSocket, err = number(arg, 1<<30)
			return err
		},
	},
	{Name: "new-mnt", Aliases: []string{"new-mount"}, Group: "Namespaces to make, in addition to those that are joined", Help: "a new mnt namespace", typ: inspect.Mnt, make: true},
	{Name: "new-uts", Help: "a new uts namespace", typ: inspect.UTS, make: true},
	{Name: "new-ipc", Help: "a new ipc namespace", typ: inspect.IPC, make: true},
	{Name: "new-net", Help: "a new net namespace", typ: inspect.Net, make: true},
	{Name: "new-pid", Help: "a new pid namespace", typ: inspect.PID, make: true},
	{Name: "new-user", Help: "a new user namespace", typ: inspect.User, make: true},
	{Name: "new-cgroup", Help: "a new cgroup namespace", typ: inspect.Cgroup, make: true},
	{Name: "new-time", Help: "a new time namespace", typ: inspect.Time, make: true},
	{
		Name: "root", Short: "r", Arg: "DIR", Optional: true, Group: "Files",
		Help: "the root directory of the target, or DIR",
		set:  func(o *Options, arg string) error { o.Root, o.RootDir = arg == "", arg; return nil },
	},
	{
		Name: "wd", Short: "w", Arg: "DIR", Optional: true,
		Help: "the working directory of the target, or DIR as the caller sees it",
		set:  func(o *Options, arg string) error { o.Dir, o.DirPath = arg == "", arg; return nil },
	},
	{
		Name: "wdns", Short: "W", Arg: "DIR", Optional: true,
		Help: "the working directory DIR as the program sees it; the default is /",
		set: func(o *Options, arg string) error {
			if o.InnerDir = arg; arg == "" {
				o.InnerDir = "/"
			}
			return nil
		},
	},
	{
		Name: "mount-proc", Help: "a new /proc that shows the PID namespace that is joined",
		set: func(o *Options, _ string) error { o.MountProc = true; return nil },
	},
	{
		Name: "netns-files", Help: "a new /sys, and the files of /etc/netns/NAME, for the network namespace",
		set: func(o *Options, _ string) error { o.NetnsFiles = true; return nil },
	},
	{
		Name: "tools", Arg: "SOURCE", Optional: true, Group: "Tools, for a target that has none",
		Help: "bring programs of this host, or of a directory, an archive, an image or a container, or static ones",
		set: func(o *Options, arg string) error {
			o.Tools.asked, o.Tools.source = true, arg
			return nil
		},
	},
	{
		Name: "view", Arg: "target|tools", Help: "whose files are in their usual places; the other's are in /.nstool",
		set: func(o *Options, arg string) error {
			switch arg {
			case "target":
				o.Tools.view = enter.ViewTarget
			case "tools":
				o.Tools.view = enter.ViewTools
			default:
				return fmt.Errorf("%q is neither target nor tools", arg)
			}
			return nil
		},
	},
	{
		Name: "setuid", Short: "S", Arg: "USER[:GROUP]|follow", Group: "Credentials",
		Help: "become USER, a number or a name in /etc/passwd inside, or the user of the target",
		set: func(o *Options, arg string) (err error) {
			user, group, both := strings.Cut(arg, ":")
			if both {
				if o.GID, o.FollowGID, o.groupName, err = identity(group, "a group"); err != nil {
					return err
				}
			}
			o.UID, o.FollowUID, o.userName, err = identity(user, "a user")
			return err
		},
	},
	{
		Name: "setgid", Short: "G", Arg: "GROUP|follow",
		Help: "become GROUP without supplementary groups, or take the groups of the target",
		set: func(o *Options, arg string) (err error) {
			o.GID, o.FollowGID, o.groupName, err = identity(arg, "a group")
			return err
		},
	},
	{
		Name: "as", Arg: "root|target", Help: "become root inside, or take the user, groups and capabilities of the target process, as is the default for its programs",
		set: func(o *Options, arg string) error {
			var root uint32
			switch arg {
			case "root":
				o.UID, o.GID, o.FollowUID, o.FollowGID = &root, &root, false, false
			case "target":
				o.UID, o.GID, o.FollowUID, o.FollowGID = nil, nil, true, true
			default:
				return fmt.Errorf("%q is neither root nor target", arg)
			}
			return nil
		},
	},
	{
		Name: "preserve-credentials", Help: "keep your user and groups, also in a user namespace",
		set: func(o *Options, _ string) error { o.Preserve = true; return nil },
	},
	{
		Name: "keep-caps", Help: "keep the capabilities of a user namespace without becoming its root",
		set: func(o *Options, _ string) error { o.KeepCaps = true; return nil },
	},
	{
		Name: "env", Short: "e", Arg: "KEEP,LIST", Optional: true, Group: "Program",
		Help: "the environment of the target, or these variables of the caller; NAME=VALUE is one with that value",
		set: func(o *Options, arg string) error {
			switch {
			case arg == "":
				o.TargetEnv = true
			case strings.HasPrefix(arg, "="):
				return fmt.Errorf("%q has no name", arg)
			case strings.Contains(arg, "="):
				o.AddEnv = append(o.AddEnv, arg)
			default:
				o.KeepEnv = append(o.KeepEnv, strings.Split(arg, ",")...)
			}
			return nil
		},
	},
	{
		Name: "no-fork", Short: "F", Help: "leave the program itself in the PID namespace of the caller",
		set: func(o *Options, _ string) error { o.NoFork = true; return nil },
	},
	{
		Name: "kill-child", Arg: "SIGNAL", Optional: true,
		Help: "the signal for the program when nstool is killed; the default is KILL",
		set: func(o *Options, arg string) (err error) {
			o.KillChild, err = signalOf(arg)
			return err
		},
		values: signalNames,
	},
	waitFlag("wait for the target to run, for TIME such as 30s, or without a limit"),
	{
		Name: "dry-run", Help: "print what would be done, one step a line, and do nothing",
		set: func(o *Options, _ string) error { o.DryRun = true; return nil },
	},
	{
		Name: "join-cgroup", Group: "Privileges",
		Help: "join the control groups of the target, as always with its file system",
		set:  func(o *Options, _ string) error { o.JoinCgroup = true; return nil },
	},
	{
		Name: "follow-context", Short: "Z", Help: "the SELinux context of the target",
		set: func(o *Options, _ string) error { o.FollowContext = true; return nil },
	},
	{
		Name: "privileged", Help: "give a program of the target the rights of the caller",
		set: func(o *Options, _ string) error { o.Privileged = true; return nil },
	},
	{
		Name: "cap-add", Arg: "LIST", Help: "give a program of the target, or the tools, these capabilities too, such as SYS_PTRACE,NET_RAW",
		set: func(o *Options, arg string) error {
			set, err := enter.ParseCaps(strings.Split(arg, ","))
			o.AddCaps |= set
			return err
		},
		values: func() []string {
			names := task.KnownCaps.Names()
			for i := range names {
				names[i] = strings.TrimPrefix(names[i], "CAP_")
			}
			return names
		},
	},
	{
		Name: "allow-missing", Arg: "LIST",
		Help: "go on without these limits of the target, if they cannot be taken over: caps, nnp, seccomp, cgroup, label, rlimits, oom, notify",
		set: func(o *Options, arg string) error {
			parts := strings.Split(arg, ",")
			o.AllowMissing = append(o.AllowMissing, parts...)
			_, err := enter.ParseParts(parts)
			return err
		},
		values: func() (names []string) {
			for _, p := range enter.Parts {
				names = append(names, string(p))
			}
			return names
		},
	},
	{
		Name: "raw-stdio", Help: "hand over redirected files and the terminal directly",
		set: func(o *Options, _ string) error { o.RawStdio = true; return nil },
	},
	{
		Name: "keep-fds", Help: "leave descriptors above 2 open to a program of the caller",
		set: func(o *Options, _ string) error { o.KeepFDs = true; return nil },
	},
	{
		Name: "help", Short: "h", Help: "this help",
		set: func(o *Options, _ string) error { o.Help = true; return nil },
	},
}

// waitFlag returns the flag that waits for the target.
func waitFlag(help string) Flag {
	return Flag{Name: "wait", Arg: "TIME", Optional: true, Help: help, set: func(o *Options, arg string) (err error) {
		if o.Wait = Forever; arg != "" {
			o.Wait, err = ParseWait(arg)
		}
		return err
	}}
}

// flagNamed returns a flag of [Flags], for another table.
func flagNamed(name string) Flag {
	f := Flags[slices.IndexFunc(Flags, func(f Flag) bool { return f.Name == name })]
	f.Group = ""
	return f
}

// Type returns the type of namespace that the flag joins, or 0.
func (f *Flag) Type() inspect.Type {
	if f.make {
		return 0
	}
	return f.typ
}

// Values returns the words that the argument, or each element of its list, can be, as far as
// they are known. In Arg they are in lower case.
func (f *Flag) Values() (words []string) {
	if f.values != nil {
		return f.values()
	}
	for word := range strings.SplitSeq(f.Arg, "|") {
		if word != "" && word == strings.ToLower(word) {
			words = append(words, word)
		}
	}
	return words
}

// List reports whether the argument is a list with commas.
func (f *Flag) List() bool { return strings.HasSuffix(f.Arg, "LIST") }

// setNamespace applies the flag of a type of namespace.
func (o *Options) setNamespace(t inspect.Type, from string) error {
	if o.Namespaces == nil {
		o.Namespaces = map[inspect.Type]string{}
	}
	o.Namespaces[t] = from
	return nil
}

// NewOptions returns the options of an empty command line of nstool-enter(1).
func NewOptions() *Options { return &Options{NetSocket: -1} }

// NewRunOptions returns the options of an empty command line of nstool-run(1).
func NewRunOptions() *Options { return &Options{NetSocket: -1, run: true} }

// Flags returns the table of flags of the command.
func (o *Options) Flags() []Flag {
	if o.run {
		return RunFlags
	}
	return Flags
}

// Set applies flag f.
func (o *Options) Set(f *Flag, arg string) error {
	if f.make {
		o.Make.Types = o.Make.Types.With(f.typ)
		return nil
	}
	if f.typ != 0 {
		return o.setNamespace(f.typ, arg)
	}
	return f.set(o, arg)
}

// Parse reads the words after "enter" or "run". Flags end with the first word that is no
// flag, or with "--". The program and its arguments follow.
func (o *Options) Parse(words []string) (*Options, error) {
	plain, err := o.Plain(words)
	if err != nil {
		return nil, err
	}
	for plain[0] != "--" {
		var flags []givenFlag
		if flags, plain, err = o.read(plain); err != nil {
			return nil, err
		}
		if err := o.set(flags); err != nil {
			return nil, err
		}
	}
	o.Program = plain[1:]
	return o, nil
}

// Named returns the flag with a long name, or nil.
func (o *Options) Named(name string) *Flag {
	return o.find(func(f *Flag) bool { return f.Name == name || slices.Contains(f.Aliases, name) })
}

// Lettered returns the flag with a letter, or nil.
func (o *Options) Lettered(letter byte) *Flag {
	return o.find(func(f *Flag) bool { return strings.IndexByte(f.Short, letter) >= 0 })
}

func (o *Options) find(is func(*Flag) bool) *Flag {
	flags := o.Flags()
	for i := range flags {
		if is(&flags[i]) {
			return &flags[i]
		}
	}
	return nil
}

func number(arg string, limit uint64) (int, error) {
	n, err := strconv.ParseUint(arg, 10, 64)
	if err != nil || n > limit || strconv.FormatUint(n, 10) != arg {
		return 0, fmt.Errorf("%q is not a whole number from 0 to %d", arg, limit)
	}
	return int(n), nil
}

// identity reads a user or a group: a number, "follow", or else a name.
func identity(arg, what string) (id *uint32, follow bool, name string, err error) {
	switch {
	case arg == "follow":
		return nil, true, "", nil
	case arg == "" || strings.ContainsAny(arg, ":/\x00") || arg[0] == '-':
		return nil, false, "", fmt.Errorf("%q is not %s", arg, what)
	case arg[0] >= '0' && arg[0] <= '9':
		id, err = parseID(arg)
		return id, false, "", err
	}
	return nil, false, arg, nil
}

// signals are the names of signals that --kill-child accepts.
var signals = [...]struct {
	name   string
	signal syscall.Signal
}{
	{"HUP", syscall.SIGHUP},
	{"INT", syscall.SIGINT},
	{"QUIT", syscall.SIGQUIT},
	{"ABRT", syscall.SIGABRT},
	{"KILL", syscall.SIGKILL},
	{"USR1", syscall.SIGUSR1},
	{"USR2", syscall.SIGUSR2},
	{"TERM", syscall.SIGTERM},
	{"", syscall.SIGKILL},
}

func signalNames() (names []string) {
	for _, s := range signals {
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	return names
}

func signalOf(arg string) (syscall.Signal, error) {
	name := strings.TrimPrefix(strings.ToUpper(arg), "SIG")
	for _, s := range signals {
		if s.name == name {
			return s.signal, nil
		}
	}
	n, err := number(arg, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("no signal %q; there are HUP, INT, QUIT, ABRT, KILL, USR1, USR2, TERM and the numbers from 1 to 64", arg)
	}
	return syscall.Signal(n), nil
}
