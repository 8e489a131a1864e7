package network

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// inUse returns the number of sockets of each protocol in the namespace of c, without protocols
// whose module is not loaded. It is nil if that cannot be read.
func (c *Conn) inUse() map[string]int {
	if c.counts == nil {
		return nil
	}
	b := make([]byte, 8<<10)
	n, err := c.counts.ReadAt(b, 0)
	if err != nil && err != io.EOF || n == len(b) {
		return nil
	}
	counts := make(map[string]int)
	for line := range strings.Lines(string(b[:n])) {
		if f := strings.Fields(line); len(f) > 2 {
			if n, err := strconv.Atoi(f[2]); err == nil {
				counts[f[0]] = n
			}
		}
	}
	return counts
}

// procNet calls f with each line of /proc/net/NAME of the namespace of c, on a thread. Without
// such a file the kernel does not have the protocol.
func (c *Conn) procNet(name string, f func(line string)) error {
	var b []byte
	err := sys.OnThread(func() (err error) {
		if c.ns != nil && c.outpost == nil {
			if err := sys.JoinNetns(int(c.ns.Fd())); err != nil {
				return err
			}
		}
		b, err = os.ReadFile(c.proc(name))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		f(line)
	}
	return err
}

// readProc reads the sockets of a protocol from /proc/net/NAME, if the kernel has no
// sock_diag(7) for it, as is often so for raw sockets.
func (c *Conn) readProc(name string, state int) (all []Socket, err error) {
	err = c.procNet(name, func(line string) {
		if s, st, ok := parseProc(line); ok && (state < 0 || st == state) {
			all = append(all, s)
		}
	})
	return all, err
}

// parseProc parses a line of /proc/net/tcp and similar files, see proc_net(5), and also returns
// the state of the socket. The header is no such line.
func parseProc(line string) (s Socket, state int, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return s, 0, false
	}
	host, port, _ := strings.Cut(f[1], ":")
	send, recv, _ := strings.Cut(f[4], ":")
	var numbers [6]uint64
	for i, n := range []struct {
		text string
		base int
		bits int
	}{{port, 16, 16}, {f[3], 16, 8}, {send, 16, 32}, {recv, 16, 32}, {f[7], 10, 32}, {f[9], 10, 64}} {
		var err error
		if numbers[i], err = strconv.ParseUint(n.text, n.base, n.bits); err != nil {
			return s, 0, false
		}
	}
	b, err := hex.DecodeString(host)
	if err != nil || len(b)%4 != 0 {
		return s, 0, false
	}
	for i := 0; i < len(b); i += 4 { // each word is a number in native byte order
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return s, 0, false
	}
	return Socket{
		Local: netip.AddrPortFrom(addr, uint16(numbers[0])), Send: uint32(numbers[2]), Recv: uint32(numbers[3]),
		UID: int64(numbers[4]), Inode: numbers[5],
	}, int(numbers[1]), true
}

// readProcUnix reads the waiting unix sockets from /proc/net/unix.
func (c *Conn) readProcUnix() (all []Socket, err error) {
	err = c.procNet("unix", func(line string) {
		if s, ok := parseProcUnix(line); ok {
			all = append(all, s)
		}
	})
	return all, err
}

// parseProcUnix parses a line of /proc/net/unix, see proc_net(5), and reports whether the
// socket waits for others.
func parseProcUnix(line string) (s Socket, waits bool) {
	const acceptsConnections = 1 << 16 // __SO_ACCEPTCON
	const unconnected = 1              // SS_UNCONNECTED
	u, ok := procfile.ParseUnixSocket(line)
	if !ok {
		return s, false
	}
	s = Socket{Protocol: unixProtocol(byte(u.Type)), Inode: u.Inode, UID: -1}
	s.Name, s.Abstract = strings.CutPrefix(u.Path, "@")
	return s, u.Flags&acceptsConnections != 0 || u.Type == sockDgram && u.Path != "" && u.State == unconnected
}
