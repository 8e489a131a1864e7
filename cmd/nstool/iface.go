package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/network"
)

// behind returns the network namespace at the other end of an interface of the caller's network
// namespace, such as the host's end of a veth(4) pair, or the one in which an interface has
// that address. The error is an [fs.ErrNotExist] if no such interface can be seen.
func behind(ctx context.Context, snap *inspect.Snapshot, name string) (*inspect.Namespace, error) {
	own := ownNetwork(snap)
	all, _ := network.Interfaces(ctx, snap, slices.Collect(snap.Namespaces(inspect.Net)))
	for _, i := range all {
		switch {
		case i.NS != own && hasAddress(i, name):
			return i.NS, nil
		case i.NS != own || !i.Named(name):
			continue
		case i.Far == nil || i.Far.NS == own:
			return nil, fmt.Errorf("interface %s: its other end is in no other network namespace", name)
		case i.Far.NS == nil:
			return nil, fmt.Errorf("the other end of %s is in a network namespace that was not found", name)
		}
		return i.Far.NS, nil
	}
	return nil, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
}

// hasAddress reports whether a word is an IP address or a hardware address of an interface.
func hasAddress(i *network.Interface, word string) bool {
	if ip, err := netip.ParseAddr(word); err == nil {
		return slices.ContainsFunc(i.Addresses, func(a network.Address) bool { return a.Prefix.Addr() == ip.WithZone("") })
	}
	mac, err := hex.DecodeString(strings.ReplaceAll(word, ":", ""))
	return err == nil && strings.Contains(word, ":") && len(mac) > 0 && bytes.Equal(mac, i.Hardware)
}

// ownNetwork returns the network namespace of the caller, or nil.
func ownNetwork(snap *inspect.Snapshot) *inspect.Namespace {
	if self, ok := snap.Process(snap.Self()); ok {
		ns, _ := snap.Of(self, inspect.Net)
		return ns
	}
	return nil
}
