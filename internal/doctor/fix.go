package doctor

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/pin"
)

// This file makes all commands that are proposed. The table names a test for each. That
// test runs the command where it is proposed: the cause is gone then, and nothing else is.
// TestProposals checks the table.
var proposals = []struct{ begins, test string }{
	{"kill ", "test/script doctor_kill"},
	{"kill -KILL ", "test/script doctor_kill"},
	{"docker stop -- ", "test/engine TestDoctorStop"},
	{"podman stop -- ", "test/engine TestDoctorStop"},
	{"docker restart -- ", "test/engine TestLeftBehind"},
	{"podman restart -- ", "test/engine TestLeftBehind"},
	{"ctr -n ", "test/engine TestDoctorStop"},
	{"lxc-stop ", "test/engine TestDoctorStop"},
	{"umount -- ", "test/script busy"},
	{"while umount -- ", "test/script doctor_leaks"},
	{"losetup -d ", "test/script doctor_devices"},
	{"swapoff -- ", "test/script doctor_devices"},
	{"rm -- ", "test/script doctor_names"},
	{"rm -i -- ", "test/script doctor_names"},
	{"ip netns delete ", "test/script doctor_leaks"},
	{"nstool pin rm ", "test/script doctor_leaks"},
	{"sysctl -w ", "internal/doctor TestLimitsReal"},
	{"nstool enter -p ", "internal/doctor TestInnerLimits"},
}

// A Remedy is commands that put something right, one after the other.
type Remedy struct {
	commands []string
	rests    []string // what was seen that they are based on
	then     string   // what is left to do
	no       bool     // no command puts everything right, so none is proposed
}

// nothing is the remedy where no command helps.
var nothing = Remedy{no: true}

// do adds a command.
func (r *Remedy) do(words ...string) {
	if c := shell.Command(words...); !slices.Contains(r.commands, c) {
		r.commands = append(r.commands, c)
	}
}

// restsOn adds an observation that the commands are based on.
func (r *Remedy) restsOn(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.rests, s) {
		r.rests = append(r.rests, s)
	}
}

// with returns r followed by o.
func (r Remedy) with(o Remedy) Remedy {
	r.no = r.no || o.no
	for _, c := range o.commands {
		if !slices.Contains(r.commands, c) {
			r.commands = append(r.commands, c)
		}
	}
	for _, s := range o.rests {
		r.restsOn("%s", s)
	}
	return r
}

// Propose sets the command of a finding, if r has any.
func (f *Finding) Propose(r Remedy) {
	if len(r.commands) == 0 || r.no {
		return
	}
	f.Fix, f.Rests, f.Then = strings.Join(r.commands, " && "), strings.Join(r.rests, "; "), r.then
}

// Stop stops a container. There is no command for a container that its engine would start
// again, nor for one that the engine of root may not know.
func (h *Host) Stop(c *container.Container) (r Remedy) {
	if c.Pod != nil || c.Outer != nil || !c.Confirmed || c.User != container.Root {
		return nothing
	}
	stop := c.Engine.Handling().Stop
	if stop == nil {
		return h.kill(c.Init)
	}
	words := stop(c)
	if words == nil {
		return nothing
	}
	if !slices.Contains(words, c.Name) {
		r.restsOn("%s is %s", c.ID, c)
	}
	r.do(words...)
	return r
}

// stopForRestart stops a container, and says how to start it again.
func (h *Host) stopForRestart(c *container.Container, how string) Remedy {
	r := h.Stop(c)
	if r.then = "start it again"; how != "" {
		r.then += " " + how
	}
	return r
}

// restart restarts a container, which then gets the present namespaces of its partner.
func (h *Host) restart(c *container.Container) (r Remedy) {
	if !c.Engine.Handling().Restarts || h.Stop(c).no {
		return h.stopForRestart(c, "with its partner")
	}
	r.restsOn("%s is %s", c.ID, c)
	r.do(string(c.Engine), "restart", "--", c.ID)
	return r
}

// daemonPrefixes are the beginnings of names of programs that others depend on. Ending one
// to close a descriptor would end more than that.
var daemonPrefixes = []string{
	"docker", "containerd", "conmon", "crio", "kubelet", "podman", "lxc", "lxd", "incus", "snap.", "systemd", "dbus", "libvirtd",
}

// isDaemon reports whether others depend on a process.
func (who Holder) isDaemon() bool {
	return slices.ContainsFunc(daemonPrefixes, func(d string) bool { return strings.HasPrefix(who.Comm, d) })
}

// End ends processes, or the containers that they are in. There is no command for a process
// of a unit of systemd, which is for its administrator to restart.
func (h *Host) End(pids ...int) (r Remedy) {
	var kill []int
	for _, pid := range pids {
		who := h.Holders[pid]
		switch {
		case who.Container != nil && !h.Stop(who.Container).no:
			r = r.with(h.Stop(who.Container))
		case who.Unit != "" || who.isDaemon():
			return nothing
		default:
			kill = append(kill, pid)
		}
	}
	return r.with(h.kill(kill...))
}

