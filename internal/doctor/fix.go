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

// All commands that are proposed are made in this file. Each is run by a test, on
// the situation that it is for: what it was proposed for is gone then, and nothing
// else is. The table says which test; another test holds the table.
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
	rests    []string // what was seen, on which they rest
	then     string   // what no command can do
	no       bool     // nothing puts it right altogether, and so nothing is proposed
}

// nothing puts right what it is a remedy for.
var nothing = Remedy{no: true}

// do adds a command.
func (r *Remedy) do(words ...string) {
	if c := shell.Command(words...); !slices.Contains(r.commands, c) {
		r.commands = append(r.commands, c)
	}
}

// restsOn adds what was seen.
func (r *Remedy) restsOn(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.rests, s) {
		r.rests = append(r.rests, s)
	}
}

// with is r and then o.
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

// By has a finding say how it is put right.
func (f *Finding) By(r Remedy) {
	if len(r.commands) == 0 || r.no {
		return
	}
	f.Fix, f.Rests, f.Then = strings.Join(r.commands, " && "), strings.Join(r.rests, "; "), r.then
}

// Stop ends a container. There is nothing to be done for one whose engine would
// start it again, and for one of whom the engine that is asked need not know.
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

// again is Stop, and says how the container should be started after it.
func (h *Host) again(c *container.Container, how string) Remedy {
	r := h.Stop(c)
	if r.then = "start it again"; how != "" {
		r.then += " " + how
	}
	return r
}

// restart has an engine start a container again, with the namespaces that its
// partner has by then.
func (h *Host) restart(c *container.Container) (r Remedy) {
	if !c.Engine.Handling().Restarts || h.Stop(c).no {
		return h.again(c, "with its partner")
	}
	r.restsOn("%s is %s", c.ID, c)
	r.do(string(c.Engine), "restart", "--", c.ID)
	return r
}

// daemons are beginnings of names of programs by which others
// live: to end one may end what is none of the matter. That is no way to close a
// descriptor.
var daemons = []string{
	"docker", "containerd", "conmon", "crio", "kubelet", "podman", "lxc", "lxd", "incus", "snap.", "systemd", "dbus", "libvirtd",
}

// livesByIt reports whether others live by a process.
func (who Holder) livesByIt() bool {
	return slices.ContainsFunc(daemons, func(d string) bool { return strings.HasPrefix(who.Comm, d) })
}

// End makes processes let go of what they hold: their containers and they
// themselves are ended. What is of a unit of systemd's is for who looks after that.
func (h *Host) End(pids ...int) (r Remedy) {
	var kill []int
	for _, pid := range pids {
		who := h.Holders[pid]
		switch {
		case who.Container != nil && !h.Stop(who.Container).no:
			r = r.with(h.Stop(who.Container))
		case who.Unit != "" || who.livesByIt():
			return nothing
		default:
			kill = append(kill, pid)
		}
	}
	return r.with(h.kill(kill...))
}

// kill ends processes. Not every one ends by the signal that kill(1) sends.
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

// Few is how many processes are ended to have a mount namespace go.
const Few = 8

// Leave makes a mount namespace go, which is not the caller's. To unmount something
// in there would take running a program of somebody else's with all privileges.
func (h *Host) Leave(in inspect.ID) Remedy {
	ns, ok := h.Snapshot.Namespace(in)
	if !ok {
		return nothing
	}
	if c := h.Containers.With(ns); c != nil {
		return h.Stop(c)
	}
	if len(ns.Members) > Few || len(ns.Members) == 0 {
		return nothing
	}
	var pids []int
	for _, p := range ns.Members {
		pids = append(pids, p.PID)
	}
	return h.End(pids...)
}

// Unmount takes away a mount that a path of the caller's leads to.
func Unmount(m inspect.Mount) (r Remedy) {
	r.do("umount", "--", m.Point)
	return r
}

// unpin takes a namespace off a name, and the name away.
func (h *Host) unpin(ns inspect.ID, holder inspect.Holder, k keeper) (r Remedy) {
	if holder.In != h.Mounts {
		return h.Leave(holder.In)
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
		r = strip(holder.Path, ns, stack)
	}
	return r
}

// strip takes a namespace off a path, as often as it is mounted there, and then
// the file, if there is nothing below. How many of these go at once is for the
// kernel to say, where mounts are shared. Where something else is on top there is
// nothing to be done, as that would be taken off.
func strip(path string, ns inspect.ID, stack []uint64) (r Remedy) {
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

// stack returns the inode numbers of the namespaces that are mounted on a path in
// the caller's mount namespace, the one on top first; 0 is something else.
func (h *Host) stack(path string, ns inspect.ID) []uint64 {
	if stack, ok := h.Stacks[path]; ok {
		return stack
	}
	return []uint64{ns.Ino}
}

// forget takes a dead name away. That is safe where it is done: the kernel does not
// unlink what something is mounted on in the caller's mount namespace.
func (h *Host) forget(n Name) (r Remedy) {
	switch ours := n.By == "nstool" && n.Set != ""; {
	case ours:
		r.do("nstool", "pin", "rm", n.Set+"/"+n.Type.String())
	case n.Dead == pin.ErrInitGone: //nolint:errorlint // not one inside
		r = strip(n.Path, n.ID, h.stack(n.Path, n.ID))
	case n.Size > 0:
		r.do("rm", "-i", "--", n.Path)
	default:
		r.do("rm", "--", n.Path)
	}
	return r
}

// raise doubles a limit of the caller's user namespace.
func raise(t inspect.Type, limit uint64) (r Remedy) {
	r.do("sysctl", "-w", fmt.Sprintf("user.max_%s_namespaces=%d", t, 2*limit))
	return r
}

// raiseInside doubles one of a user namespace.
func raiseInside(user *inspect.Namespace, t inspect.Type, limit int) (r Remedy) {
	if l := user.Leader(); l != nil {
		r.do("nstool", "enter", "-p", strconv.Itoa(l.PID), "-U", "--", "sysctl", "-w", fmt.Sprintf("user.max_%s_namespaces=%d", t, 2*limit))
		r.restsOn("process %d is in %s", l.PID, user)
	}
	return r
}

// Release takes a block device apart that is made of another, or of a file. It is
// not in use itself.
func Release(u inspect.Use) (r Remedy) {
	switch {
	case u.InUse:
	case u.Kind == inspect.ByLoop:
		r.do("losetup", "-d", u.Path)
	case u.Kind == inspect.BySwap:
		r.do("swapoff", "--", u.Path)
	}
	return r
}
