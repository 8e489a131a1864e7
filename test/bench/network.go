package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// networks is how many network namespaces there are for nstool net and ports.
const networks = 400

// netItems are measured among these, beside a loop over their names.
var netItems = []item{
	{"net", "$nstool net", `sh -c "for i in $names; do ip netns exec \$i ip -d -j addr >/dev/null; done"`, false},
	{"ports", "$nstool ports", `sh -c "for i in $names; do ip netns exec \$i ss -lntup >/dev/null; done"`, false},
}

// network measures among many network namespaces, each with a socket that
// listens and an interface whose other end is in one that they have in common.
func (b *bench) network() error {
	var items []item
	for _, it := range netItems {
		if strings.Contains(it.name, b.only) {
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return nil
	}
	names, end, err := makeNetworks()
	defer end()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d network namespaces\n", len(names))
	for _, it := range items {
		it.peer = strings.ReplaceAll(it.peer, "$names", strings.Join(names, " "))
		runs := b.runs
		b.runs = min(runs, 3) // the loop takes long
		r, err := b.beside(it, "1")
		b.runs = runs
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "  %-22s %12.3f %12.3f   for each namespace\n", "", ms(r[0].us)/float64(len(names)), ms(r[1].us)/float64(len(names)))
	}
	return nil
}

// makeNetworks makes the namespaces, with names of ip-netns(8). The function that
// it returns takes them away again.
func makeNetworks() (names []string, end func(), err error) {
	const hub = "nstool-bench-hub"
	var listeners []net.Listener
	var make, unmake bytes.Buffer
	fmt.Fprintf(&make, "netns add %s\n", hub)
	fmt.Fprintf(&unmake, "netns delete %s\n", hub)
	for i := range networks {
		name := fmt.Sprintf("nstool-bench-%d", i)
		names = append(names, name)
		fmt.Fprintf(&make, "netns add %s\n", name)
		fmt.Fprintf(&unmake, "netns delete %s\n", name)
	}
	end = func() {
		for _, l := range listeners {
			l.Close()
		}
		batch(&unmake, "-force") //nolint:errcheck // some may not be there
	}
	if err := batch(&make); err != nil {
		return nil, end, err
	}
	var links bytes.Buffer
	for i, name := range names {
		fmt.Fprintf(&links, "link add v%d type veth peer name eth0 netns %s\n", i, name)
	}
	if err := batch(&links, "-netns", hub); err != nil {
		return nil, end, err
	}
	for _, name := range names {
		file, err := os.Open("/run/netns/" + name)
		if err != nil {
			return nil, end, err
		}
		err = sys.OnThread(func() error {
			if err := sys.JoinNetns(int(file.Fd())); err != nil {
				return err
			}
			l, err := net.Listen("tcp4", "0.0.0.0:8080")
			listeners = append(listeners, l)
			return err
		})
		file.Close()
		if err != nil {
			return nil, end, err
		}
	}
	return names, end, nil
}

// batch has ip(8) carry out many commands.
func batch(commands *bytes.Buffer, args ...string) error {
	cmd := exec.Command("ip", append(args, "-batch", "-")...)
	cmd.Stdin = commands
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip -batch: %w: %s", err, out)
	}
	return nil
}
