package inside

import (
	"fmt"
	"slices"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// Mnt is what is inside a mount namespace: see mount_namespaces(7).
type Mnt struct {
	// Mounts are those that are seen from Root, in the order of the kernel.
	Mounts []inspect.Mount
	// Whole: these are all mounts. They were read from the root of the namespace, and not from
	// the root of a process that sees a part.
	Whole bool
}

// Root returns the mount at the root: the last of several, which covers the others.
func (in *Mnt) Root() (inspect.Mount, bool) {
	for _, m := range slices.Backward(in.Mounts) {
		if m.Point == "/" {
			return m, true
		}
	}
	return inspect.Mount{}, false
}

func (r *reader) mnt() *Mnt {
	whole := true
	texts, err := r.readMember(func(p *sys.Process) bool {
		root, err := p.Readlink("root")
		return err == nil && root == "/"
	}, "mountinfo")
	if err != nil {
		texts, err = r.joined("thread-self/mountinfo")
		if err == nil && texts[0] == nil {
			err = fmt.Errorf("mountinfo: %w", inspect.ErrNotAsked)
		}
	}
	if err != nil { // then from a member with another root
		if part, e := r.readMember(nil, "mountinfo"); e == nil {
			texts, err, whole = part, nil, false
		}
	}
	if err != nil {
		r.gap("mounts", err)
		return nil
	}
	mounts, err := inspect.ParseMounts(texts[0])
	r.gap("mounts", err)
	return &Mnt{Mounts: mounts, Whole: whole}
}
