package inside

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// IPC is what is inside an IPC namespace: see ipc_namespaces(7), sysvipc(7) and
// mq_overview(7).
type IPC struct {
	Queues     []Queue
	Semaphores []Semaphores
	Segments   []Segment
	// Posix are the POSIX message queues. PosixErr is why they could not be read.
	Posix    []PosixQueue
	PosixErr error
}

// An Object has the fields of all System V IPC objects. UID is the owner, in the caller's
// numbers.
type Object struct {
	Key   int32
	ID    int
	Perms uint32
	UID   uint32
}

// A Queue is a System V message queue.
type Queue struct {
	Object
	Bytes, Messages uint64
}

// Semaphores is a set of System V semaphores.
type Semaphores struct {
	Object
	Count uint64
}

// A Segment is a segment of System V shared memory.
type Segment struct {
	Object
	Bytes    uint64
	Attached uint64
	Creator  int // PID in the caller's PID namespace, or 0
}

// A PosixQueue is a POSIX message queue.
type PosixQueue struct {
	Name  string // with a slash at its start
	Bytes uint64 // of the messages in it
	UID   uint32
}

func (r *reader) ipc() *IPC {
	texts, err := r.joined("sysvipc/msg", "sysvipc/sem", "sysvipc/shm")
	if err != nil {
		r.gap("queues", err)
		return nil
	}
	in := &IPC{}
	for i, parse := range []func(row) error{
		func(f row) error {
			q := Queue{Bytes: f.number("cbytes"), Messages: f.number("qnum")}
			q.Object = f.object("msqid")
			in.Queues = append(in.Queues, q)
			return f.err()
		},
		func(f row) error {
			s := Semaphores{Count: f.number("nsems")}
			s.Object = f.object("semid")
			in.Semaphores = append(in.Semaphores, s)
			return f.err()
		},
		func(f row) error {
			s := Segment{Bytes: f.number("size"), Attached: f.number("nattch"), Creator: int(f.number("cpid"))}
			s.Object = f.object("shmid")
			in.Segments = append(in.Segments, s)
			return f.err()
		},
	} {
		r.gap([]string{"queues", "semaphores", "segments"}[i], parseTable(string(texts[i]), parse))
	}
	in.Posix, in.PosixErr = r.posix()
	if !errors.Is(in.PosixErr, errors.ErrUnsupported) { // a kernel without message queues
		r.gap("POSIX queues", in.PosixErr)
	}
	return in
}

// A row is a line of a table with a header.
type row struct {
	fields map[string]string
	bad    *error
}

// parseTable calls f for each line of a file of /proc/sysvipc after the first, which has the
// names of the fields.
func parseTable(text string, f func(row) error) error {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if names == nil {
			names = fields
			continue
		}
		if len(fields) < len(names) {
			return fmt.Errorf("a line of %d fields was expected, not %q", len(names), line)
		}
		var bad error
		r := row{make(map[string]string, len(names)), &bad}
		for i, name := range names {
			r.fields[name] = fields[i]
		}
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func (r row) err() error { return *r.bad }

func (r row) parse(name string, base int) uint64 {
	n, err := strconv.ParseUint(r.fields[name], base, 64)
	if err != nil && *r.bad == nil {
		*r.bad = fmt.Errorf("%s: %w", name, err)
	}
	return n
}

func (r row) number(name string) uint64 { return r.parse(name, 10) }

func (r row) object(id string) Object {
	key, err := strconv.ParseInt(r.fields["key"], 10, 64)
	if err != nil && *r.bad == nil {
		*r.bad = fmt.Errorf("key: %w", err)
	}
	return Object{Key: int32(key), ID: int(r.number(id)), Perms: uint32(r.parse("perms", 8)), UID: uint32(r.number("uid"))}
}

// posix reads the POSIX message queues.
func (r *reader) posix() ([]PosixQueue, error) {
	file, err := r.snap.Open(r.ctx, r.ns)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var queues []PosixQueue
	err = sys.InNamespace(int(file.Fd()), inspect.IPC.Flag(), func() error {
		dir, err := sys.OpenMessageQueues()
		if err != nil {
			return err
		}
		defer sys.CloseFD(dir)
		names, err := sys.ReadNames(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			st, err := sys.StatAt(dir, name)
			if err != nil {
				continue // the queue was removed
			}
			q := PosixQueue{Name: "/" + name, UID: st.UID}
			if text, err := sys.ReadAt(dir, name, 256); err == nil {
				q.Bytes = queueSize(string(text))
			}
			queues = append(queues, q)
		}
		return nil
	})
	sort.Slice(queues, func(i, j int) bool { return queues[i].Name < queues[j].Name })
	return queues, err
}

// queueSize parses the file of a message queue: "QSIZE:129 NOTIFY:...".
func queueSize(text string) uint64 {
	for field := range strings.FieldsSeq(text) {
		if value, ok := strings.CutPrefix(field, "QSIZE:"); ok {
			n, _ := strconv.ParseUint(value, 10, 64)
			return n
		}
	}
	return 0
}
