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

// An Option narrows a [Scan], or turns it to another proc file system.
type Option func(*options)

type options struct {
	proc   string
	types  Types
	tasks  bool
	fds    bool
	mounts bool
	list   bool   // ask the kernel what there is
	holds  bool   // which descriptors are which sockets is kept
	kernel kernel // what is asked about namespaces; nil for the real one

	bpfFrom int // the number of processes from which on iterators are used
}

// WithProc reads the proc file system mounted at dir instead of /proc. It may
// be that of another PID namespace, whose numbers for processes are then used;
// and it may be any directory that looks like one, for tests, about which the
// kernel is not asked. Both are told by a [Gap].
func WithProc(dir string) Option { return func(o *options) { o.proc = dir } }

// WithTypes looks for namespaces of the given types only. Owners and parents
// are found all the same.
func WithTypes(types Types) Option { return func(o *options) { o.types = types } }

// WithoutTasks looks at no threads but those that processes are named for.
func WithoutTasks() Option { return func(o *options) { o.tasks = false } }

// WithoutFDs looks at no open descriptors, sockets included.
func WithoutFDs() Option { return func(o *options) { o.fds = false } }

// WithoutMounts looks for no bind mounts.
func WithoutMounts() Option { return func(o *options) { o.mounts = false } }

// WithoutBPF loads no BPF program: everything is read from /proc. Without it, a
// scan of very many processes by a caller with the privileges of bpf(2) has the
// kernel go through them, in programs that are gone when it ends. The result is
// the same. Where loading any is an alarm, this is for silence.
func WithoutBPF() Option { return func(o *options) { o.bpfFrom = math.MaxInt } }

// WithSockets keeps which descriptors are which sockets, for [Snapshot.Sockets].
func WithSockets() Option { return func(o *options) { o.holds = true } }

// Scan looks for namespaces everywhere that the kernel shows them; see
// [Snapshot.Holders] for where that is. It needs no privileges, and sees more
// with CAP_SYS_PTRACE (processes of others), CAP_SYS_ADMIN (mount namespaces
// without a process) and CAP_NET_ADMIN (sockets).
//
// It returns an error only if nothing could be scanned, or if ctx is done.
func Scan(ctx context.Context, opts ...Option) (*Snapshot, error) {
	o := options{proc: "/proc", types: AllTypes, tasks: true, fds: true, mounts: true, list: true, bpfFrom: bpfFrom}
	for _, opt := range opts {
		opt(&o)
	}
	// The run time opens two descriptors when the first timer is set, and ends
	// the program if it cannot: that is done before the scan may use up what
	// there are.
	time.AfterFunc(time.Hour, func() {}).Stop()
	proc, err := openProc(o.proc)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	wanted := o.types
	if o.mounts {
		wanted = wanted.With(Mnt) // to read the mounts of each once, and to come to those without a process
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
		s.readList,      // what the kernel says there is
		s.readProcesses, // processes, their threads and descriptors
		s.askSockets,    // the namespaces of sockets that were seen
		s.askOdd,        // and of other descriptors whose links do not say it
		s.compareList,   // what is held by nothing of that
		s.readMounts,    // pins, in every mount namespace
		s.askPaths,      // descriptors that were opened by the names of those
		s.relate,        // owners, parents, identifiers
	} {
		stage(ctx, pids)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
	}
	return s.snapshot(), nil
}

// A scanner is a scan under way. What is found goes into known; the stages run
// one after the other, and each may use several goroutines, which have parts of
// their own that are joined when all are done.
type scanner struct {
	options
	wanted Types // types, and those that are needed to find them
	proc   *procFS

	mu        sync.Mutex
	processes []Process
	known     map[uint64]*record // by inode number
	sockets   []socketRef        // of which the namespace is to be asked
	held      []socketRef        // others, for WithSockets
	odd       []oddRef           // descriptors that may hold a namespace
	names     []nameRef          // those that lead to a path
	gaps      []Gap
	bpfTasks  []sys.Task // what iterators told of the processes, by PID, or nil
	bpfErr    error      // why they did not tell of any
	// pinned has the mount namespaces in which there is a bind mount of a
	// namespace, if iterators told that; else nil.
	pinned map[uint64]bool
	all    list
	owners map[uint64]ID // by the identifier of what is owned, as far as the kernel listed it
	stuck  wait.Stuck
}

// timeLimit returns how long to wait for an answer: longer on a slow or busy machine, by the
// time that reading the caller's own links takes, which nothing can block.
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

// close lets go of what the scan has open, of /proc when nobody reads there.
func (s *scanner) close() {
	s.kernel.close()
	s.stuck.Close(func() { s.proc.dir.Close() })
}

// A record is a namespace that the scan has come upon, and the ways that lead
// to it.
type record struct {
	ns     *Namespace
	opener opener // the first way to open it

	listed bool // the kernel listed it, and /proc did not show it
}

func (s *scanner) gap(gaps ...Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = append(s.gaps, gaps...)
}

// find returns the namespace with the given type and inode number, and makes it
// known if it is new. No other goroutine is at work.
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

// hold notes that h holds the namespace, and that w leads to it.
func (s *scanner) hold(t Type, ino uint64, h Holder, w opener) *record {
	f := s.find(t, ino)
	f.ns.holders = append(f.ns.holders, h)
	if f.opener.kind == noOpener {
		f.opener = w
	}
	return f
}

// snapshot makes a Snapshot of what was found.
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
