package inspect

import "testing"

func TestParseLink(t *testing.T) {
	for _, c := range []struct {
		text string
		typ  Type
		ino  uint64
		ok   bool
	}{
		{"net:[4026531840]", Net, 4026531840, true},
		{"mnt:[1]", Mnt, 1, true},
		{"time:[18446744073709551615]", Time, 1<<64 - 1, true},
		{"time:[18446744073709551616]", 0, 0, false},
		{"mount:[4026531840]", 0, 0, false}, // a word of commands, not of the kernel
		{"net:[]", 0, 0, false},
		{"net:[+1]", 0, 0, false},
		{"net:[01]", 0, 0, false},
		{"net:[0]", 0, 0, false},
		{"net:[1", 0, 0, false},
		{"net:1]", 0, 0, false},
		{"net:[1]x", 0, 0, false},
		{"net:[1 ]", 0, 0, false},
		{"pipe:[4026531840]", 0, 0, false},
		{"/tmp/net:[4026531840]", 0, 0, false},
		{"net:[4026531840] (deleted)", 0, 0, false},
		{"", 0, 0, false},
	} {
		typ, ino, ok := ParseLink(c.text)
		if typ != c.typ || ino != c.ino || ok != c.ok {
			t.Errorf("ParseLink(%q) = %v, %d, %v; want %v, %d, %v", c.text, typ, ino, ok, c.typ, c.ino, c.ok)
		}
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add("net:[4026531840]")
	f.Add("pid_for_children:[1]")
	f.Fuzz(func(t *testing.T, text string) {
		typ, ino, ok := ParseLink(text)
		if ok && FormatLink(typ, ino) != text {
			t.Errorf("%q is read as %v %d", text, typ, ino)
		}
		if ok && parseIno([]byte(text)) != ino {
			t.Errorf("%q: parseIno says %d", text, parseIno([]byte(text)))
		}
	})
}

func TestTypes(t *testing.T) {
	if AllTypes.Len() != 8 || AllTypes.String() != "cgroup, ipc, net, mnt, pid, time, user, uts" {
		t.Errorf("all types: %v", AllTypes)
	}
	for typ := range AllTypes.All() {
		if back, err := ParseType(typ.String()); back != typ || err != nil {
			t.Errorf("ParseType(%q) = %v, %v", typ, back, err)
		}
		if back, ok := TypeOfFlag(typ.Flag()); back != typ || !ok {
			t.Errorf("TypeOfFlag(%#x) = %v, %v", typ.Flag(), back, ok)
		}
		text, err := typ.MarshalText()
		var back Type
		if err != nil || back.UnmarshalText(text) != nil || back != typ {
			t.Errorf("%v as text: %q, %v", typ, text, err)
		}
	}
	if typ, err := ParseType("mount"); typ != Mnt || err != nil {
		t.Errorf(`ParseType("mount") = %v, %v`, typ, err)
	}
	if _, err := ParseType("NET"); err == nil {
		t.Error("NET is a type")
	}
	if s := Type(0).String(); s != "type(0)" {
		t.Errorf("Type(0) is %s", s)
	}
	s := TypesOf(Net, UTS)
	if !s.Has(Net) || s.Has(IPC) || s.Without(Net) != TypesOf(UTS) || s.With(IPC).Len() != 3 || s.Flags() != Net.Flag()|UTS.Flag() {
		t.Errorf("set %v", s)
	}
}
