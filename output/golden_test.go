package output_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest/madeup"
	"github.com/nstool/nstool/output"
)

// TestGolden compares the lists of a made-up host with testdata/golden.
func TestGolden(t *testing.T) {
	w := madeup.New(t)
	style := output.Style{Width: 100}
	var namespaces []*inspect.Namespace
	for typ := range inspect.AllTypes.All() {
		namespaces = slices.AppendSeq(namespaces, w.Snapshot.Namespaces(typ))
	}
	inner := w.Of(t, 401, inspect.PID)
	pins := []*output.Pin{
		{Name: "blue", Type: inspect.Net, Ino: inner.ID.Ino, By: "nstool", Path: "/run/nstool/blue/net", Made: madeup.Now.Add(-time.Hour), Namespace: w.Of(t, 401, inspect.Net)},
		{Name: "red", Type: inspect.UTS, Why: "nothing is mounted there", By: "ip-netns", Path: "/run/netns/red", UID: 1000},
		{Name: "grey", Type: inspect.IPC, Ino: 5, Unsure: true, Path: "/x"},
	}
	w.Compare(t, map[string]func(*bytes.Buffer) error{
		"ls.txt": func(b *bytes.Buffer) error {
			return output.Table(b, w.View, namespaces, output.NamespaceList().Columns, output.Style{}, nil)
		},
		"ls.raw": func(b *bytes.Buffer) error {
			return output.Raw(b, w.View, namespaces, output.NamespaceList().Columns, output.Style{})
		},
		"ls.json": func(b *bytes.Buffer) error {
			return output.JSON(b, output.Listing{View: w.View, Namespaces: namespaces, Columns: output.NamespaceList().Columns, Missed: madeup.Missed, Processes: slices.Collect(w.Snapshot.Processes()), ProcessColumns: output.ProcessList().Columns})
		},
		"tree.txt": func(b *bytes.Buffer) error {
			return output.Tree(b, w.View, namespaces, output.ByProcess, output.NamespaceList().Defaults("CONTAINER"), style, nil)
		},
		"containers.txt": func(b *bytes.Buffer) error {
			return output.Table(b, w.View, w.View.Containers.Containers, output.ContainerList().Columns, output.Style{}, nil)
		},
		"containers.json": func(b *bytes.Buffer) error {
			return output.ContainerList().JSON(b, w.View, w.View.Containers.Containers, output.ContainerList().Columns, madeup.Missed)
		},
		"containers_tree.txt": func(b *bytes.Buffer) error {
			return output.ContainerTree(b, w.View, w.View.Containers.Containers, output.ContainerList().Defaults(), style)
		},
		"net.txt": func(b *bytes.Buffer) error {
			return output.Table(b, w.View, w.Interfaces(t), output.InterfaceList().Columns, output.Style{}, nil)
		},
		"net.json": func(b *bytes.Buffer) error {
			return output.InterfaceList().JSON(b, w.View, w.Interfaces(t), output.InterfaceList().Columns, madeup.Missed)
		},
		"ports.txt": func(b *bytes.Buffer) error {
			return output.Table(b, w.View, w.Listeners(t), output.ListenerList().Columns, output.Style{}, nil)
		},
		"ports.json": func(b *bytes.Buffer) error {
			return output.ListenerList().JSON(b, w.View, w.Listeners(t), output.ListenerList().Columns, madeup.Missed)
		},
		"pins.txt": func(b *bytes.Buffer) error {
			return output.Table(b, w.View, pins, output.PinList().Columns, output.Style{}, nil)
		},
		"pins.json": func(b *bytes.Buffer) error {
			return output.PinList().JSON(b, w.View, pins, output.PinList().Columns, madeup.Missed)
		},
	})
}
