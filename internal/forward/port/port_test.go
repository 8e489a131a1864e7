package port

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	ip := netip.MustParseAddr
	for _, c := range []struct {
		word string
		want Spec
	}{
		{"80", Spec{Port: 80, ToPort: 80}},
		{"80/udp", Spec{UDP: true, Port: 80, ToPort: 80}},
		{"8080:80", Spec{Port: 8080, ToPort: 80}},
		{"8080:80/tcp", Spec{Port: 8080, ToPort: 80}},
		{"8053:53/udp", Spec{UDP: true, Port: 8053, ToPort: 53}},
		{":80", Spec{ToPort: 80}},
		{"0:80", Spec{ToPort: 80}},
		{"0.0.0.0:8080:80", Spec{Listen: ip("0.0.0.0"), Port: 8080, ToPort: 80}},
		{"localhost:8080:80", Spec{Listen: ip("127.0.0.1"), Port: 8080, ToPort: 80}},
		{"[::1]:8080:80", Spec{Listen: ip("::1"), Port: 8080, ToPort: 80}},
		{"[::1]::80", Spec{Listen: ip("::1"), ToPort: 80}},
		{"8080:10.0.0.5:80", Spec{Port: 8080, To: ip("10.0.0.5"), ToPort: 80}},
		{":10.0.0.5:80", Spec{To: ip("10.0.0.5"), ToPort: 80}},
		{"8080:[fd00::1]:80", Spec{Port: 8080, To: ip("fd00::1"), ToPort: 80}},
		{"[::]:8080:[fd00::1]:80/udp", Spec{UDP: true, Listen: ip("::"), Port: 8080, To: ip("fd00::1"), ToPort: 80}},
		{"127.0.0.2:8080:localhost:80", Spec{Listen: ip("127.0.0.2"), Port: 8080, To: ip("127.0.0.1"), ToPort: 80}},
		{"8080:/run/app.sock", Spec{Port: 8080, ToPath: "/run/app.sock"}},
		{"[::1]:8080:/run/a:b/udp", Spec{Listen: ip("::1"), Port: 8080, ToPath: "/run/a:b/udp"}},
		{"8080:@app", Spec{Port: 8080, ToPath: "@app"}},
	} {
		got, err := Parse(c.word)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.word, got, err)
		}
	}
	for _, word := range []string{
		"", ":", "x", "80:", "8080:0", "8080:65536", "8080:-1", "8080:+1", "8080:80/sctp", "8080:80/", "1:2:3:4:5",
		"::1:8080:80", "8080:example.com:80", "10.0.0.5:80", "[::1]8080:80", "[::1", "[10.0.0.5]:8080:80", "8080:/", "8080:@", "x:/run/app.sock",
		"8080:a\x00b:80", "8080:/a\x00b",
	} {
		if got, err := Parse(word); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %+v, %v", word, got, err)
		}
	}
}

// What would lead to itself in the same network, for ever.
func TestFar(t *testing.T) {
	for word, want := range map[string]string{
		"8080:80": "80", "8080:10.0.0.5:80": "10.0.0.5:80", "80:[fd00::1]:80": "[fd00::1]:80",
		"8080:/run/app.sock": "/run/app.sock", "80:@app": "@app",
	} {
		if s, err := Parse(word); err != nil || s.Far() != want {
			t.Errorf("%s: %s, %v; want %s", word, s.Far(), err, want)
		}
	}
}

func TestLeadsTo(t *testing.T) {
	for _, c := range []struct {
		word, at string
		want     bool
	}{
		{"80", "127.0.0.1:80", true},
		{"80", "[::1]:80", true}, // where a server may listen for IPv6 alone
		{"80/udp", "[::1]:80", false},
		{"80", "127.0.0.1:8080", false},
		{"80", "127.0.0.2:80", false},
		{"80", "0.0.0.0:80", true},
		{"80", "[::]:80", true},
		{"80:127.0.0.1:80", "[::]:80", false},
		{"80:127.0.0.3:80", "0.0.0.0:80", true},
		{"80:10.0.0.5:80", "0.0.0.0:80", false},
		{"80:10.0.0.5:80", "10.0.0.5:80", true},
		{"80:[fd00::1]:80", "[fd00::1]:80", true},
		{"80:@app", "127.0.0.1:80", false},
	} {
		s, err := Parse(c.word)
		if got := s.LeadsTo(netip.MustParseAddrPort(c.at)); err != nil || got != c.want {
			t.Errorf("%s at %s: %v, %v", c.word, c.at, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"80", "8080:80/udp", "[::1]:8080:[fd00::1%2]:80", "0.0.0.0:0:localhost:1", "8080:/run/x", "8080:@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		s, err := Parse(word)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "bad port ") {
				t.Error(err)
			}
			return
		}
		if (s.ToPort == 0) == (s.ToPath == "") {
			t.Errorf("%q leads to %+v", word, s)
		}
		if s.ToPath != "" && (s.UDP || !strings.HasSuffix(word, ":"+s.ToPath)) {
			t.Errorf("%q leads to %+v", word, s)
		}
		// What is printed reads the same.
		again := "1:" + s.String()
		if s.UDP {
			again += "/udp"
		}
		if back, err := Parse(again); err != nil || back.String() != s.String() || back.UDP != s.UDP {
			t.Errorf("%q reads as %+v, and %q as %+v: %v", word, s, again, back, err)
		}
	})
}
