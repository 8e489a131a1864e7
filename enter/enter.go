package enter

import (
	"os"
	"syscall"

	"github.com/nstool/nstool/inspect"
)

// A Cmd is a program to run in namespaces of a target.
//
// The zero value of every field is what a careful user would want.
type Cmd struct {
	// Target is the process to follow. It may be nil if Files says it all.
	Target *Target
	// Types are the namespaces of Target to join, without those that the caller is in already.
	// [inspect.AllTypes] also leaves out types that the kernel does not have.
	Types inspect.Types
	// Files are namespaces to join by file. They replace those of Target.
	Files map[inspect.Type]*os.File
	// UserParent joins, in place of the user namespace, its parent, or the owner of the other
	// namespaces.
	UserParent bool

	// New are namespaces to make, after the joins.
	New New

	// Path is the program: a path if it has a slash, else a name that is looked up in PATH,
	// both in the file system of the program. "" is a shell: that of the user, else bash, ash
	// or sh.
	Path string
	// Args are the arguments, with the name of the program first. nil is Path.
	Args []string
	// Env is the environment. nil is the caller's environment; for a program from the target's
	// files, that of the target with the caller's TERM; and a clean one for other programs that
	// others can control or that run as another user.
	Env []string
	// KeepEnv are the names of variables of the caller to add to that.
	KeepEnv []string
	// AddEnv are variables to add, as "NAME=VALUE".
	AddEnv []string
	// GivenEnv is the environment that the target was started with, if the caller knows it. It
	// is used if the target has overwritten its own.
	GivenEnv []string
	// TargetEnv takes the environment of the target also for a program of the caller. It is an
	// error if the program has rights that the target does not have.
	TargetEnv bool

	// Root enters the root directory of the target, or RootDir if it is set. It is implied if
	// the target has a root directory of its own and its mount namespace is joined.
	Root    bool
	RootDir string
	// Dir takes the working directory of the target. DirPath is one by a path of the caller,
	// InnerDir by a path as the program sees it.
	Dir      bool
	DirPath  string
	InnerDir string

	// UID and GID are the user and group of the program, in the user namespace that is joined.
	// nil is the target's if the program belongs to the target, and else the caller's.
	// FollowUID and FollowGID take those of the target. UID, GID and FollowGID also set the
	// supplementary groups: to none, or to the target's. With UID or GID the program has at
	// most the bounding set of the target.
	UID, GID             *uint32
	FollowUID, FollowGID bool
	// PreserveCredentials keeps user, group and supplementary groups. It is an error if the
	// user namespace does not map them.
	PreserveCredentials bool
	// KeepCaps passes the capabilities in a joined user namespace on to a program that does not
	// run as its root.
	KeepCaps bool

	// Tools are programs to bring into the mount namespace of Target.
	Tools *Tools

	// NoFork leaves the program in the caller's PID namespace: only its children are in the
	// joined one.
	NoFork bool
	// MountProc mounts a procfs of the joined PID namespace on ProcDir ("" is /proc), in a
	// mount namespace of the program's own. NetnsFiles does the same for /sys, and for the
	// files in /etc/netns/NetnsName if that is set.
	MountProc  bool
	ProcDir    string
	NetnsFiles bool
	NetnsName  string
	// JoinCgroup moves the program to the control groups of the target.
	JoinCgroup bool
	// FollowContext takes the SELinux context of the target.
	FollowContext bool

	// Privileged gives the caller's privileges to a program of the target.
	Privileged bool
	// AddCaps are capabilities that a program of the target has in addition to the target's.
	AddCaps Caps
	// AllowMissing names the parts of the target's confinement that may be missing if they
	// cannot be taken: see [Parts].
	AllowMissing []string

	// RawStdio passes Stdin, Stdout and Stderr unchanged to a program of the target. Without it
	// the program gets a terminal of its own in place of a terminal, and a pipe in place of a
	// file.
	RawStdio bool

	// KeepFDs leaves the caller's other descriptors open. It is possible only where the caller
	// becomes the program; else only 0, 1 and 2 are open.
	KeepFDs bool

	// Looked, if not nil, is called when everything about the target has been read, and before
	// anything is done. If the target is in an execve(2) that does not finish, this may never
	// happen, and only ending the caller helps.
	Looked func()
	// Confirm, if not nil, is called when everything of the target that the program will be in
	// is open, and before anything is done. Its error becomes that of the Cmd. It can check
	// [Target.Ready] once more.
	Confirm func() error

	// Note, if not nil, is called with each thing that the program will lack although it can
	// run, one sentence each.
	Note func(text string)

	// KillChild is what the program gets when the caller ends; 0 is SIGKILL.
	KillChild syscall.Signal

	// Stdin, Stdout and Stderr are those of the program; nil is /dev/null.
	Stdin, Stdout, Stderr *os.File
}

// Command returns a Cmd that joins no namespaces yet.
func Command(target *Target, name string, arg ...string) *Cmd {
	return &Cmd{Target: target, Path: name, Args: append([]string{name}, arg...)}
}

// entersFiles reports whether the program comes from another file system than the caller's:
// then it is the target's program.
func (c *Cmd) entersFiles(joined inspect.Types) bool {
	own := joined == 0 && c.Target == nil // a root directory of the caller's choice
	return joined.Has(inspect.Mnt) || c.Root || c.RootDir != "" && !own
}
