package sys

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// words appends a use of everything that the interpreter knows. It ends with the
// failure EDOM if all went well.
func words(x *Script) {
	never := func() { x.own("never", ownFail, uint64(unix.ERANGE)) }
	five, six := x.Bytes([]byte{5, 0, 0, 0}), x.Bytes([]byte{6, 0, 0, 0})
	is := func(at Addr, want uint32) {
		w := x.Bytes(binary.NativeEndian.AppendUint32(nil, want))
		x.own("compare", ownCompare, uint64(at), uint64(w), 4)
	}
	out := x.Space(8)
	result := func(i Index, want uint32) {
		x.Store(i, out)
		is(out, want)
	}
	result(x.own("value", ownValue, 77), 77)
	result(x.own("load", ownLoad, uint64(five), 1), 6)
	result(x.own("negate", ownNegate, uint64(six)), ^uint32(5))
	result(x.own("equal", ownEqual, uint64(five), uint64(six)), 1)
	result(x.own("equal", ownEqual, uint64(five), uint64(five)), 0)

	// Where it goes on after 0, and after anything else.
	zero, other, failed := x.label("zero"), x.label("other"), x.label("failed")
	i := x.own("value", ownValue, 0)
	x.onZero(i, zero)
	x.onOther(i, other)
	x.place(other)
	never()
	x.place(zero)
	more := x.label("more")
	i = x.own("value", ownValue, 1)
	x.onZero(i, other)
	x.onOther(i, more)
	never()

	// Errors: ignored, kept, beyond 64, and none that is an address or a number.
	x.place(more)
	for _, errno := range []unix.Errno{unix.EPERM, unix.EDEADLK, unix.ENOSYS, 63, 64, 127} {
		errnoAt := x.Space(8)
		i = x.own("fail", ownFail, uint64(errno))
		x.Ignore(i, errno)
		x.keep(i, errnoAt, errno)
		next := x.label("next")
		x.onError(i, next)
		never()
		x.place(next)
		is(errnoAt, uint32(errno))

		i = x.own("fail", ownFail, uint64(errno)) // ignored and not kept
		x.IgnoreAll(i)
		x.keep(i, errnoAt, 2)
		is(errnoAt, uint32(errno))
	}
	i = x.own("value", ownValue, ^uint64(4095))
	x.onOther(i, failed)
	never()
	x.place(failed)

	// A result becomes the argument of a later call.
	from := x.own("value", ownValue, 3)
	to := x.own("value", ownValue, 0)
	x.Store(from, x.Arg(to, 0))
	result(to, 3)
	x.own("fail", ownFail, uint64(unix.EDOM))
}

// TestStubWords has both interpreters, the stub and RunHere, do the same.
func TestStubWords(t *testing.T) {
	var here Index
	x := NewScript()
	words(x)
	here, err := x.RunHere()
	if !errors.Is(err, unix.EDOM) {
		t.Errorf("here: call %d: %v", here, err)
	}
	index, errno, _, ws := run(t, func(s *Script, _ int) { words(s) })
	if index != here || errno != unix.EDOM || ws.ExitStatus() != 125 {
		t.Errorf("the stub: call %d, %v, status %d; want call %d", index, errno, ws.ExitStatus(), here)
	}
}

// TestStubMoves runs the stub where it was not made for: wherever it is copied
// to, it refers to nothing that is near it.
func TestStubMoves(t *testing.T) {
	x := NewScript()
	words(x)
	x.OnFailure(func(at Addr) {
		x.WriteAt(1, at+8, 1)
		x.Exit(7)
	})
	for _, base := range []uint64{textBase, textBase + pageSize, textBase + 0x7654_0000, 0x40_0000, 0x7f_0000_0000} {
		parts, err := x.image()
		if err != nil {
			t.Fatal(err)
		}
		const entry, vaddr, paddr = 24, 64 + 16, 64 + 24 // in the header, and in the first segment: elf(5)
		for _, at := range []int{entry, vaddr, paddr} {
			word := parts[0].b[at:]
			binary.NativeEndian.PutUint64(word, binary.NativeEndian.Uint64(word)-textBase+base)
		}
		path := filepath.Join(t.TempDir(), "stub")
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		err = writeParts(int(f.Fd()), parts)
		if e := f.Close(); err != nil || e != nil {
			t.Fatal(err, e)
		}
		out, err := exec.Command(path).Output()
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit == nil || exit.ExitCode() != 7 || string(out) != string([]byte{byte(unix.EDOM)}) {
			t.Errorf("at %#x: %v, %q", base, err, out)
		}
	}
}

// TestStubObjects looks at the stubs of both architectures as the assembler leaves
// them to the linker: nothing is left to fill in, and no stack is used.
func TestStubObjects(t *testing.T) {
	tool := goTool(t)
	for _, arch := range []string{"amd64", "arm64"} {
		dir := t.TempDir()
		object := "stub_" + arch + ".o"
		tool(dir, arch, "tool", "pack", "x", strings.TrimSpace(tool(".", arch, "list", "-export", "-f", "{{.Export}}", ".")), object)
		text := tool(dir, arch, "tool", "objdump", object)
		stub, rest, ok := strings.Cut(text, "sys.stubAddr(SB)")
		if !ok || strings.Count(stub, "\n") < 80 {
			t.Fatalf("%s: no stub:\n%s", arch, text)
		}
		if control := regexp.MustCompile(`\bR_[A-Z0-9]+`); !control.MatchString(rest) {
			t.Errorf("%s: no relocation in what refers to the stub:\n%s", arch, rest)
		}
		for line := range strings.Lines(stub) {
			if regexp.MustCompile(`\bR_[A-Z0-9]+|\bR?SP\b|\(IP\)|\b(CALL|BL|ADRP?|RET|LEAQ)\b`).MatchString(line) && !strings.HasPrefix(line, "TEXT") {
				t.Errorf("%s: it refers to what is outside: %s", arch, line)
			}
		}
	}
}

// TestStubLayout compares what the two stubs know of the layout of a script: each
// of them must know all of it, and takes it from the same constants.
func TestStubLayout(t *testing.T) {
	if _, err := os.Stat("stub.go"); err != nil {
		t.Skip("the source is not beside the test, as on other kernels")
	}
	if _, err := os.Stat("stub_arm64.s"); err != nil {
		t.Skip("the source is not here")
	}
	names := func(arch string) []string {
		text, err := os.ReadFile("stub_" + arch + ".s")
		if err != nil {
			t.Fatal(err)
		}
		set := make(map[string]bool)
		for _, name := range regexp.MustCompile(`const_\w+`).FindAllString(string(text), -1) {
			set[name] = true
		}
		return slices.Sorted(maps.Keys(set))
	}
	one, other := names("amd64"), names("arm64")
	if len(one) < 15 || !slices.Equal(one, other) {
		t.Errorf("amd64 knows\n%q, arm64\n%q", one, other)
	}
	var shared strings.Builder
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_amd64.go") || strings.HasSuffix(file, "_arm64.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shared.Write(text)
	}
	for _, name := range one {
		if name = strings.TrimPrefix(name, "const_"); !regexp.MustCompile(`(?m)^\t` + name + `\b`).MatchString(shared.String()) {
			t.Errorf("%s is of one architecture", name)
		}
	}
}

// goTool returns what runs the go command in a directory, for an architecture.
func goTool(t *testing.T) func(dir, arch string, words ...string) string {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	return func(dir, arch string, words ...string) string {
		t.Helper()
		cmd := exec.Command("go", words...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		return string(out)
	}
}
