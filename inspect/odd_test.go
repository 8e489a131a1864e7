package inspect

import (
	"strings"
	"testing"
)

func TestOddKinds(t *testing.T) {
	for text, want := range map[string]struct {
		kind oddKind
		file string
	}{
		"/": {oddRoot, ""}, "/dev/net/tun": {oddTun, ""}, "/dev/tap12": {oddTun, ""}, "/dev/vhost-net": {oddVhost, ""}, "/dev/ppp": {oddPPP, ""},
		"/proc/12/net/tcp": {oddProcFile, "tcp"}, "/proc/12/task/13/net/netfilter/nf_log": {oddProcFile, "netfilter/nf_log"},
		"/12/net/tcp": {oddProcFile, "tcp"}, "/host/proc/9/net/dev": {oddProcFile, "dev"},
		"/dev/null": {}, "/dev/tap": {}, "/dev/tapx": {}, "/dev/tap0/x": {}, "/dev/shm/1/net/x": {}, "/run/netns/x": {},
		"/home/me/net/tcp": {}, "/net/tcp": {}, "/a1/net/x": {}, "/proc/0/net/x": {},
		"/" + strings.Repeat("x", 255): {},
	} {
		if kind, file := oddKindOf([]byte(text)); kind != want.kind || string(file) != want.file {
			t.Errorf("%q is of kind %d, %q; want %+v", text, kind, file, want)
		}
	}
}
