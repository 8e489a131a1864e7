package main

import (
	"errors"
	"fmt"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// behind returns the network namespace at the other end of an interface of the
// caller's network namespace, as of the host's end of a veth(4) pair.
func behind(snap *inspect.Snapshot, name string) (*inspect.Namespace, error) {
	nsid, err := sys.LinkNetNSID(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	for ns := range snap.Namespaces(inspect.Net) {
		if ns.NetNSID == nsid {
			return ns, nil
		}
	}
	return nil, fmt.Errorf("the other end of %s is in a network namespace that was not found: %w", name, errors.ErrUnsupported)
}
