package inspect

import (
	"context"
	"errors"
	"io/fs"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// relate asks the kernel who owns and who encloses what was found, and finds
// owners and parents that nothing else showed.
func (s *scanner) relate(ctx context.Context, _ []int) {
	all := make([]*record, 0, len(s.known))
	old := make(map[uint64]bool, len(s.known)) // what is known before
	for ino, f := range s.known {
		old[ino] = true
		if s.types.Has(f.ns.Type) && !s.relateKnown(f.ns) {
			all = append(all, f)
		}
	}
	silent := wait.Many(ctx, &s.stuck, len(all),
		func() func(int) related {
			more := make(map[uint64]bool) // what this asker has come upon
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

// related is what the kernel says of a namespace, and those that it named.
type related struct {
	facts Namespace
	more  []*record
	gaps  []Gap
	err   error
}

// unrelated notes that the kernel could not be asked.
func (s *scanner) unrelated(ns *Namespace, err error) {
	if errors.Is(err, ErrGone) || sys.Gone(err) {
		err = ErrGone
	} else if !errors.Is(err, ErrNotAsked) {
		s.gap(Gap{What: ns.String(), Err: err})
	}
	ns.Owner.Err, ns.Parent.Err = err, err
}

// opened is a namespace that was opened, or why not.
type opened struct {
	file nsFile
	err  error
}

func (o opened) close() {
	if o.err == nil {
		o.file.close()
	}
}

// openAny opens a namespace by the first way that still leads there.
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

// asking is one caller of the kernel, who may be left behind.
type asking struct {
	old  map[uint64]bool // what is known already
	more map[uint64]bool // what the caller has found
	to   *related        // where it is told
}

// ask fills in what the kernel says of ns. Owners and parents that are not
// known yet go to more, with all that is to be said of them.
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
			err = ErrNotAsked // every kernel that we run on has it
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

// note makes a gap of an error that says more than that the kernel cannot or
// will not tell.
func (a asking) note(ns *Namespace, err error) {
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
		a.to.gaps = append(a.to.gaps, Gap{What: ns.String(), Err: err})
	}
}

// follow asks for the owner or the parent of ns, which is of type t.
func (a asking) follow(ns *Namespace, t Type, relation func(nsFile) (nsFile, error), file nsFile) Relation {
	if ino, _ := t.InitialIno(); ns.Type == t && ns.ID.Ino == ino {
		return Relation{} // the root of the hierarchy: EPERM here says that there is none
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
	id.Dev = ns.ID.Dev // there is one nsfs; of a foreign /proc its device may not be known
	if !a.old[id.Ino] && !a.more[id.Ino] {
		a.more[id.Ino] = true
		f := &record{ns: &Namespace{ID: id, Type: t, Creator: -1, NetNSID: -1}}
		a.to.more = append(a.to.more, f)
		a.ask(f.ns, up)
	}
	return Relation{ID: id}
}
