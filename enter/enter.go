// Package enter runs programs in namespaces that exist, or are made for them.
//
// It works like os/exec, with a target:
//
//	target, err := enter.Open(4242)
//	if err != nil {
//		return err
//	}
//	defer target.Close()
//
//	cmd := enter.Command(target, "ip", "addr")
//	cmd.Types = inspect.TypesOf(inspect.Net)
//	cmd.Stdout = os.Stdout
//	return cmd.Run(ctx)
//
// [Cmd.Plan] says what Run would do, one [Step] after the other, and does
// nothing. [Do] calls a Go function in other namespaces instead of running a
// program.
//
// # Who joins
//
// The calling process stays where it is. A program that joins namespaces of
// others is started through a stub: a few kilobytes of machine code in a
// sealed file without a name, which carries out a list of system calls that
// was prepared in advance (internal/sys, Script). It joins, reads back what it
// joined, takes on the credentials and executes the program, and it touches no
// path of the other side before. What fails on the way comes back as a
// [StepError], and the program has not run.
//
// [Cmd.Exec] replaces the calling program instead, where nothing on the other
// side can see it.
//
// # Whose program
//
// A program that others than the caller may control is theirs: one found in the
// target's file system, one in a user namespace other than the caller's whatever
// its file, and one in a PID namespace where it may be traced. It is run as who the
// target process is, with its capabilities and confinement, and gets nothing of the
// caller's. All others keep the caller's rights. [Cmd.Privileged] waives that.
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
	// Types are the namespaces of Target to join. Those the caller is in
	// already are passed over. With [inspect.AllTypes], types that the kernel
	// does not have are too.
	Types inspect.Types
	// Files are namespaces to join by file. They win over Target's.
	Files map[inspect.Type]*os.File
	// UserParent joins the parent of the user namespace that would be joined,
	// or the owner of the others, in its place.
	UserParent bool

	// New are namespaces to make, after those that exist are joined.
	New New

	// Path is the program: with a slash a path, else looked up in PATH, both
	// as the program's own file system has them. "" is a shell: that of the
	// user, else bash, ash or sh.
	Path string
	// Args are the arguments, with the name of the program first. nil is Path.
	Args []string
	// Env is the environment. nil is the caller's, for the target's files the
	// target's with TERM of the caller, and else a clean one where others may
	// control the program, or it is another user's.
	Env []string
	// KeepEnv are the names of variables of the caller to add to that.
	KeepEnv []string
	// AddEnv are variables to add, as "NAME=VALUE".
	AddEnv []string
	// GivenEnv is the environment that the target was started with, if that is
	// known: it is taken where the target has written over its own.
	GivenEnv []string
	// TargetEnv takes the environment of the target also for a program of the
	// caller's. It is an error for one with rights that the target has not.
	TargetEnv bool

	// Root enters the root directory of the target, or RootDir if it is set.
	// It is implied for a target with a root directory of its own, where its
	// mount namespace is joined.
	Root    bool
	RootDir string
	// Dir takes the working directory of the target, or of the caller's path
	// DirPath; InnerDir one by a path as the program sees it.
	Dir      bool
	DirPath  string
	InnerDir string

	// UID, GID are what to become, in the user namespace that is joined; nil
	// is the target's where the program is the target's, and else the caller's.
	// FollowUID and FollowGID take those of the target. UID, GID and FollowGID set
	// the supplementary groups too: none, or the target's. With UID or GID the
	// program has at most the bounding set of the target.
	UID, GID             *uint32
	FollowUID, FollowGID bool
	// PreserveCredentials keeps user, group and supplementary groups. In a user
	// namespace that does not have them it is an error.
	PreserveCredentials bool
	// KeepCaps hands the capabilities of a user namespace that is joined over
	// to a program that is not run by its root.
	KeepCaps bool

	// Tools are brought along into the mount namespace of Target.
	Tools *Tools

	// NoFork leaves the program in the caller's PID namespace: only its
	// children go to the one that is joined.
	NoFork bool
	// MountProc mounts a procfs for the PID namespace that is joined, seen by
	// the program alone. NetnsFiles does so for /sys, and for the files in
	// /etc/netns/NetnsName, if that is set.
	// ProcDir is where; "" is /proc.
	MountProc  bool
	ProcDir    string
	NetnsFiles bool
	NetnsName  string
	// JoinCgroup moves the program to the control groups of the target.
	JoinCgroup bool
	// FollowContext takes the SELinux context of the target.
	FollowContext bool

	// Privileged gives a program of the target the caller's privileges.
	Privileged bool
	// AddCaps are capabilities that a program of the target has beside the
	// target's.
	AddCaps Caps
	// AllowMissing names what may stay behind, of what is taken from the
	// target, if it cannot be had: see [Parts].
	AllowMissing []string

	// RawStdio hands Stdin, Stdout and Stderr to a program of the target as
	// they are. Else it gets a terminal of its own in the place of a terminal,
	// and a pipe in the place of a file.
	RawStdio bool

	// KeepFDs leaves the caller's other descriptors open to a program of the
	// caller's own. They can be had only where the caller becomes the program;
	// else none but 0, 1 and 2 are.
	KeepFDs bool

	// Looked, if it is not nil, is called when the target has been looked at,
	// and before anything is done. Of a target in an execve(2) that does not end
	// that may be never, and only to end the caller helps.
	Looked func()
	// Confirm, if it is not nil, is called when all of the target is open that the
	// program will be in, and before anything is done. Its error is that of the
	// Cmd: [Target.Ready] is what it may ask once more.
	Confirm func() error

	// Note, if it is not nil, is called with what the program will lack although
	// nothing stops it, a sentence each.
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

// entersFiles reports whether the program is found in another file system than
// the caller's: it is the target's program then.
func (c *Cmd) entersFiles(joined inspect.Types) bool {
	own := joined == 0 && c.Target == nil // a root directory of the caller's choice
	return joined.Has(inspect.Mnt) || c.Root || c.RootDir != "" && !own
}
