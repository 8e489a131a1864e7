package sys

import (
	"os"
	"strings"
	"testing"
)

// What is read in a child is what everybody reads.
func TestReadInChild(t *testing.T) {
	proc, err := OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	paths := []string{"sys/kernel/hostname", "no/such/file", "filesystems", "sys/kernel/ostype", "kallsyms"}
	texts, err := readInChild(int(proc), nil, paths, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range paths[:4] {
		want, _ := os.ReadFile("/proc/" + path)
		if string(texts[i]) != string(want) {
			t.Errorf("%s: %q; want %q", path, texts[i], want)
		}
	}
	if n := strings.Count(string(texts[4]), "\n"); n < 1000 {
		t.Errorf("a long file has %d lines", n)
	}
}

func TestReadInChildFails(t *testing.T) {
	null, err := OpenNull()
	if err != nil {
		t.Fatal(err)
	}
	defer CloseFD(null)
	if _, err := readInChild(null, []Join{{null, CLONE_NEWUSER}}, []string{"x"}, 100); err == nil || !strings.Contains(err.Error(), "setns") {
		t.Errorf("got %v; want an error of setns", err)
	}
}
