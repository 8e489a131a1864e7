package entry

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
)

// RunFlags is the table of all flags of nstool-run(1).
var RunFlags = []Flag{
	{
		Name: "all", Short: "a", Group: "Namespaces to make",
		Help: "all eight, with a new /proc",
		set:  func(o *Options, _ string) error { o.Make.all = true; return nil },
	},
	{Name: "mnt", Short: "m", Aliases: []string{"mount"}, Help: "a new mnt namespace", typ: inspect.Mnt, make: true},
	{Name: "uts", Short: "u", Help: "a new uts namespace", typ: inspect.UTS, make: true},
	{Name: "ipc", Short: "i", Help: "a new ipc namespace", typ: inspect.IPC, make: true},
	{Name: "net", Short: "n", Help: "a new net namespace", typ: inspect.Net, make: true},
	{Name: "pid", Help: "a new pid namespace", typ: inspect.PID, make: true},
	{Name: "user", Short: "U", Help: "a new user namespace", typ: inspect.User, make: true},
	{Name: "cgroup", Short: "C", Help: "a new cgroup namespace", typ: inspect.Cgroup, make: true},
	{Name: "time", Short: "T", Help: "a new time namespace", typ: inspect.Time, make: true},
	{
		Name: "rootless", Help: "a user namespace too, with you as its root, which an ordinary user needs to make the others",
		set: func(o *Options, _ string) error {
			o.Make.Types, o.Make.rootless = o.Make.Types.With(inspect.User), true
			return nil
		},
	},
	{
		Name: "join", Arg: "TYPE=TARGET", Help: "join a namespace that exists: --join net=pin:blue",
		set: func(o *Options, arg string) error {
			name, from, ok := strings.Cut(arg, "=")
			t, err := inspect.ParseType(name)
			if err != nil {
				return err
			}
			if !ok || from == "" {
				return fmt.Errorf("which %s namespace? --join %s=TARGET says", t, t)
			}
			return o.setNamespace(t, from)
		},
	},
	{
		Name: "pin", Arg: "NAME", Help: "pin the new namespaces under NAME, before the program is run",
		set: func(o *Options, arg string) error { o.Make.pin = arg; return nil },
	},
	{
		Name: "map-root", Short: "r", Aliases: []string{"map-root-user"}, Group: "Users of a new user namespace",
		Help: "you are root inside",
		set: func(o *Options, _ string) error {
			o.Make.mapRoot = true
			o.Make.imply(inspect.User, "--map-root")
			return nil
		},
	},
	{
		Name: "map-current", Aliases: []string{"map-current-user"},
		Help: "you keep your user and group inside; the default for an ordinary user",
		set: func(o *Options, _ string) error {
			o.Make.mapCurrent = true
			o.Make.imply(inspect.User, "--map-current")
			return nil
		},
	},
	{
		Name: "map-users", Arg: "RANGE", Help: "INSIDE:OUTSIDE:COUNT, \"all\" for all users (the default of root), or \"auto\"; can be repeated",
		set: func(o *Options, arg string) error {
			o.Make.users = append(o.Make.users, arg)
			o.Make.imply(inspect.User, "--map-users")
			return nil
		},
		values: rangeWords,
	},
	{
		Name: "map-groups", Arg: "RANGE", Help: "the same for groups",
		set: func(o *Options, arg string) error {
			o.Make.groups = append(o.Make.groups, arg)
			o.Make.imply(inspect.User, "--map-groups")
			return nil
		},
		values: rangeWords,
	},
	{
		Name: "map-auto", Help: "the users and groups that subuid(5) and subgid(5) give you, from 0 on",
		set: func(o *Options, _ string) error {
			o.Make.auto = true
			o.Make.imply(inspect.User, "--map-auto")
			return nil
		},
	},
	{
		Name: "setgroups", Arg: "allow|deny", Help: "whether setgroups(2) is allowed in it",
		set: func(o *Options, arg string) (err error) {
			o.Make.setgroups, err = oneOf(arg, []string{"allow", "deny"})
			o.Make.imply(inspect.User, "--setgroups")
			return err
		},
	},
	{
		Name: "hostname", Arg: "NAME", Group: "What is in them",
		Help: "the host name",
		set:  func(o *Options, arg string) error { return o.name(&o.Make.Hostname, arg, "--hostname") },
	},
	{
		Name: "domainname", Arg: "NAME", Help: "the NIS domain name",
		set: func(o *Options, arg string) error { return o.name(&o.Make.Domainname, arg, "--domainname") },
	},
	{
		Name: "loopback", Help: "bring the network interface lo up",
		set: func(o *Options, _ string) error {
			o.Make.Loopback = true
			o.Make.imply(inspect.Net, "--loopback")
			return nil
		},
	},
	{
		Name: "mount-proc", Arg: "DIR", Optional: true, Help: "a procfs on /proc, or DIR",
		set: func(o *Options, arg string) error {
			o.MountProc, o.Make.procDir = true, arg
			o.Make.imply(inspect.Mnt, "--mount-proc")
			return nil
		},
	},
	{
		Name: "propagation", Arg: "private|slave|shared|unchanged", Help: "the propagation of all mounts; the default is private",
		set: func(o *Options, arg string) (err error) {
			o.Make.Propagation, err = oneOf(arg, enter.Propagations)
			o.Make.imply(inspect.Mnt, "--propagation")
			return err
		},
	},
	{
		Name: "boottime", Arg: "SECONDS", Help: "how far its boot-time clock is ahead: seconds, or a time such as 36h",
		set: func(o *Options, arg string) (err error) {
			o.Make.Boottime, err = seconds(arg)
			o.Make.imply(inspect.Time, "--boottime")
			return err
		},
	},
	{
		Name: "monotonic", Arg: "SECONDS", Help: "the same for its monotonic clock",
		set: func(o *Options, arg string) (err error) {
			o.Make.Monotonic, err = seconds(arg)
			o.Make.imply(inspect.Time, "--monotonic")
			return err
		},
	},
	{
		Name: "root", Short: "R", Arg: "DIR", Group: "Program",
		Help: "the root directory",
		set:  func(o *Options, arg string) error { o.RootDir = arg; return nil },
	},
	{
		Name: "wd", Short: "w", Arg: "DIR", Help: "the working directory, as the program sees it",
		set: func(o *Options, arg string) error { o.InnerDir = arg; return nil },
	},
	{
		Name: "setuid", Short: "S", Arg: "UID", Help: "become user UID",
		set: func(o *Options, arg string) (err error) { o.UID, err = parseID(arg); return err },
	},
	{
		Name: "setgid", Short: "G", Arg: "GID", Help: "become group GID, without supplementary groups",
		set: func(o *Options, arg string) (err error) { o.GID, err = parseID(arg); return err },
	},
	flagNamed("keep-caps"),
	flagNamed("keep-fds"),
	{
		Name: "init", Help: "a process of nstool is the first in the PID namespace, and reaps orphans; the default",
		set: func(o *Options, _ string) error { o.Make.noInit = false; return nil },
	},
	{
		Name: "no-init", Help: "the program itself is the first process",
		set: func(o *Options, _ string) error { o.Make.noInit = true; return nil },
	},
	flagNamed("kill-child"),
	waitFlag("wait for the target of --join to run, for TIME such as 30s, or without a limit"),
	flagNamed("dry-run"),
	flagNamed("help"),
}

