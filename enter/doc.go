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
// [Cmd.Plan] returns the steps that Run would take, and takes none. [Do] calls a Go function in
// other namespaces instead of running a program.
//
// # Who joins
//
// The calling process stays where it is. A stub starts a program in namespaces of others: a few
// kilobytes of machine code in a sealed file without a name. It makes a list of system calls
// that was prepared in advance (internal/sys, Script): it joins, reads back what it joined,
// takes the credentials and executes the program. It opens no path of the target before that. A
// failure on the way is a [StepError], and the program has not run.
//
// [Cmd.RunOrExec] replaces the calling program instead, if no process of the target can see it
// before the program runs.
//
// # Whose program
//
// A program that others than the caller can control belongs to the target: a program from the
// target's file system, any program in a user namespace other than the caller's, and a program
// in a PID namespace where it can be traced. It runs as the user of the target process, with
// the capabilities and the confinement of that process, and gets nothing of the caller's. All
// other programs keep the caller's rights. [Cmd.Privileged] turns this off.
//
// # The stub
//
// setns(2) refuses user and time namespaces to a process with threads, and every Go program
// has threads. A process that joins a PID namespace also shows its executable to the
// container. So this program never joins such a namespace itself: [Cmd.Plan] becomes a list of
// prepared system calls (sys.Script), which a few hundred bytes of machine code make, from a
// sealed memfd that fork and exec start. The stub has one thread, looks up no path and has
// nothing of the host in it: overwriting /proc/PID/exe changes a file that nobody uses again.
// It also saves a second start of the Go runtime. The alternative, clone(2) from within Go,
// needs go:linkname into the runtime and shows the whole program to the container.
//
// Joins that no process inside can see are made on a locked thread of the caller, which
// becomes the program, as with nsenter(1).
//
// # Users and confinement
//
// The file standing.go chooses who controls the program and with which rights it runs; a table
// has what follows from that. User and groups are set before the first join, if the caller
// may, and in its own numbers: so also an ID that the user namespace does not map, and the
// kernel shows nothing of the caller as the overflow user there. After each change the process
// is made undumpable again, because of fs.suid_dumpable.
//
// A program of the target is confined as the target is. Otherwise a container that has
// replaced its sh would get root from whoever debugs it. The file bounds.go reads the limits
// of the target, and confine.go makes steps of them. Steps that need privileges outside
// (control groups, label, limits) come before the joins, the bounding set before the change of
// user, and filters last if no_new_privs allows that, else before the capabilities are
// dropped. All of it is done before there is a process that the target can see: control over
// that process gains nothing. Another process cannot read securebits, so a target that is root
// with less than its bounding set counts as under SECBIT_NOROOT, the stricter case.
// Capabilities mean nothing outside their user namespace: without it they are an error.
//
// If a limit of processes is reached, fork(2) fails, but a process can still be moved into the
// control group. Then the plan is made again: the child forks outside, and the caller moves
// it. The child is traced from birth until then (CLONE_PTRACE), since it is under no limit
// yet. This is not the default, since moving another process waits for an RCU grace period,
// and a traced child is in the way of strace(1).
//
// # Standard files
//
// No process inside gets a file, a pipe or a terminal of the caller: /proc/self/fd opens a
// file again for writing, and also a pipe, into which a program could then write the rest of a
// script that the caller's shell reads. The file stdio.go puts a pipe in place of each, and a
// pseudo-terminal in place of a terminal. Input is not lost: the position of a file is moved
// back by what the program did not read, and tee(2) copies from a pipe, which is emptied only
// as far as the program has read. splice(2) is not used: it would put pages of the caller's
// file into a pipe that others can write to.
//
// # Tools
//
// Tools have a mount namespace of their own: a tmpfs as root, on it copies of the target's
// mounts (open_tree(2), move_mount(2)), and the tools as overlays without an upper layer,
// which cannot be remounted for writing. The stub joins it in place of the target's, and looks
// up no path outside it. For a program with the target's rights the target's files are in
// their places: with the tools' files there, every path that somebody types would be the wrong
// one. The loader of the tools is then mounted on the target's, since the kernel looks for it
// in one place, and LD_LIBRARY_PATH does the rest. A program with more rights than the target
// would run code of the target that way (/etc/ld.so.preload, NSS, .bashrc), so for it the
// tools' files are in their places.
//
// A program leaves orphans to the first process of the target, which may not reap them. So a
// program with tools has a keeper as its parent: a subreaper, as confined as the program, that
// exits with its last child. The caller kills all other members of the tools mount when the
// program has ended. A container with CAP_SYS_PTRACE can get the pipe of the keeper, so the
// caller never waits for the end of that pipe, and kills the keeper if its reports make no
// sense. If the caller itself is killed, a stub that waits at a pipe runs [Tools.Sweeper]. It
// holds the mount namespace, whose inode number could else be used again.
//
// # New namespaces
//
// Each namespace is made by a call of its own, so that an error names the type. A step in
// which the caller has something to do, such as writing ID maps or pinning, has the process
// report that it is ready and wait. The first process of a new PID namespace is the stub
// (sys.Script.Init): it waits for signals, passes them on and reaps. A program of the target
// gets no such parent, which would keep the rights that the program has lost.
package enter
