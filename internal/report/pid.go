package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/output"
)

// PidSchema is the form of the JSON of nstool-pid(1).
const PidSchema = "nstool/pid/2"

// A TaskReport is the number of a task in each PID namespace, or why it is not known.
type TaskReport struct {
	Asked  string // the user's word for it
	Task   *task.Task
	Levels []Level // the outermost first
	Err    error
}

// PidSheets returns sheets with the numbers of tasks.
func PidSheets(v View, reports []TaskReport) []Sheet {
	var sheets []Sheet
	for _, r := range reports {
		if r.Err != nil {
			continue
		}
		t := r.Task
		s := Sheet{Title: fmt.Sprintf("%s (%d)", t.Comm, t.PID)}
		if t.TID != 0 && t.TID != t.PID {
			s.Title = fmt.Sprintf("thread %d of %s (%d)", t.TID, t.Comm, t.PID)
		}
		for _, l := range r.Levels {
			where := "?"
			if l.NS != nil {
				where = v.namespace(l.NS)
			}
			s.Add(strconv.Itoa(l.PID), where)
		}
		sheets = append(sheets, s)
	}
	return sheets
}

// PidNumbers writes one number for each task: the innermost, or the outermost.
func PidNumbers(w io.Writer, reports []TaskReport, innermost bool) error {
	out := bufio.NewWriter(w)
	for _, r := range reports {
		if r.Err != nil {
			continue
		}
		at := 0
		if innermost {
			at = len(r.Levels) - 1
		}
		_, _ = fmt.Fprintln(out, r.Levels[at].PID)
	}
	return out.Flush()
}

// PidJSON writes one object:
//
//	{"schema": "nstool/pid/2", "complete": true, "reasons": [], "tasks": [{"asked": "1", "pid": 3932, "tid": null, "comm": "nginx",
//	  "levels": [{"pid": 3932, "ns": 4026531836, "container": null}, ...], "error": null}], "gaps": []}
func PidJSON(w io.Writer, v View, reports []TaskReport, missed output.Missed) error {
	tasks := []output.Object{}
	for _, r := range reports {
		var pid, tid, comm, err any
		levels := []output.Object{}
		if r.Err != nil {
			err = r.Err.Error()
		} else {
			pid, comm = r.Task.PID, r.Task.Comm
			if r.Task.TID != 0 && r.Task.TID != r.Task.PID {
				tid = r.Task.TID
			}
		}
		for _, l := range r.Levels {
			ns, of := output.Unknown, output.Unknown
			if l.NS != nil {
				ns, of = l.NS.ID.Ino, textOr(v.Containers.With(l.NS).String())
			}
			levels = append(levels, output.Object{{"pid", l.PID}, {"ns", ns}, {"container", of}})
		}
		tasks = append(tasks, output.Object{{"asked", r.Asked}, {"pid", pid}, {"tid", tid}, {"comm", comm}, {"levels", levels}, {"error", err}})
	}
	return output.Objects(w, PidSchema, output.Object{{"tasks", tasks}}, missed)
}
