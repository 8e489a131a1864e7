package carry

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"testing"

	"github.com/nstool/nstool/internal/forward/port"
	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// open serves any free port with a command of sh, until the test ends.
func open(t *testing.T, script string) (addr *net.TCPAddr, failed chan error) {
	t.Helper()
	nstest.Need(t, "sh")
	p, err := Listen(port.Spec{ToPort: 80})
	if err != nil {
		t.Fatal(err)
	}
	failed = make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Serve(ctx, func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "sh", "-c", script) }, func(err error) { failed <- err })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return net.TCPAddrFromAddrPort(p.At), failed
}

func dial(t *testing.T, addr *net.TCPAddr) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestServe(t *testing.T) {
	addr, _ := open(t, "tr a-z A-Z")
	if !addr.IP.IsLoopback() {
		t.Errorf("it listens on %s", addr)
	}
	var conns []*net.TCPConn
	for range 3 {
		conns = append(conns, dial(t, addr))
	}
	for _, conn := range conns {
		_, _ = io.WriteString(conn, "hello")
		_ = conn.CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != "HELLO" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	}
}

// A connection ends with the command, also if the caller has more to say.
func TestServeEnd(t *testing.T) {
	addr, _ := open(t, "echo bye")
	if got, err := io.ReadAll(dial(t, addr)); string(got) != "bye\n" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// A command that fails resets the connection.
func TestServeFails(t *testing.T) {
	addr, failed := open(t, "exit 3")
	if _, err := io.ReadAll(dial(t, addr)); err == nil {
		t.Error("the connection ended as if all had been sent")
	}
	if e, ok := errors.AsType[*exec.ExitError](<-failed); !ok || e.ExitCode() != 3 {
		t.Error("the failure is not told")
	}
}

// The end of Serve ends the connections.
func TestServeCancelled(t *testing.T) {
	p, err := Listen(port.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, started := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		p.Serve(ctx, func(ctx context.Context) *exec.Cmd {
			close(started)
			return exec.CommandContext(ctx, "cat")
		}, func(err error) { t.Error(err) })
	}()
	conn := dial(t, net.TCPAddrFromAddrPort(p.At))
	<-started
	cancel()
	<-done
	if _, err := io.ReadAll(conn); err == nil {
		t.Log("ended") // or reset: either way it has ended
	}
}

func TestListenUDP(t *testing.T) {
	if _, err := Listen(port.Spec{UDP: true}); !errors.Is(err, ErrUDP) {
		t.Errorf("UDP: %v", err)
	}
}

func TestLines(t *testing.T) {
	var got []string
	w := Lines(func(line string) { got = append(got, line) })
	for _, s := range []string{"a\nb", "c\r\n", "\n", "rest"} {
		_, _ = io.WriteString(w, s)
	}
	if want := []string{"a", "bc", ""}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}
