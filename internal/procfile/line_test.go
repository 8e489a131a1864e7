package procfile

import "testing"

func TestParseUnixSocket(t *testing.T) {
	for line, want := range map[string]UnixSocket{
		"ffff9: 00000002 00000000 00010000 0001 01   123 /run/a b\n":         {65536, 1, 1, 123, "/run/a b"},
		"0000000000000000: 00000002 00000000 00010000 0002 03 123 sock":      {65536, 2, 3, 123, "sock"},
		"0000000000000000: 00000002 00000000 00010000 0001 01 123 @abstract": {65536, 1, 1, 123, "@abstract"},
		"0000000000000000: 00000002 00000000 00010000 0001 01 123  blank":    {65536, 1, 1, 123, " blank"},
		"0000000000000000: 00000002 00000000 00010000 0001 01 123":           {65536, 1, 1, 123, ""},
		"Num       RefCount Protocol Flags    Type St Inode Path":            {},
		"": {},
	} {
		if got, ok := ParseUnixSocket(line); got != want || ok != (want.Inode != 0) {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func FuzzParseUnixSocket(f *testing.F) {
	f.Add("ffff9: 00000002 00000000 00010000 0001 01   123 /run/a b")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := ParseUnixSocket(line); !ok && s != (UnixSocket{}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestParseCgroup(t *testing.T) {
	for line, want := range map[string][2]string{
		"0::/init.scope\n":   {"", "/init.scope"},
		"4:cpu,cpuacct:/a:b": {"cpu,cpuacct", "/a:b"},
		"1:name=systemd:/\n": {"name=systemd", "/"},
		"0::":                {}, "": {}, "/": {}, "0:/": {}, "0::a": {},
	} {
		if controllers, path, ok := ParseCgroup(line); ok != (want[1] != "") || ok && (controllers != want[0] || path != want[1]) {
			t.Errorf("%q: %q %q", line, controllers, path)
		}
	}
}

func TestField(t *testing.T) {
	text := []byte("Name:\ta\\nTgid: 3\nTgid:\t7\nNSpid:\t7\t1\n")
	for key, want := range map[string]string{"Tgid": "7", "NSpid": "7\t1", "Pid": ""} {
		if got := Field(text, key); got != want {
			t.Errorf("%s is %q", key, got)
		}
	}
}
