// Package carry gives each connection to a port of the caller a command of its own, whose
// standard input and output are the connection: kubectl(1) or ssh(1), with "nstool forward
// --stdio" at the other end. It runs on any system.
package carry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/forward/port"
)

// maxConnections is the most connections at a time, each with a process: further ones wait to
// be accepted.
const maxConnections = 64

// A Port is an open port of the caller.
type Port struct {
	Spec port.Spec
	At   netip.AddrPort

	listener *net.TCPListener
}

// ErrUDP is the error for a port of UDP: standard input and output have no datagrams.
var ErrUDP = errors.New("UDP cannot be carried through another program, only TCP and unix sockets")

// Listen opens the port of a spec, on the loopback address if it has none.
func Listen(spec port.Spec) (*Port, error) {
	if spec.UDP {
		return nil, ErrUDP
	}
	if !spec.Listen.IsValid() {
		spec.Listen = port.Loopback4
	}
	family := "tcp4"
	if spec.Listen.Is6() {
		family = "tcp6"
	}
	l, err := net.ListenTCP(family, net.TCPAddrFromAddrPort(netip.AddrPortFrom(spec.Listen, spec.Port)))
	if err != nil {
		return nil, err
	}
	return &Port{spec, l.Addr().(*net.TCPAddr).AddrPort(), l}, nil
}

// Close closes the port, also if it is being served.
func (p *Port) Close() error { return p.listener.Close() }

// Serve starts a command for each connection, until ctx is done, and closes the port. The
// command gets no input and no output of the caller's; it is to end when its context is done.
// failed is called with the error of a command, by many goroutines.
func (p *Port) Serve(ctx context.Context, command func(context.Context) *exec.Cmd, failed func(error)) {
	stop := context.AfterFunc(ctx, func() { p.listener.Close() })
	defer stop()
	defer p.listener.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxConnections)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := p.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptor is free, or the peer is gone already
			<-places
			failed(err)
			select {
			case <-time.After(time.Second / 10):
			case <-ctx.Done():
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			if err := relay(command(ctx), conn); err != nil && ctx.Err() == nil {
				failed(err)
			}
		})
	}
}

// relay runs a command with a connection as its standard input and output. The connection
// ends with the command, and is reset if that fails, so that no peer takes a part for the whole.
func relay(cmd *exec.Cmd, conn *net.TCPConn) error {
	defer conn.Close()
	cmd.Stdout = conn
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(in, conn)
		in.Close()
	}()
	err = cmd.Wait()
	if err != nil {
		_ = conn.SetLinger(0)
	}
	conn.Close()
	<-read
	return err
}

// Lines returns a writer that calls say with each line, for the standard error of a command.
func Lines(say func(line string)) io.Writer { return &lines{say: say} }

type lines struct {
	say  func(string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.say(string(bytes.TrimSuffix(line, []byte("\r"))))
		l.rest = rest
	}
}
