package main

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/target"
)

// What an older kernel makes us look for is what a newer one says.
func TestPidSearch(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Spec{Types: []string{"pid", "mnt", "uts"}, Thread: []string{"net"}}.Start(t)
	snap, err := inspect.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, err := openPIDs(t.Context(), snap, target.Ref{Kind: target.Process, PID: box.PID, Text: "box"})
	if err != nil {
		t.Fatal(err)
	}
	defer in.file.Close()
	for _, asked := range []int{1, box.TID, 4000000} {
		wantTID, wantPID, wantErr := sys.PIDFrom(int(in.file.Fd()), asked)
		if errors.Is(wantErr, errors.ErrUnsupported) {
			nstest.SkipUnsupported(t, wantErr, "6.11")
		}
		tid, tgid, err := in.search(t.Context(), asked)
		if tid != wantTID || tgid != wantPID || errors.Is(err, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) {
			t.Errorf("%d: found %d of %d, %v; the kernel says %d of %d, %v", asked, tid, tgid, err, wantTID, wantPID, wantErr)
		}
	}
	if tid, tgid, err := in.search(t.Context(), box.TID); err != nil || tgid != box.PID || tid == tgid {
		t.Errorf("thread %d of the box: %d of %d, %v", box.TID, tid, tgid, err)
	}
}
