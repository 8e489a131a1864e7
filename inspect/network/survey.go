package network

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"os"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// patience is the longest time that a survey waits for its next answer. The kernel's lock for
// interfaces may be held for long.
const patience = 5 * time.Second

// survey calls read for each of the namespaces, with a Conn to it, and then the functions that
// read returned, one at a time and in no order. A namespace that cannot be read, or does not
// answer, is a gap. read also returns a function if it read something before an error.
func survey(ctx context.Context, snap *inspect.Snapshot, what string, spaces []*inspect.Namespace, read func(*Conn, *inspect.Namespace) (keep func(), err error)) (gaps []inspect.Gap) {
	type reply struct {
		i    int
		keep func() // nil if nothing was read
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // goroutines that are left behind start nothing more
	files := open(ctx, snap, spaces)
	replies := make(chan reply, len(spaces)) // room for late answers
	work := func() error {
		for f := range files {
			r := reply{i: f.i, err: f.err}
			if f.err == nil {
				r.keep, r.err = readOne(f.file, spaces[f.i], read)
			}
			replies <- r
		}
		return nil
	}
	for range min(max(runtime.GOMAXPROCS(0), 2), len(spaces)) {
		go sys.OnThread(work) //nolint:errcheck // work returns no error
	}
	answered := make([]bool, len(spaces))
	miss := func(i int, err error) {
		gaps = append(gaps, inspect.Gap{What: what + " of " + spaces[i].String(), Err: err})
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for n := 0; n < len(spaces); n++ {
		var err error
		select {
		case r := <-replies:
			answered[r.i] = true
			if r.err != nil {
				miss(r.i, r.err)
			}
			if r.keep != nil {
				r.keep()
			}
			timer.Reset(patience)
			continue
		case <-timer.C:
			err = inspect.ErrSlow
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		for i, ok := range answered {
			if !ok {
				miss(i, err)
			}
		}
		break
	}
	sort.Slice(gaps, func(i, j int) bool { return gaps[i].What < gaps[j].What })
	return gaps
}

// An opened is an open namespace, or the error.
type opened struct {
	i    int
	file *os.File
	err  error
}

// open opens namespaces, a few in advance, until ctx is done.
func open(ctx context.Context, snap *inspect.Snapshot, spaces []*inspect.Namespace) <-chan opened {
	files := make(chan opened, 8)
	go func() {
		defer close(files)
		for i, ns := range spaces {
			o := opened{i: i}
			if o.file, o.err = snap.Open(ctx, ns); o.err != nil {
				// The gap has the namespace and the purpose.
				o.err = cmp.Or(errors.Unwrap(o.err), o.err)
				if sys.Gone(o.err) && len(ns.Members) > 0 {
					o.err = inspect.ErrGone // with its holder
				}
			}
			if ctx.Err() != nil {
				o.file.Close() // which may be nil
				return
			}
			select {
			case files <- o:
			case <-ctx.Done():
				o.file.Close()
				return
			}
		}
	}()
	return files
}

// readOne has the calling thread join a namespace and read it. It returns nil if it cannot.
func readOne(file *os.File, ns *inspect.Namespace, read func(*Conn, *inspect.Namespace) (func(), error)) (func(), error) {
	defer file.Close()
	c := &Conn{ns: file}
	defer c.Close()
	if err := c.join(); err != nil {
		return nil, err
	}
	return read(c, ns)
}

// A Listener is a socket of a snapshot.
type Listener struct {
	Socket
	NS       *inspect.Namespace
	LinkName string // the name of the interface that it is bound to, or ""
	// Holders are the descriptors of the socket, by PID. There are none if those of its
	// process could not be read, and for a socket of the kernel, or in flight between
	// processes.
	Holders []inspect.Holder
}

// Named reports whether name is the name of i, or an alternative name.
func (i *Interface) Named(name string) bool {
	return i.Link.Name == name || slices.Contains(i.AltNames, name)
}

// Sockets returns the sockets that wait for others in network namespaces of a snapshot. Their
// holders are known after a scan [inspect.WithSockets]. They are in the order of the
// namespaces, then by protocol and address.
//
// A namespace that cannot be read is a gap.
func Sockets(ctx context.Context, snap *inspect.Snapshot, spaces []*inspect.Namespace, which Which) ([]*Listener, []inspect.Gap) {
	type found struct {
		sockets []Socket
		names   map[int]string
	}
	lister := newLister(which)
	of := make(map[*inspect.Namespace]found)
	gaps := survey(ctx, snap, "sockets", spaces,
		func(c *Conn, ns *inspect.Namespace) (_ func(), err error) {
			var f found
			if f.sockets, err = lister.Sockets(c); err == nil {
				f.names, err = c.names(f.sockets)
			}
			return func() { of[ns] = f }, err
		})
	var all []*Listener
	for _, ns := range spaces {
		f := of[ns]
		sort.SliceStable(f.sockets, func(i, j int) bool { return compareSockets(f.sockets[i], f.sockets[j]) < 0 })
		for _, s := range f.sockets {
			l := &Listener{Socket: s, NS: ns, LinkName: f.names[s.Link]}
			if s.Inode != 0 {
				l.Holders = slices.Collect(snap.Sockets(s.Inode))
			}
			all = append(all, l)
		}
	}
	return all, gaps
}

// order is the order of protocols in lists.
var order = []Protocol{TCP, MPTCP, SCTP, UDP, UDPLite, Raw, Packet, UnixStream, UnixSeqpacket, UnixDatagram}

func compareSockets(a, b Socket) int {
	return cmp.Or(cmp.Compare(slices.Index(order, a.Protocol), slices.Index(order, b.Protocol)),
		cmp.Compare(a.Local.Port(), b.Local.Port()), a.Local.Addr().Compare(b.Local.Addr()),
		cmp.Compare(a.Link, b.Link), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Inode, b.Inode))
}

// names returns the names of the interfaces that sockets are bound to.
func (c *Conn) names(sockets []Socket) (map[int]string, error) {
	var names map[int]string
	for _, s := range sockets {
		if s.Link == 0 || names[s.Link] != "" {
			continue
		}
		if names == nil {
			names = make(map[int]string)
		}
		l, err := c.link(s.Link)
		if err != nil && !errors.Is(err, syscall.ENODEV) { // the interface was removed
			return names, err
		}
		names[s.Link] = l.Name
	}
	return names, nil
}

// An Interface is a network interface of a snapshot.
type Interface struct {
	Link
	NS     *inspect.Namespace
	Master *Interface // what it is a port of, or nil
	// Far is the other end of a pair, or the interface that this one is on top of. It is nil if
	// there is none.
	Far *End
	// Uppers are the interfaces on top of this one, in any namespace, and the ports of a bridge
	// or bond.
	Uppers []*Interface
}

// An End is the other end of an interface.
type End struct {
	// NS is its namespace, or nil if not known.
	NS *inspect.Namespace
	// Interface is the interface, or nil. Name may be known even if NS is not.
	Interface *Interface
	Name      string
}

// Interfaces returns the interfaces of network namespaces of a snapshot, and which of them
// belong together. They are in the order of the namespaces, and by index.
//
// The kernel gives the namespace of the other end as a number that is valid in the namespace of
// the interface alone. The numbers of all namespaces in the caller's, and of the caller's in
// all others, are read; other numbers are compared with those of namespaces that have a fitting
// interface. Only what the kernel confirms is returned.
//
// A namespace that cannot be read is a gap.
func Interfaces(ctx context.Context, snap *inspect.Snapshot, spaces []*inspect.Namespace) ([]*Interface, []inspect.Gap) {
	s := &surveyor{
		ctx: ctx, snap: snap, of: make(map[*inspect.Namespace]*space),
	}
	gaps := s.read(spaces)
	var all []*Interface
	for _, ns := range spaces {
		if f := s.of[ns]; f != nil {
			all = append(all, f.links...)
		}
	}
	s.connect(all)
	return all, gaps
}

// Near is [Interfaces] for one network namespace: it reads only those in which the other ends
// are. It returns false if it could not find all of these. It does not find interfaces in other
// namespaces on top of these.
//
// If the namespace cannot be read it is a gap; if another one cannot, only a name is missing.
func Near(ctx context.Context, snap *inspect.Snapshot, ns *inspect.Namespace) (list []*Interface, gaps []inspect.Gap, ok bool) {
	s := &surveyor{ctx: ctx, snap: snap, of: make(map[*inspect.Namespace]*space)}
	gaps = s.read([]*inspect.Namespace{ns})
	sp := s.of[ns]
	if sp == nil {
		return nil, gaps, true
	}
	var others []*inspect.Namespace
	for _, l := range sp.links {
		if l.NetNSID == SameNamespace {
			continue
		}
		there := sp.numbers[l.NetNSID]
		if there == nil {
			return nil, nil, false
		}
		if !slices.Contains(others, there) {
			others = append(others, there)
		}
	}
	_ = s.read(others)
	s.connect(sp.links)
	return sp.links, gaps, true
}

// A surveyor finds connected interfaces.
type surveyor struct {
	ctx  context.Context
	snap *inspect.Snapshot
	of   map[*inspect.Namespace]*space

	questions atomic.Int64 // that may still be asked
}

// A space is a network namespace with what was read of it.
type space struct {
	ns      *inspect.Namespace
	links   []*Interface
	byIndex map[int]*Interface
	numbers map[int]*inspect.Namespace // its numbers of others
	names   map[remote]string          // of interfaces in namespaces that are not known
}

// A remote is an interface by the number of its namespace.
type remote struct{ nsid, index int }

// read reads the interfaces of the namespaces.
func (s *surveyor) read(spaces []*inspect.Namespace) []inspect.Gap {
	own, numbers := s.dialOwn()
	if own != nil {
		defer own.close()
	}
	var mu sync.Mutex
	gaps := survey(s.ctx, s.snap, "interfaces", spaces,
		func(c *Conn, ns *inspect.Namespace) (func(), error) {
			links, err := c.Links()
			sp := &space{ns: ns, byIndex: make(map[int]*Interface, len(links)), numbers: make(map[int]*inspect.Namespace)}
			for _, l := range links {
				i := &Interface{Link: l, NS: ns}
				sp.links = append(sp.links, i)
				sp.byIndex[l.Index] = i
			}
			number := NoNumber // that the caller's own namespace has for it
			if err == nil && own != nil {
				if n, e := c.ID(own.file); e == nil && n != NoNumber {
					sp.numbers[n] = own.ns
				}
				mu.Lock()
				defer mu.Unlock()
				if n, e := own.ID(c.ns); e == nil {
					number = n
				}
			}
			return func() {
				if number != NoNumber {
					numbers[number] = ns
				}
				s.of[ns] = sp
			}, err
		})
	if own != nil && s.of[own.ns] != nil {
		s.of[own.ns].numbers = numbers
	}
	return gaps
}

// An ownConn is a Conn to the caller's own network namespace.
type ownConn struct {
	*Conn
	ns   *inspect.Namespace
	file *os.File
}

func (o *ownConn) close() {
	o.Conn.Close()
	o.file.Close()
}

// dialOwn returns a Conn to the caller's own namespace, or nil, and has it give numbers to the
// namespaces of the other ends.
func (s *surveyor) dialOwn() (*ownConn, map[int]*inspect.Namespace) {
	numbers := make(map[int]*inspect.Namespace)
	file, err := sys.OwnNetns()
	if err != nil {
		return nil, numbers
	}
	id, err := sys.Fstat(int(file.Fd()))
	if err != nil {
		file.Close()
		return nil, numbers
	}
	ns, ok := s.snap.Namespace(inspect.ID(id))
	c, err := Dial(nil)
	if err != nil || !ok {
		file.Close()
		return nil, numbers
	}
	_, _ = c.Links() // an error comes again when it is read with the others
	return &ownConn{c, ns, file}, numbers
}

// connect finds masters and other ends of interfaces.
func (s *surveyor) connect(all []*Interface) {
	for _, i := range all {
		if i.Link.Master != 0 {
			i.Master = s.of[i.NS].byIndex[i.Link.Master]
		}
	}
	s.askRest(all)
	for _, i := range all {
		i.Far = s.far(i)
	}
	// Both ends of a pair name each other, so one may show what the other does not.
	other := make(map[*Interface]*Interface)
	for _, i := range all {
		if i.Paired() && i.Far != nil && i.Far.Interface != nil {
			other[i.Far.Interface] = i
		}
	}
	for _, i := range all {
		if i.Paired() && i.Far != nil && i.Far.NS == nil {
			if o := other[i]; o != nil && o.Index == i.Lower && o.Lower == i.Index && o.Kind == i.Kind {
				i.Far = &End{NS: o.NS, Interface: o, Name: o.Name}
			}
		}
	}
	for _, i := range all {
		if i.Master != nil {
			i.Master.Uppers = append(i.Master.Uppers, i)
		}
		if !i.Paired() && i.Far != nil && i.Far.Interface != nil {
			i.Far.Interface.Uppers = append(i.Far.Interface.Uppers, i)
		}
	}
}

// far returns the other end of an interface.
func (s *surveyor) far(i *Interface) *End {
	sp := s.of[i.NS]
	switch {
	case i.NetNSID == SameNamespace && i.Lower == 0, i.NetNSID == SameNamespace && i.Lower == i.Index:
		return nil
	case i.NetNSID == SameNamespace:
		if o := sp.byIndex[i.Lower]; o != nil {
			return &End{NS: i.NS, Interface: o, Name: o.Name}
		}
		return &End{}
	case i.NetNSID == NoNumber:
		return &End{}
	}
	ns := sp.numbers[i.NetNSID]
	if ns == nil {
		return &End{Name: sp.names[remote{i.NetNSID, i.Lower}]}
	}
	end := &End{NS: ns}
	if there := s.of[ns]; there != nil && i.Lower != 0 {
		if o := there.byIndex[i.Lower]; o != nil {
			end.Interface, end.Name = o, o.Name
		}
	}
	return end
}

// askRest asks namespaces for the numbers that are not known yet.
func (s *surveyor) askRest(all []*Interface) {
	var spaces []*inspect.Namespace
	unknown := make(map[*inspect.Namespace][]*Interface)
	for _, i := range all {
		if i.NetNSID < 0 || s.of[i.NS].numbers[i.NetNSID] != nil {
			continue
		}
		if unknown[i.NS] == nil {
			spaces = append(spaces, i.NS)
		}
		unknown[i.NS] = append(unknown[i.NS], i)
	}
	if len(spaces) == 0 {
		return
	}
	s.questions.Store(int64(leastQuestions + maxQuestions*len(all)))
	fits := make(map[fit][]*Interface)
	for _, i := range all {
		for _, f := range fitsOf(i) {
			fits[f] = append(fits[f], i)
		}
	}
	survey(s.ctx, s.snap, "numbers", spaces,
		func(c *Conn, ns *inspect.Namespace) (func(), error) {
			numbers, names := make(map[int]*inspect.Namespace), make(map[remote]string)
			tried := make(map[question]bool)
			for _, i := range unknown[ns] {
				if numbers[i.NetNSID] != nil {
					continue
				}
				var far Link
				err := error(nil)
				if i.Lower != 0 {
					far, err = c.remote(i.NetNSID, i.Lower)
				}
				if err == nil {
					names[remote{i.NetNSID, i.Lower}] = far.Name
				}
				if there := s.confirm(c, i, s.candidates(fits, i, far, err == nil), tried); there != nil {
					numbers[i.NetNSID] = there
				}
			}
			return func() {
				sp := s.of[ns]
				maps.Copy(sp.numbers, numbers)
				sp.names = names
			}, nil
		})
}

// A fit is what is known of the other end, or of an interface itself. Two with the same fit may
// belong together.
type fit struct {
	index, lower int
	kind         string // of a pair
	name, mac    string // of of an answer about another namespace
}

// fitsOf returns the fits by which an interface can be found.
func fitsOf(i *Interface) []fit {
	fits := []fit{{index: i.Index, name: i.Name, mac: string(i.Hardware)}}
	if i.Paired() {
		fits = append(fits, fit{index: i.Index, lower: i.Lower, kind: i.Kind})
	}
	return fits
}

// candidates yields the namespaces that the other end of i may be in. Of a tunnel only that its
// packets leave through another namespace is known.
func (s *surveyor) candidates(fits map[fit][]*Interface, i *Interface, far Link, asked bool) iter.Seq[*inspect.Namespace] {
	var found []*Interface
	switch {
	case i.Lower == 0:
		return s.snap.Namespaces(inspect.Net)
	case asked:
		found = fits[fit{index: far.Index, name: far.Name, mac: string(far.Hardware)}]
	case i.Paired():
		found = fits[fit{index: i.Lower, lower: i.Index, kind: i.Kind}]
	}
	return func(yield func(*inspect.Namespace) bool) {
		for _, o := range found {
			if !yield(o.NS) {
				return
			}
		}
	}
}

// maxQuestions is the most questions for each interface, on average, and leastQuestions the
// most in total for few interfaces. There are more than one or two candidates only if
// interfaces were made alike.
const (
	maxQuestions   = 8
	leastQuestions = 1000
)

// A question asks whether a number is that of a namespace.
type question struct {
	number int
	ns     *inspect.Namespace
}

// confirm returns the candidate whose number in c is that of the other end of i.
func (s *surveyor) confirm(c *Conn, i *Interface, candidates iter.Seq[*inspect.Namespace], tried map[question]bool) *inspect.Namespace {
	for ns := range candidates {
		q := question{i.NetNSID, ns}
		if ns == i.NS || tried[q] {
			continue
		}
		if s.questions.Add(-1) < 0 {
			return nil
		}
		tried[q] = true
		file, err := s.snap.Open(s.ctx, ns)
		if err != nil {
			continue
		}
		n, err := c.ID(file)
		file.Close()
		if err == nil && n == i.NetNSID {
			return ns
		}
	}
	return nil
}
