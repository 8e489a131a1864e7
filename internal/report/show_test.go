package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/text"
	"github.com/nstool/nstool/output"
)

func TestSheets(t *testing.T) {
	var s Sheet
	s.Title = "a\x1b[31mb"
	s.Add("key", "one", "two \n three")
	s.Add("nothing")
	s.Add("longer key", "x")
	var b strings.Builder
	if err := Sheets(&b, []Sheet{s, {Title: "next"}}, output.Style{}); err != nil {
		t.Fatal(err)
	}
	want := `a\x1b[31mb
key         one
            two \x0a three
longer key  x

next
`
	if b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
}

func TestBroken(t *testing.T) {
	for _, test := range []struct {
		line string
		to   int
		want []string
	}{
		{"short", 20, []string{"short"}},
		{"no width, nothing is broken at all", 0, []string{"no width, nothing is broken at all"}},
		{"chown, dac_override, fowner, fsetid", 20, []string{"chown, dac_override,", "  fowner, fsetid"}},
		{"averyveryverylongwordthatcannotbebroken x", 20, []string{"averyveryverylongwordthatcannotbebroken", "  x"}},
	} {
		if got := broken(test.line, test.to); !slices.Equal(got, test.want) {
			t.Errorf("%q to %d: %q; want %q", test.line, test.to, got, test.want)
		}
	}
}

func TestFreedText(t *testing.T) {
	for _, test := range []struct {
		conditions []string
		unseen     []string
		want       []string
	}{
		{[]string{freedNever}, []string{"x"}, []string{freedNever}},
		{[]string{freedUnknown}, nil, []string{freedUnknown}},
		{[]string{"a"}, nil, []string{"when a"}},
		{[]string{"a", "b"}, []string{"x", "y"}, []string{"when a, and", "b", "as far as can be seen: x; y"}},
	} {
		if got := freedText(slices.Clone(test.conditions), test.unseen); !slices.Equal(got, test.want) {
			t.Errorf("%q: %q; want %q", test.conditions, got, test.want)
		}
	}
	var many []string
	for range 100 {
		many = append(many, "x")
	}
	if got := freedText(many, nil); len(got) != MaxLines+1 || got[MaxLines] != "and 88 more; --json lists all" {
		t.Errorf("got %q", got)
	}
}

// What holds a namespace has to let go, each in its own way.
func TestGoes(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Spec{
		Types: []string{"mnt"}, Files: []string{"uts", "net"}, Sockets: []string{"net"}, Pins: []string{"ipc"}, Hidden: []string{"cgroup"},
		Thread: []string{"uts"}, Children: []string{"time"},
	}.Start(t)
	snap, err := inspect.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := View{&output.View{Snapshot: snap, Containers: container.Find(t.Context(), snap)}}
	check := func(ino uint64, want string) {
		t.Helper()
		ns, ok := snap.Find(ino)
		if !ok {
			t.Errorf("%d was not found", ino)
			return
		}
		if got := strings.Join(v.freedWhen(ns, &inside.Contents{}), "; "); !strings.Contains(got, want) {
			t.Errorf("%s is freed when %q; want %q", ns, got, want)
		}
	}
	check(box.Ino["mnt"], "has exited or left it")
	check(box.ThreadIno["uts"], "thread ")
	check(box.ChildrenIno["time"], "makes its children elsewhere")
	for _, h := range box.Held {
		check(h.Ino, map[string]string{"file": "is closed", "socket": "socket ", "pin": "is unmounted"}[h.Kind])
	}
}

func TestObjects(t *testing.T) {
	var b bytes.Buffer
	o := output.Object{
		{"none", nil},
		{"yes", true},
		{"text", "a\xff"},
		{"n", -5},
		{"big", uint64(1) << 63},
		{"list", []string{"x", "\xfe"}},
		{"ints", []int{1, 2}},
		{"objects", []output.Object{{{"k", uint32(1)}}, {{"more", output.Unknown}}}},
		{"object", output.Object{{"long", output.Unknown}, {"short", int64(7)}}},
		{"relation", inspect.Relation{ID: inspect.ID{Ino: 5}}},
		{"hidden", inspect.Relation{Err: inspect.ErrHidden}},
	}
	if err := output.Objects(&b, "test/1", o, output.Missed{}); err != nil {
		t.Fatal(err)
	}
	want := `{"schema":"test/1","complete":true,"reasons":[],"hostfs":null,"none":null,"yes":true,"text":"a` + "\ufffd" + `","text_base64":"Yf8=","n":-5,"big":9223372036854775808,` +
		`"list":["x","` + "\ufffd" + `"],"list_base64":["eA==","/g=="],"ints":[1,2],"objects":[
  {"k":1,"unknown":[]},
  {"more":null,"unknown":["more"]}],"object":{"long":null,"short":7,"unknown":["long"]},"relation":{"ns":5},"hidden":null,"unknown":["hidden"],"gaps":[]}
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if !json.Valid(b.Bytes()) {
		t.Error("it is no JSON")
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1: "1 byte", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 1 << 30: "1 GiB", 1<<64 - 1: "16 EiB"} {
		if got := text.Size(n); got != want {
			t.Errorf("%d: %q; want %q", n, got, want)
		}
	}
}

func TestDifferenceLines(t *testing.T) {
	for _, test := range []struct {
		d    Difference
		want []string
	}{
		{Difference{"host name", []string{"a"}, []string{"b"}}, []string{"host name: a vs b"}},
		{Difference{"routes", nil, []string{"x", "y"}}, []string{"routes of web: no others", "routes of db:", "  x", "  y"}},
		{
			Difference{"mounts", []string{strings.Repeat("a", 50)}, []string{strings.Repeat("b", 50)}},
			[]string{"mounts of web: " + strings.Repeat("a", 50), "mounts of db: " + strings.Repeat("b", 50)},
		},
	} {
		if got := test.d.lines("web", "db"); !slices.Equal(got, test.want) {
			t.Errorf("%v: %q; want %q", test.d, got, test.want)
		}
	}
}