// kill ends processes, by SIGKILL if they do not react to SIGTERM.
func (h *Host) kill(pids ...int) (r Remedy) {
	mild, hard := []string{"kill"}, []string{"kill", "-KILL"}
	for _, pid := range pids {
		who, known := h.Holders[pid]
		if c, ok := h.Confinements[pid]; !known && ok {
			who.Mortality = c.Mortality
		}
		n := strconv.Itoa(pid)
		switch {
		case pid <= 1:
			return nothing
		case slices.Contains(mild, n) || slices.Contains(hard, n):
		case who.First:
			hard = append(hard, n)
			others, seen := 0, ""
			if !h.Snapshot.Whole(inspect.Members) {
				seen = " that can be seen"
			}
			p, _ := h.Snapshot.Process(pid)
			if ns, ok := h.Snapshot.Of(p, inspect.PID); ok {
				others = len(ns.Members) - 1
			}
			r.restsOn("%s is the first of its PID namespace, and all in there end with it, %d others%s", h.Process(pid), others, seen)
		case who.Immune:
			hard = append(hard, n)
			r.restsOn("%s ignores SIGTERM", h.Process(pid))
		default:
			mild = append(mild, n)
		}
	}
	if len(mild) > 1 {
		r.do(mild...)
	}
	if len(hard) > 2 {
		r.do(hard...)
	}
	return r
}

// MaxEnded limits how many processes [Host.EndMembers] ends.
const MaxEnded = 8

// EndMembers frees a mount namespace, not that of the caller, by ending the processes in it.
// To unmount something there, a program of somebody else would have to run with all
// privileges.
func (h *Host) EndMembers(in inspect.ID) Remedy {
	ns, ok := h.Snapshot.Namespace(in)
	if !ok {
		return nothing
	}
	if c := h.Containers.With(ns); c != nil {
		return h.Stop(c)
	}
	if len(ns.Members) > MaxEnded || len(ns.Members) == 0 {
		return nothing
	}
	var pids []int
	for _, p := range ns.Members {
		pids = append(pids, p.PID)
	}
	return h.End(pids...)
}

// Unmount removes a mount that the caller reaches by its path.
func Unmount(m inspect.Mount) (r Remedy) {
	r.do("umount", "--", m.Point)
	return r
}

// unpin unmounts a namespace from a name, and removes the name.
func (h *Host) unpin(ns inspect.ID, holder inspect.Holder, k keeper) (r Remedy) {
	if holder.In != h.Mounts {
		return h.EndMembers(holder.In)
	}
	dir, name := path.Split(holder.Path)
	if k.keeps {
		return nothing
	}
	switch stack := h.stack(holder.Path, ns); {
	case k.by == "nstool" && len(stack) == 1:
		r.do("nstool", "pin", "rm", path.Base(dir)+"/"+name)
	case (k.by == "ip-netns" || k.by == "cni") && !strings.HasPrefix(name, "-") && len(stack) == 1 && stack[0] == ns.Ino:
		r.do("ip", "netns", "delete", name)
	default:
		r = unmountAll(holder.Path, ns, stack)
	}
	return r
}

// unmountAll unmounts a namespace from a path, as often as it is mounted there, and then
// removes the file, if nothing else is mounted on it. With shared mounts, one umount may
// remove several of them. There is no command if something else is on top, because that
// would be unmounted.
func unmountAll(path string, ns inspect.ID, stack []uint64) (r Remedy) {
	umount, rm := shell.Command("umount", "--", path), shell.Command("rm", "--", path)
	n := 0
	for n < len(stack) && stack[n] == ns.Ino {
		n++
	}
	switch {
	case n == 1 && len(stack) == 1:
		r.commands = []string{umount, rm}
	case n == 1:
		r.commands = []string{umount}
	case n > 0 && n == len(stack):
		r.commands = []string{"while " + umount + " 2>/dev/null; do :; done", rm}
	default:
		return nothing
	}
	return r
}

// stack returns the inode numbers of the namespaces that are mounted on a path, as
// [Host.Stacks] has them.
func (h *Host) stack(path string, ns inspect.ID) []uint64 {
	if stack, ok := h.Stacks[path]; ok {
		return stack
	}
	return []uint64{ns.Ino}
}

// removeName removes a dead name. That is safe in the mount namespace of the caller, where
// the kernel does not unlink a file that something is mounted on.
func (h *Host) removeName(n Name) (r Remedy) {
	switch ours := n.By == "nstool" && n.Set != ""; {
	case ours:
		r.do("nstool", "pin", "rm", n.Set+"/"+n.Type.String())
	case n.Dead == pin.ErrInitGone: //nolint:errorlint // not one inside
		r = unmountAll(n.Path, n.ID, h.stack(n.Path, n.ID))
	case n.Size > 0:
		r.do("rm", "-i", "--", n.Path)
	default:
		r.do("rm", "--", n.Path)
	}
	return r
}

// raise doubles a limit of the user namespace of the caller.
func raise(t inspect.Type, limit uint64) (r Remedy) {
	r.do("sysctl", "-w", fmt.Sprintf("user.max_%s_namespaces=%d", t, 2*limit))
	return r
}

// raiseInside doubles a limit of another user namespace.
func raiseInside(user *inspect.Namespace, t inspect.Type, limit int) (r Remedy) {
	if l := user.Leader(); l != nil {
		r.do("nstool", "enter", "-p", strconv.Itoa(l.PID), "-U", "--", "sysctl", "-w", fmt.Sprintf("user.max_%s_namespaces=%d", t, 2*limit))
		r.restsOn("process %d is in %s", l.PID, user)
	}
	return r
}

// Detach removes a loop device or a swap area that nothing uses.
func Detach(u inspect.Use) (r Remedy) {
	switch {
	case u.InUse:
	case u.Kind == inspect.ByLoop:
		r.do("losetup", "-d", u.Path)
	case u.Kind == inspect.BySwap:
		r.do("swapoff", "--", u.Path)
	}
	return r
}
