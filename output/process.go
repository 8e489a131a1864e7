package output

import (
	"strconv"

	"github.com/nstool/nstool/inspect"
)

// Processes is the table of columns that say something of a process.
var Processes = []Column[*inspect.Process]{
	{"PID", "process ID", Number, 0, func(_ *View, p *inspect.Process) Value { return numberValue(p.PID) }},
	{"PPID", "parent process", Number, Detail, ofProcess(func(_ *View, d inspect.Detail) Value { return numberValue(d.PPID) })},
	{"USER", "name of the effective user, or the number where there is none", Text, Detail, ofProcess(func(v *View, d inspect.Detail) Value { return textValue(v.UserName(d.UID)) })},
	{"UID", "effective user ID", Number, Detail, ofProcess(func(_ *View, d inspect.Detail) Value { return numberValue(d.UID) })},
	{"NTHREADS", "number of threads", Number, 0, func(_ *View, p *inspect.Process) Value { return numberValue(p.Threads) }},
	{"NSPID", "PID in each PID namespace that the process is in, the outermost first", List, StatusNeed, func(v *View, p *inspect.Process) Value {
		var pids []string
		for _, n := range v.Status[p.PID].NSpid {
			pids = append(pids, strconv.Itoa(n))
		}
		return listValue(pids)
	}},
	{"CGROUP", "control group, of version 2 or of the hierarchy that tells most", Text, StatusNeed, func(v *View, p *inspect.Process) Value {
		return textValue(v.Status[p.PID].Cgroup)
	}},
	{"STATE", "state, as in proc_pid_stat(5)", Text, Detail, ofProcess(func(_ *View, d inspect.Detail) Value { return textValue(string(rune(d.State))) })},
	{"STARTED", "when the process started", When, Detail, ofProcess(func(_ *View, d inspect.Detail) Value { return started(d) })},
	ofOwnContainer("CONTAINER", containerName),
	ofOwnContainer("ENGINE", containerEngine),
	ofOwnContainer("CID", containerID),
	ofOwnContainer("IMAGE", containerImage),
	ofOwnContainer("POD", containerPod),
	{"GUEST", "\"guest\" if the process came into the container's namespaces from outside", Text, Identity | Guests, func(v *View, p *inspect.Process) Value {
		if v.Guests[p.PID] {
			return textValue("guest")
		}
		return Value{}
	}},
	{"COMM", "name of the command, as the kernel cuts it", Text, Detail, ofProcess(func(_ *View, d inspect.Detail) Value { return textValue(d.Comm) })},
	{"COMMAND", "command line, or the name of the command in brackets", Text, Detail | Args, ofProcess(func(_ *View, d inspect.Detail) Value { return textValue(d.Command()) })},
}

// ofOwnContainer makes a column of what there is to say of the container that a
// process is in.
func ofOwnContainer(name string, f containerField) Column[*inspect.Process] {
	return Column[*inspect.Process]{name, f.help, Text, Identity, func(v *View, p *inspect.Process) Value {
		if v.Containers == nil {
			return Value{}
		}
		return f.value(v.Containers.Of(p).Container)
	}}
}

func ofProcess(f func(*View, inspect.Detail) Value) func(*View, *inspect.Process) Value {
	return func(v *View, p *inspect.Process) Value {
		return ofDetail(v, p.PID, f)
	}
}

// ProcessDefaults returns the columns of processes that are shown when none
// are asked for.
func ProcessDefaults(containers, guests bool) []Column[*inspect.Process] {
	names := []string{"PID", "PPID", "USER"}
	if containers {
		names = append(names, "CONTAINER")
	}
	if guests {
		names = append(names, "GUEST")
	}
	return Pick(Processes, append(names, "COMMAND")...)
}
