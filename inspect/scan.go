package inspect

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// An Option narrows a [Scan], or selects another proc file system.
type Option func(*options)

type options struct {
	proc   string
	types  Types
	tasks  bool
	fds    bool
	mounts bool
	list   bool   // read the list of the kernel
	holds  bool   // keep the descriptors of sockets
	kernel kernel // nil for the real one

	bpfFrom int // the number of threads from which on iterators are used
}

// WithProc reads the proc file system mounted at dir instead of /proc. It may be that of another
// PID namespace, and then has the numbers of that one. For tests it may be any directory that
// looks like one; then the kernel is not asked. Both are reported by a [Gap].
func WithProc(dir string) Option { return func(o *options) { o.proc = dir } }

// WithTypes looks for namespaces of the given types only. Their owners and parents are found too.
func WithTypes(types Types) Option { return func(o *options) { o.types = types } }

// WithoutTasks leaves out all threads but the first of each process.
func WithoutTasks() Option { return func(o *options) { o.tasks = false } }

// WithoutFDs leaves out open descriptors, with sockets.
func WithoutFDs() Option { return func(o *options) { o.fds = false } }

// WithoutMounts leaves out bind mounts.
func WithoutMounts() Option { return func(o *options) { o.mounts = false } }

// WithoutBPF loads no BPF program: everything is read from /proc. The default, with many
// threads and the privileges of bpf(2), loads programs for the time of the scan. The result is
// the same. Use this where loading a program is an alarm.
func WithoutBPF() Option { return func(o *options) { o.bpfFrom = math.MaxInt } }

// WithSockets keeps the descriptors of sockets, for [Snapshot.Sockets].
func WithSockets() Option { return func(o *options) { o.holds = true } }

// Scan looks for namespaces everywhere that the kernel shows them, see [Snapshot.Holders]. It
// needs no privileges, and sees more with CAP_SYS_PTRACE (processes of others), CAP_SYS_ADMIN
// (mount namespaces without a process) and CAP_NET_ADMIN (sockets).
//
// It returns an error only if nothing could be scanned, or if ctx is done.
func Scan(ctx context.Context, opts ...Option) (*Snapshot, error) {
	o := options{proc: "/proc", types: AllTypes, tasks: true, fds: true, mounts: true, list: true, bpfFrom: bpfFrom}
	for _, opt := range opts {
		opt(&o)
	}
	// The Go runtime opens two descriptors for the first timer, and ends the program if it cannot.
	// So start one before the scan may use up the descriptors.
	time.AfterFunc(time.Hour, func() {}).Stop()
	proc, err := openProc(o.proc)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	wanted := o.types
	if o.mounts {
		wanted = wanted.With(Mnt) // to read the mounts of each once, and to find those without a process
	}
	s := &scanner{options: o, wanted: wanted, proc: proc, known: make(map[uint64]*record)}
	if s.kernel == nil {
		s.kernel = proc.kernel()
	}
	defer s.close()
	s.gap(proc.gaps...)
	s.gap(proc.blind...)

	if proc.ours {
		s.stuck.Limit = s.timeLimit()
	}
	pids, err := proc.pids()
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	for _, stage := range []func(context.Context, []int){
		s.readList,      // the kernel's list
		s.readProcesses, // processes, their threads and descriptors
		s.askSockets,    // the namespaces of sockets
		s.askOdd,        // of other descriptors without a clear link
		s.compareList,   // what else is on the list
		s.readMounts,    // pins, in every mount namespace
		s.askPaths,      // descriptors of bind mounts
		s.relate,        // owners, parents, identifiers
	} {
		stage(ctx, pids)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
	}
	return s.snapshot(), nil
}

// A scanner is a running scan. Its stages run one after the other. A stage may use several
// goroutines, each with its own part, and merges the parts at its end.
type scanner struct {
	options
	wanted Types // types, and those needed to find them
	proc   *procFS

	mu        sync.Mutex
	processes []Process
	known     map[uint64]*record // by inode number
	sockets   []socketRef        // whose namespaces are to be asked for
	held      []socketRef        // others, for WithSockets
	odd       []oddRef           // descriptors that may hold a namespace
	names     []nameRef          // descriptors with a path
	gaps      []Gap
	bpfTasks  []sys.Task // the processes of the iterators, by PID, or nil
	bpfErr    error      // why the iterators were not used
	// pinned are the mount namespaces with a bind mount of a namespace, if the iterators report
	// them; else nil.
	pinned map[uint64]bool
	all    list
	owners map[uint64]ID // by the identifier of the owned one, from the list
	stuck  wait.Stuck
}

