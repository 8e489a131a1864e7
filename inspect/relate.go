package inspect

import (
	"context"
	"errors"

	"github.com/nstool/nstool/internal/sys"
)

// relate asks the kernel who owns and who encloses what was found, and finds
// owners and parents that nothing else showed.
func (s *scanner) relate(ctx context.Context, _ []int) {
	all := make([]*found, 0, len(s.known))
	for _, f := range s.known {
		if s.types.Has(f.ns.Type) {
			all = append(all, f)
		}
	}
	type relations struct {
		more map[uint64]*found
		gaps []Gap
	}
	parallel(s.workers, len(all),
		func() *relations { return &relations{more: make(map[uint64]*found)} },
		func(r *relations, i int) {
			if i%64 == 0 && ctx.Err() != nil {
				return
			}
			f := all[i]
			if s.recall(f.ns) {
				return
			}
			file, err := s.openAny(f)
			if err != nil {
				if errors.Is(err, ErrGone) || sys.Gone(err) {
					err = ErrGone
				} else if !errors.Is(err, ErrNotAsked) {
					r.gaps = append(r.gaps, Gap{What: f.ns.String(), Err: err})
				}
				f.ns.Owner.Err = err
				f.ns.Parent.Err = err
				return
			}
			defer file.close()
			s.ask(f.ns, file, r.more)
		},
		func(r *relations) {
			s.gaps = append(s.gaps, r.gaps...)
			for ino, f := range r.more {
				if s.known[ino] == nil {
					s.known[ino] = f
				}
			}
		})
}

// openAny opens a namespace by the first way that still leads there.
func (s *scanner) openAny(f *found) (nsFile, error) {
	file, err := s.kernel.open(f.way, f.ns.ID.Ino)
	if err == nil || errors.Is(err, ErrNotAsked) {
		return file, err
	}
	for i, p := range f.ns.Members {
		if i == 3 {
			break
		}
		if file, e := s.kernel.open(taskWay(p.PID, 0, f.ns.Type.String()), f.ns.ID.Ino); e == nil {
			return file, nil
		}
	}
	for _, h := range f.ns.holders {
		if file, e := s.kernel.open(h.way(f.ns.Type), f.ns.ID.Ino); e == nil {
			return file, nil
		}
	}
	return nil, err
}

// way returns the way by which h leads to the namespace of type t that it holds.
func (h Holder) way(t Type) way {
	switch h.Kind {
	case ByTask:
		return taskWay(h.PID, h.TID, t.String())
	case ByChildren:
		return taskWay(h.PID, h.TID, t.ForChildren())
	case ByFD:
		return fdWay(h.PID, h.TID, h.FD)
	case BySocket:
		return socketWay(h.PID, h.TID, h.FD)
	case ByMount:
		if h.PID != 0 {
			return mountWay(h.PID, h.Path)
		}
	}
	return way{}
}

// ask fills in what the kernel says of ns. Owners and parents that are not
// known yet go to more, with all that is to be said of them.
func (s *scanner) ask(ns *Namespace, file nsFile, more map[uint64]*found) {
	if id, err := file.nsid(); err == nil {
		ns.NSID = id
	}
	switch ns.Type {
	case Net:
		if id, err := file.netnsid(); err == nil {
			ns.NetNSID = id
		}
	case User:
		if uid, err := file.creator(); err == nil {
			ns.Creator = int64(uid)
		}
	}
	ns.Owner = s.follow(ns, User, nsFile.owner, file, more)
	switch ns.Type {
	case User:
		ns.Parent = ns.Owner
	case PID:
		ns.Parent = s.follow(ns, PID, nsFile.parent, file, more)
	default:
		ns.Parent = Relation{}
	}
}

// follow asks for the owner or the parent of ns, which is of type t.
func (s *scanner) follow(ns *Namespace, t Type, relation func(nsFile) (nsFile, error), file nsFile, more map[uint64]*found) Relation {
	if ino, _ := t.InitialIno(); ns.Type == t && ns.ID.Ino == ino {
		return Relation{} // the root of the hierarchy: EPERM here says that there is none
	}
	up, err := relation(file)
	if err != nil {
		return Relation{Err: err}
	}
	defer up.close()
	id, err := up.id()
	if err != nil {
		return Relation{Err: err}
	}
	if s.known[id.Ino] == nil && more[id.Ino] == nil {
		f := &found{ns: &Namespace{ID: id, Type: t, Creator: -1, NetNSID: -1}}
		more[id.Ino] = f
		s.ask(f.ns, up, more)
	}
	return Relation{ID: id}
}