// rangeWords returns the words for ranges that are looked up.
func rangeWords() []string { return []string{"all", "auto"} }

// name reads the name of a new UTS namespace.
func (o *Options) name(to *string, arg, flag string) error {
	if len(arg) > 64 {
		return fmt.Errorf("%q has %d bytes, and there is room for 64", arg, len(arg))
	}
	*to = arg
	o.Make.imply(inspect.UTS, flag)
	return nil
}

// parseID reads the number of a user or group.
func parseID(arg string) (*uint32, error) {
	n, err := number(arg, 1<<32-2)
	if err != nil {
		return nil, err
	}
	id := uint32(n)
	return &id, nil
}

// explainMake adds to the error for a namespace that could not be made what would permit it.
func (o *Options) explainMake(e *enter.StepError, x *Explained) {
	t := e.Step.Type
	switch {
	case e.Denial != nil && e.Denial.Seccomp: // this comes first, whatever else is true
		x.Advice = denied(e)
	case e.Step.Op == enter.Make && t == inspect.User && errors.Is(e.Err, fs.ErrPermission):
		x.Advice = "ordinary users may be kept from making user namespaces: see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns"
	case e.Step.Op == enter.Make && errors.Is(e.Err, fs.ErrPermission) && !o.Make.Types.Has(inspect.User):
		x.Advice = "that takes CAP_SYS_ADMIN; --rootless makes a user namespace too, in which you have it"
	case e.Step.Op == enter.Make && errors.Is(e.Err, syscall.ENOSPC):
		x.Advice = fmt.Sprintf("there are as many as /proc/sys/user/max_%s_namespaces allows, or they are nested too deep", t)
	case e.Step.Op == enter.Mount && errors.Is(e.Err, fs.ErrPermission) && o.MountProc && !o.Make.Types.Has(inspect.PID):
		x.Advice = "in a user namespace a procfs needs a new PID namespace: --pid"
	case e.Step.Op == enter.Mount && errors.Is(e.Err, fs.ErrPermission) && o.MountProc:
		x.Advice = "the kernel permits no new procfs in a user namespace where parts of /proc are covered, as in a container"
	}
}

// runCheck finds contradictions of nstool-run(1).
func (o *Options) runCheck() error {
	switch {
	case o.Make.Types == 0 && len(o.Namespaces) == 0:
		return usagef("no namespaces: --net, --uts and their like say which to make, --all makes all")
	case o.Make.pin != "" && o.Make.Types == 0:
		return usagef("--pin pins new namespaces, and none is made")
	}
	return nil
}