// timeLimit returns how long to wait for an answer. On a slow or busy machine that is longer, by
// the time of reading the caller's own links, which nothing can block.
func (s *scanner) timeLimit() time.Duration {
	const longest, reads = time.Second, 200
	took := longest
	for range 2 { // the first time may be slower
		start := time.Now()
		if _, err := s.ownLinks(); err != nil {
			return wait.Short
		}
		took = min(took, time.Since(start))
	}
	return min(reads*took, longest)
}

// close closes the files of the scan, and /proc when no goroutine reads there any more.
func (s *scanner) close() {
	s.kernel.close()
	s.stuck.Close(func() { s.proc.dir.Close() })
}

// A record is a namespace that the scan found.
type record struct {
	ns     *Namespace
	opener opener // the first way to open it

	listed bool // found in the list alone
}

func (s *scanner) gap(gaps ...Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = append(s.gaps, gaps...)
}

// find returns the record of a namespace, and makes one if it is new. No other goroutine may run.
func (s *scanner) find(t Type, ino uint64) *record {
	f := s.known[ino]
	if f == nil {
		f = &record{ns: &Namespace{
			ID: ID{Dev: s.proc.nsDev, Ino: ino}, Type: t, Creator: -1, NetNSID: -1,
			Owner: Relation{Err: ErrNotAsked}, Parent: Relation{Err: ErrNotAsked},
		}}
		s.known[ino] = f
	}
	return f
}

// hold adds the holder h to a namespace, and w as its opener if it has none.
func (s *scanner) hold(t Type, ino uint64, h Holder, w opener) {
	f := s.find(t, ino)
	f.ns.holders = append(f.ns.holders, h)
	if f.opener.kind == noOpener {
		f.opener = w
	}
}

// snapshot makes the Snapshot.
func (s *scanner) snapshot() *Snapshot {
	snap := &Snapshot{
		proc: *s.proc, processes: s.processes, gaps: s.gaps, unseen: s.findUnseen(), mounts: s.mounts, bpfErr: s.bpfErr, listed: s.all.whole,
		namespaces: make([]*Namespace, 0, len(s.known)),
		byID:       make(map[ID]*Namespace, len(s.known)),
		nested:     make(map[ID][]*Namespace),
	}
	if s.holds {
		snap.sockets = append(s.held, s.sockets...)
		sort.Slice(snap.sockets, func(i, j int) bool { return compareSockets(snap.sockets[i], snap.sockets[j]) < 0 })
	}
	for _, f := range s.known {
		holders := f.ns.holders
		sort.Slice(holders, func(i, j int) bool { return compareHolders(holders[i], holders[j]) < 0 })
		f.ns.holders = slices.CompactFunc(holders, func(a, b Holder) bool { return compareHolders(a, b) == 0 })
		snap.namespaces = append(snap.namespaces, f.ns)
		snap.byID[f.ns.ID] = f.ns
	}
	slices.SortFunc(snap.namespaces, func(a, b *Namespace) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID.Ino, b.ID.Ino))
	})
	for _, ns := range snap.namespaces {
		if ns.Owner.Known() {
			snap.nested[ns.Owner.ID] = append(snap.nested[ns.Owner.ID], ns)
		}
		if ns.Parent.Known() && ns.Parent.ID != ns.Owner.ID {
			snap.nested[ns.Parent.ID] = append(snap.nested[ns.Parent.ID], ns)
		}
	}
	for _, f := range s.known {
		if f.listed && len(f.ns.Members)+len(f.ns.holders)+len(snap.nested[f.ns.ID]) == 0 {
			f.ns.holders = []Holder{{Kind: ByKernel}}
		}
	}
	sort.SliceStable(snap.gaps, func(i, j int) bool {
		a, b := &snap.gaps[i], &snap.gaps[j]
		return a.PID < b.PID || a.PID == b.PID && a.What < b.What
	})
	return snap
}
