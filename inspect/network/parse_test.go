package network

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseProc(t *testing.T) {
	for _, tt := range []struct {
		line  string
		want  Socket
		state int
	}{
		{
			"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0",
			Socket{Local: netip.MustParseAddrPort("127.0.0.1:8080"), Recv: 2, UID: 1000, Inode: 12345},
			10,
		},
		{
			" 155: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 14679641 2 0000000045a4226b 0",
			Socket{Local: netip.MustParseAddrPort("0.0.0.0:1"), Inode: 14679641},
			7,
		},
		{
			"  58: 000000000000000000000000010000FF:003A 00000000000000000000000000000000:0000 07 00000001:00000000 00:00000000 00000000 65534        0 7 2 0 0",
			Socket{Local: netip.MustParseAddrPort("[::ff00:1]:58"), Send: 1, UID: 65534, Inode: 7},
			7,
		},
		{"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops", Socket{}, -1},
		{"   0: 0100007:1F90 0:0 0A 0:0 00:0 0 0 0 12345", Socket{}, -1},
		{"", Socket{}, -1},
	} {
		s, state, ok := parseProc(tt.line)
		if tt.state < 0 {
			if ok {
				t.Errorf("%q: got %+v", tt.line, s)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, s, cmpopts.EquateComparable(netip.AddrPort{})); !ok || state != tt.state || diff != "" {
			t.Errorf("%q: %v, state %d: %s", tt.line, ok, state, diff)
		}
	}
}

func TestParseProcUnix(t *testing.T) {
	for line, want := range map[string]Socket{
		"0000000000000000: 00000002 00000000 00010000 0001 01 14782097 /run/a b\n": {Protocol: UnixStream, Inode: 14782097, Name: "/run/a b"},
		"0000000000000000: 00000002 00000000 00010000 0005 01   123 @seq\n":        {Protocol: UnixSeqpacket, Inode: 123, Name: "seq", Abstract: true},
		"0000000000000000: 00000002 00000000 00000000 0002 01 7 /dev/log\n":        {Protocol: UnixDatagram, Inode: 7, Name: "/dev/log"},
		"0000000000000000: 00000002 00000000 00010000 0001 01 8\n":                 {Protocol: UnixStream, Inode: 8},
	} {
		want.UID = -1
		s, ok := parseProcUnix(line)
		if diff := cmp.Diff(want, s, cmpopts.EquateComparable(netip.AddrPort{})); !ok || diff != "" {
			t.Errorf("%q: %v %s", line, ok, diff)
		}
	}
	for _, line := range []string{
		"", "Num       RefCount Protocol Flags    Type St Inode Path\n",
		"0000000000000000: 00000003 00000000 00000000 0001 03 14560 /run/connected\n",
		"0000000000000000: 00000002 00000000 00000000 0002 01 14561\n",
		"0000000000000000: 00000003 00000000 00000000 0002 03 14562 /connected\n",
	} {
		if s, ok := parseProcUnix(line); ok {
			t.Errorf("%q: %+v", line, s)
		}
	}
}

// FuzzParse has every parser read what nobody sent.
func FuzzParse(f *testing.F) {
	f.Add(linkRequest(1))
	f.Add(inetRequest(afInet, ipprotoMPTCP, tcpListen))
	f.Add(unixRequest())
	f.Add(make([]byte, inetDiagMsgSize))
	f.Add([]byte("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000  1000        0 12345"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLink(b); err == nil && l.NetNSID < SameNamespace {
			t.Errorf("number %d", l.NetNSID)
		}
		if a, err := parseAddress(b); err == nil && a.Prefix.Bits() > a.Prefix.Addr().BitLen() {
			t.Errorf("prefix %v", a.Prefix)
		}
		if r, _, err := parseRoute(b); err == nil && r.Hops < 0 {
			t.Errorf("%d hops", r.Hops)
		}
		if s, err := parseInet(b); err == nil && !s.Local.IsValid() {
			t.Errorf("no address: %+v", s)
		}
		if s, _, err := parseUnix(b); err == nil && !s.Abstract && len(s.Name) > 0 && s.Name[0] == 0 {
			t.Errorf("name %q", s.Name)
		}
		parsePacket(b) //nolint:errcheck // it need only not panic
		parseProc(string(b))
		parseProcUnix(string(b))
		if id, err := parseNSID(b); err == nil && id < NoNumber {
			t.Errorf("number %d", id)
		}
	})
}
