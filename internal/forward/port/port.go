// Package port parses the words for a port to forward. It runs on any system.
package port

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A Spec is one port to forward.
type Spec struct {
	UDP    bool       // else TCP
	Listen netip.Addr // the caller's address; not valid if none was given
	Port   uint16     // the caller's port; 0 is any free one

	To     netip.Addr // the address in the namespace; not valid is its loopback
	ToPort uint16
	// ToPath is a unix socket in place of an address: a path in the target's
	// file system, or an abstract name that begins with "@".
	ToPath string
}

// Parse reads the words for one port:
//
//	[[ADDRESS:]PORT:][TOADDRESS:]TOPORT[/tcp|/udp]
//	[ADDRESS:]PORT:/PATH/OF/SOCKET
//
// An IPv6 address is in brackets. A single port is that of both sides; an empty first one is
// any free port.
func Parse(word string) (Spec, error) {
	bad := func(why string) (Spec, error) { return Spec{}, fmt.Errorf("bad port %q: %s", word, why) }
	var s Spec
	rest := word
	// A path may contain any character, so it is cut off first.
	if i := strings.IndexAny(rest, "/@"); i > 0 && rest[i-1] == ':' {
		s.ToPath, rest = rest[i:], rest[:i-1]
		if len(s.ToPath) == 1 || strings.ContainsRune(s.ToPath, 0) {
			return bad("no socket is called so")
		}
		if s.ToPath[0] == '@' && len(s.ToPath) > 107 {
			return bad("the name of a socket has at most 107 bytes")
		}
	} else if before, protocol, ok := strings.Cut(rest, "/"); ok {
		switch rest = before; protocol {
		case "udp":
			s.UDP = true
		case "tcp":
		default:
			return bad("behind the slash stands tcp or udp")
		}
	}
	fields, err := split(rest)
	if err != nil {
		return bad(err.Error())
	}
	if s.ToPath == "" {
		last := len(fields) - 1
		if s.ToPort, err = number(fields[last], false); err != nil {
			return bad(err.Error())
		}
		if last == 0 {
			s.Port = s.ToPort
			return s, nil
		}
		fields = fields[:last]
		// The word before the last port is the port of this side, or the address of the other.
		if len(fields) > 1 && !isPort(fields[len(fields)-1]) {
			if s.To, err = address(fields[len(fields)-1]); err != nil {
				return bad(err.Error())
			}
			fields = fields[:len(fields)-1]
		}
	}
	if len(fields) > 2 {
		return bad("it is written [[ADDRESS:]PORT:][TOADDRESS:]TOPORT")
	}
	if s.Port, err = number(fields[len(fields)-1], true); err != nil {
		return bad(err.Error())
	}
	if len(fields) == 2 {
		if s.Listen, err = address(fields[0]); err != nil {
			return bad(err.Error())
		}
	}
	return s, nil
}

// split splits at the colons that are not in brackets.
func split(s string) (fields []string, err error) {
	for {
		if strings.HasPrefix(s, "[") {
			i := strings.IndexByte(s, ']')
			if i < 0 || i+1 < len(s) && s[i+1] != ':' {
				return nil, fmt.Errorf("an address in brackets ends with a bracket and a colon")
			}
			fields = append(fields, s[:i+1])
			if i+1 == len(s) {
				return fields, nil
			}
			s = s[i+2:]
			continue
		}
		field, rest, more := strings.Cut(s, ":")
		fields = append(fields, field)
		if !more {
			return fields, nil
		}
		s = rest
	}
}

func isPort(s string) bool { return strings.Trim(s, "0123456789") == "" }

func number(s string, any bool) (uint16, error) {
	if s == "" && any {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 && !any || !isPort(s) {
		least := 1
		if any {
			least = 0
		}
		return 0, fmt.Errorf("a port is a number from %d to 65535, not %q", least, s)
	}
	return uint16(n), nil
}

// address parses an address. Names are not looked up: they differ inside and outside.
func address(s string) (netip.Addr, error) {
	if s == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	inside, bracketed := strings.CutPrefix(s, "[")
	a, err := netip.ParseAddr(strings.TrimSuffix(inside, "]"))
	switch {
	case err != nil:
		return a, fmt.Errorf("%q is not an address; names are not looked up", s)
	case a.Is6() && !bracketed:
		return a, fmt.Errorf("the address %s is written [%s]", s, s)
	case a.Is4() && bracketed:
		return a, fmt.Errorf("the address %s is written without brackets", s)
	}
	return a.Unmap(), nil
}

// ParseAddress reads an address to listen on, in brackets or without.
func ParseAddress(s string) (netip.Addr, error) {
	if strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "[") {
		s = "[" + s + "]"
	}
	return address(s)
}

// LeadsTo reports whether connections would come back to the socket that listens on that
// address, if both were in the same network namespace.
func (s Spec) LeadsTo(at netip.AddrPort) bool {
	to := []netip.Addr{s.To}
	if !s.To.IsValid() {
		to = []netip.Addr{Loopback4, Loopback6}
		if s.UDP {
			to = to[:1]
		}
	}
	for _, a := range to {
		if a == at.Addr() || at.Addr().IsUnspecified() && a.IsLoopback() && a.Is4() == at.Addr().Is4() {
			return s.ToPath == "" && s.ToPort == at.Port()
		}
	}
	return false
}

// String returns the destination as a user writes it: "127.0.0.1:80".
func (s Spec) String() string {
	switch {
	case s.ToPath != "":
		return s.ToPath
	case !s.To.IsValid():
		return Loopback4.String() + ":" + strconv.Itoa(int(s.ToPort))
	}
	return netip.AddrPortFrom(s.To, s.ToPort).String()
}

// Far returns the words for the destination alone, for an nstool on another machine: "80",
// "10.0.0.5:80", "/run/app.sock". Without an address, that one tries both loopback addresses.
func (s Spec) Far() string {
	if s.ToPath == "" && !s.To.IsValid() {
		return strconv.Itoa(int(s.ToPort))
	}
	return s.String()
}

// The loopback addresses.
var (
	Loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	Loopback6 = netip.IPv6Loopback()
)
