package main

import (
	"net/netip"
	"testing"

	"github.com/nstool/nstool/inspect/network"
)

func TestParsePort(t *testing.T) {
	for word, want := range map[string]portRange{
		"8080": {from: 8080, to: 8080}, "65535": {from: 65535, to: 65535}, "1": {from: 1, to: 1}, ":80": {from: 80, to: 80},
		"8000-8080": {from: 8000, to: 8080}, "tcp/80": {protocol: network.TCP, from: 80, to: 80}, "udp:53": {protocol: network.UDP, from: 53, to: 53},
		"sctp/1-9": {protocol: network.SCTP, from: 1, to: 9}, "mptcp:80": {protocol: network.MPTCP, from: 80, to: 80}, "udp": {protocol: network.UDP, to: 65535},
		"80/tcp": {protocol: network.TCP, from: 80, to: 80}, "1-9/udp": {protocol: network.UDP, from: 1, to: 9},
		"0.0.0.0:80": {address: netip.IPv4Unspecified(), from: 80, to: 80}, "[::1]:443": {address: netip.IPv6Loopback(), from: 443, to: 443},
	} {
		want.text = word
		if got, ok, err := parsePort(word); !ok || err != nil || got != want {
			t.Errorf("%q: %+v, %t, %v, want %+v", word, got, ok, err, want)
		}
	}
	for _, word := range []string{"web", "", "65536", "4026531840", "pid:80", "docker:80", "net:[80]", "/80", "/run/netns/80", "self", "1234/5", "80-", "-80", "a-b", "8080x", "99999999999999999999"} {
		if got, ok, err := parsePort(word); ok || err != nil {
			t.Errorf("%q: %+v, %t, %v, want none", word, got, ok, err)
		}
	}
	for _, word := range []string{"0", "tcp/0", "tcp/", "tcp/http", "udp/65536", "80-79", "0-80", "1-65536", ":", "tcp/80-", "tcp/+80", "tcp/80/81", "0/tcp", "x/tcp", "0.0.0.0:0"} {
		if got, ok, err := parsePort(word); ok || err == nil {
			t.Errorf("%q: %+v, %t, %v, want an error", word, got, ok, err)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for word, want := range map[string]int{"80,443": 2, "80/tcp,53/udp,127.0.0.1:9": 3, "80": 1, "web": 0, "web,80": 0} {
		if got, err := parsePorts(word); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", word, got, err)
		}
	}
	for _, word := range []string{"80,", "80,web", "80,,90", "80,0"} {
		if got, err := parsePorts(word); err == nil {
			t.Errorf("%q: %v", word, got)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	f.Add("tcp/8000-8080")
	f.Fuzz(func(t *testing.T, word string) {
		p, ok, err := parsePort(word)
		if ok && (err != nil || p.from > p.to || p.text != word) {
			t.Errorf("%q: %+v, %v", word, p, err)
		}
	})
}
