package output

import (
	"strconv"

	"github.com/nstool/nstool/inspect"
)

// processColumns returns the columns of processes.
func processColumns() []Column[*inspect.Process] {
	return []Column[*inspect.Process]{
		{"PID", "process ID", kindNumber, 0, func(_ *View, p *inspect.Process) cellValue { return numberValue(p.PID) }},
		{"PPID", "parent process", kindNumber, NeedDetail, processValue(func(_ *View, d inspect.Detail) cellValue { return numberValue(d.PPID) })},
		{"USER", "name of the effective user, or the number where there is none", kindText, NeedDetail, processValue(func(v *View, d inspect.Detail) cellValue { return textValue(v.UserName(d.UID)) })},
		{"UID", "effective user ID", kindNumber, NeedDetail, processValue(func(_ *View, d inspect.Detail) cellValue { return numberValue(d.UID) })},
		{"NTHREADS", "number of threads", kindNumber, 0, func(_ *View, p *inspect.Process) cellValue { return numberValue(p.Threads) }},
		{"NSPID", "PID in each PID namespace that the process is in, the outermost first", kindList, NeedStatus, func(v *View, p *inspect.Process) cellValue {
			var pids []string
			for _, n := range v.Status[p.PID].NSpid {
				pids = append(pids, strconv.Itoa(n))
			}
			return listValue(pids)
		}},
		{"CGROUP", "control group, of version 2 or of the hierarchy that tells most", kindText, NeedStatus, func(v *View, p *inspect.Process) cellValue {
			return textValue(v.Status[p.PID].Cgroup)
		}},
		{"STATE", "state, as in proc_pid_stat(5)", kindText, NeedDetail, processValue(func(_ *View, d inspect.Detail) cellValue { return textValue(string(rune(d.State))) })},
		{"STARTED", "when the process started", kindTime, NeedDetail, processValue(func(_ *View, d inspect.Detail) cellValue { return started(d) })},
		processContainer("CONTAINER", containerName),
		processContainer("ENGINE", containerEngine),
		processContainer("CID", containerID),
		processContainer("IMAGE", containerImage),
		processContainer("POD", containerPod),
		{"GUEST", "\"guest\" if the process came into the container's namespaces from outside", kindText, NeedContainers | NeedGuests, func(v *View, p *inspect.Process) cellValue {
			if v.Guests[p.PID] {
				return textValue("guest")
			}
			return cellValue{}
		}},
		{"COMM", "name of the command, as the kernel cuts it", kindText, NeedDetail, processValue(func(_ *View, d inspect.Detail) cellValue { return textValue(d.Comm) })},
		{"COMMAND", "command line, or the name of the command in brackets", kindText, NeedDetail | NeedArgs, processValue(func(_ *View, d inspect.Detail) cellValue { return textValue(d.Command()) })},
	}
}

// processContainer returns a column about the container of a process.
//
//go:noinline
func processContainer(name string, f containerField) Column[*inspect.Process] {
	return Column[*inspect.Process]{name, f.help, kindText, NeedContainers, func(v *View, p *inspect.Process) cellValue {
		if v.Containers == nil {
			return cellValue{}
		}
		return f.value(v.Containers.Of(p).Container)
	}}
}

//go:noinline
func processValue(f func(*View, inspect.Detail) cellValue) func(*View, *inspect.Process) cellValue {
	return func(v *View, p *inspect.Process) cellValue {
		return detailValue(v, p.PID, f)
	}
}

// ProcessList is the list of member processes of namespaces.
func ProcessList() ListOf[*inspect.Process] {
	return ListOf[*inspect.Process]{
		Schema: schema, Key: "processes", Columns: processColumns(),
		Default: []string{"PID", "PPID", "USER", "CONTAINER?", "GUEST?", "COMMAND"},
		Subjects: func(_ *View, p *inspect.Process) ([]*inspect.Process, []*inspect.Namespace) {
			return []*inspect.Process{p}, nil
		},
	}
}
