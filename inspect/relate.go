package inspect

import (
	"context"
	"errors"
	"io/fs"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// relate asks the kernel for owners and parents, and finds some that nothing else showed.
func (s *scanner) relate(ctx context.Context, _ []int) {
	all := make([]*record, 0, len(s.known))
	old := make(map[uint64]bool, len(s.known)) // known before
	for ino, f := range s.known {
		old[ino] = true
		if s.types.Has(f.ns.Type) && !s.relateKnown(f.ns) {
			all = append(all, f)
		}
	}
	silent := wait.Many(ctx, &s.stuck, len(all),
		func() func(int) related {
			more := make(map[uint64]bool) // found by this goroutine
			return func(i int) related {
				o := s.openAny(all[i])
				if o.err != nil {
					return related{err: o.err}
				}
				defer o.close()
				r := related{facts: *all[i].ns}
				a := asking{old: old, more: more, to: &r}
				a.ask(&r.facts, o.file)
				return r
			}
		},
		func(i int, r related) {
			ns := all[i].ns
			if r.err != nil {
				s.unrelated(ns, r.err)
				return
			}
			ns.Owner, ns.Parent, ns.Creator, ns.NSID, ns.NetNSID = r.facts.Owner, r.facts.Parent, r.facts.Creator, r.facts.NSID, r.facts.NetNSID
			s.gap(r.gaps...)
			for _, f := range r.more {
				if s.known[f.ns.ID.Ino] == nil {
					s.known[f.ns.ID.Ino] = f
				}
			}
		}, nil)
	for _, i := range silent {
		s.unrelated(all[i].ns, ErrSlow)
	}
}

// related is the answer for a namespace, with owners and parents that are new.
type related struct {
	facts Namespace
	more  []*record
	gaps  []Gap
	err   error
}

// unrelated notes that the kernel did not answer.
func (s *scanner) unrelated(ns *Namespace, err error) {
	if errors.Is(err, ErrGone) || sys.Gone(err) {
		err = ErrGone
	} else if !errors.Is(err, ErrNotAsked) {
		s.gap(Gap{What: ns.String(), Err: err})
	}
	ns.Owner.Err, ns.Parent.Err = err, err
}

// opened is an open namespace, or an error.
type opened struct {
	file nsFile
	err  error
}

func (o opened) close() {
	if o.err == nil {
		o.file.close()
	}
}

// openAny opens a namespace by the first opener that still leads there.
func (s *scanner) openAny(f *record) opened {
	file, err := s.kernel.open(f.opener, f.ns.ID.Ino)
	if err == nil || errors.Is(err, ErrNotAsked) {
		return opened{file, err}
	}
	for w := range f.ns.openers() {
		if file, e := s.kernel.open(w, f.ns.ID.Ino); e == nil {
			return opened{file, nil}
		}
	}
	return opened{nil, err}
}

// asking is one goroutine that asks the kernel. It may be left behind.
type asking struct {
	old  map[uint64]bool // known before
	more map[uint64]bool // found by this goroutine
	to   *related        // the result
}

// ask fills in the relations of ns. Owners and parents that are not known yet go to more, with
// their own relations.
func (a asking) ask(ns *Namespace, file nsFile) {
	if ns.NSID == 0 {
		id, err := file.nsid()
		if err == nil {
			ns.NSID = id
		}
		a.note(ns, err)
	}
	switch ns.Type {
	case Net:
		id, err := file.netnsid()
		if err == nil {
			ns.NetNSID = id
		}
		a.note(ns, err)
	case User:
		uid, err := file.creator()
		if err == nil {
			ns.Creator = int64(uid)
		} else if errors.Is(err, errors.ErrUnsupported) {
			err = ErrNotAsked // every supported kernel has it
		}
		a.note(ns, err)
	}
	ns.Owner = a.follow(ns, User, nsFile.owner, file)
	switch ns.Type {
	case User:
		ns.Parent = ns.Owner
	case PID:
		ns.Parent = a.follow(ns, PID, nsFile.parent, file)
	default:
		ns.Parent = Relation{}
	}
}

// note adds a gap for an error, unless the kernel cannot or will not answer.
func (a asking) note(ns *Namespace, err error) {
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
		a.to.gaps = append(a.to.gaps, Gap{What: ns.String(), Err: err})
	}
}

// follow asks for the owner or the parent of ns, which is of type t.
func (a asking) follow(ns *Namespace, t Type, relation func(nsFile) (nsFile, error), file nsFile) Relation {
	if ino, _ := t.InitialIno(); ns.Type == t && ns.ID.Ino == ino {
		return Relation{} // the root of the hierarchy: EPERM means that there is none
	}
	up, err := relation(file)
	if err != nil {
		a.note(ns, err)
		return Relation{Err: err}
	}
	defer up.close()
	id, err := up.id()
	if err != nil {
		a.note(ns, err)
		return Relation{Err: err}
	}
	id.Dev = ns.ID.Dev // there is one nsfs, whose device may not be known for a foreign /proc
	if !a.old[id.Ino] && !a.more[id.Ino] {
		a.more[id.Ino] = true
		f := &record{ns: &Namespace{ID: id, Type: t, Creator: -1, NetNSID: -1}}
		a.to.more = append(a.to.more, f)
		a.ask(f.ns, up)
	}
	return Relation{ID: id}
}
