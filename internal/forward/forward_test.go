package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/internal/deputy"
	"github.com/nstool/nstool/internal/forward/port"
	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// network makes a network namespace in which the loopback interface is up.
func network(t testing.TB) *os.File {
	t.Helper()
	nstest.Need(t, "root", "ip")
	type made struct {
		ns  *os.File
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // for good
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		if err == nil {
			err = exec.Command("ip", "link", "set", "lo", "up").Run()
		}
		var ns *os.File
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.ns.Close() })
	return m.ns
}

// inside calls f in the namespace.
func inside(t testing.TB, ns *os.File, f func() error) {
	t.Helper()
	if err := enter.Do(t.Context(), f, ns); err != nil {
		t.Fatal(err)
	}
}

// listen listens in the namespace, and calls serve for every connection.
func listen(t testing.TB, ns *os.File, at string, serve func(*net.TCPConn)) uint16 {
	t.Helper()
	var l net.Listener
	inside(t, ns, func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// start forwards one port, until the test ends. What fails goes to the channel.
func start(t testing.TB, ns, root *os.File, spec Spec) (netip.AddrPort, chan error) {
	t.Helper()
	f, err := New(ns)
	if err != nil {
		t.Fatal(err)
	}
	if root != nil {
		self, err := enter.Self()
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		rights, err := deputy.RightsOf(self, root, deputy.AsTarget)
		if err != nil {
			t.Fatal(err)
		}
		dup, err := syscall.Dup(int(root.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.ConnectAs(rights, os.NewFile(uintptr(dup), "root")); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 10000)
	f.Failed = func(_ Spec, err error) { failed <- err }
	at, err := f.Listen(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(serve(f))
	return at, failed
}

// serve has f serve, until it is told to end.
func serve(f *Forwarder) (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Serve(ctx)
	}()
	return func() {
		stop()
		<-done
		f.Close()
	}
}

func dialTCP(t testing.TB, at netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// Each direction ends for itself: what is sent after the other side has said
// all comes through, and the end of it too.
func TestHalfClose(t *testing.T) {
	ns := network(t)
	want := noise(3 << 20)
	port := listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) {
		got, err := io.ReadAll(c) // to the end, and only then is there an answer
		fmt.Fprintln(c, len(got), err, bytes.Equal(got, want))
		c.Write(want)
	})
	at, _ := start(t, ns, nil, Spec{ToPort: port})
	c := dialTCP(t, at)
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	got, err := io.ReadAll(c)
	line, rest, _ := strings.Cut(string(got), "\n")
	if err != nil || line != fmt.Sprint(len(want), " <nil> true") || rest != string(want) {
		t.Errorf("%v, %q and %d bytes", err, line, len(rest))
	}

	// The other way round: the server has said all, the client goes on.
	heard := make(chan string, 1)
	port = listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) {
		c.CloseWrite()
		got, err := io.ReadAll(c)
		heard <- fmt.Sprint(string(got), err)
	})
	at, _ = start(t, ns, nil, Spec{ToPort: port})
	c = dialTCP(t, at)
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	c.Write([]byte("still here"))
	c.Close()
	if got := <-heard; got != "still here<nil>" {
		t.Errorf("the server heard %q", got)
	}
}

// A reset is passed on as one, either way.
func TestReset(t *testing.T) {
	ns := network(t)
	heard := make(chan error, 1)
	port := listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) {
		c.Write([]byte("x"))
		_, err := io.ReadAll(c)
		heard <- err
	})
	at, _ := start(t, ns, nil, Spec{ToPort: port})
	c := dialTCP(t, at)
	io.ReadFull(c, make([]byte, 1))
	c.SetLinger(0)
	c.Close()
	if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server heard %v", err)
	}

	port = listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
		c.Close()
	})
	at, _ = start(t, ns, nil, Spec{ToPort: port})
	c = dialTCP(t, at)
	c.Write([]byte("x"))
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client heard %v", err)
	}
}

// Where nobody listens the client is reset, and the reason is told.
func TestRefused(t *testing.T) {
	ns := network(t)
	at, failed := start(t, ns, nil, Spec{ToPort: 1})
	c, err := net.Dial("tcp", at.String())
	if err == nil { // else it was reset before it was there
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client heard %v", err)
	}
	if err := <-failed; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}

// A network in which nobody has brought up the loopback interface is told so.
func TestLoopbackDown(t *testing.T) {
	nstest.Need(t, "root")
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", nstest.Sandbox(t, "net").PID))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	at, failed := start(t, ns, nil, Spec{ToPort: 80})
	if c, err := net.Dial("tcp", at.String()); err == nil {
		c.Close()
	}
	const want = "network is unreachable: the loopback interface is not up there"
	if err := <-failed; !errors.Is(err, syscall.ENETUNREACH) || err.Error() != want {
		t.Error(err)
	}
}

// A server that listens for IPv6 alone is found on the loopback all the same.
func TestLoopback6(t *testing.T) {
	ns := network(t)
	port := listen(t, ns, "[::1]:0", func(c *net.TCPConn) { io.Copy(c, c) })
	at, _ := start(t, ns, nil, Spec{ToPort: port, Listen: netip.MustParseAddr("::1")})
	echo(t, dialTCP(t, at), "six")
}

func echo(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Error(err)
		return
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
}

// One that does not read does not stop the others, nor does the forwarder read
// what it cannot get rid of.
func TestSlowReader(t *testing.T) {
	ns := network(t)
	port := listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c) })
	at, _ := start(t, ns, nil, Spec{ToPort: port})
	slow := dialTCP(t, at)
	slow.SetWriteDeadline(time.Now().Add(2 * time.Second))
	sent := 0
	for block := noise(1 << 20); ; {
		n, err := slow.Write(block)
		sent += n
		if err != nil {
			break
		}
		if sent > 256<<20 {
			t.Fatal("somebody swallows it")
		}
	}
	echo(t, dialTCP(t, at), "quick")
	slow.SetDeadline(time.Now().Add(30 * time.Second))
	slow.CloseWrite()
	if n, err := io.Copy(io.Discard, slow); err != nil || int(n) != sent {
		t.Errorf("%d of %d bytes came back: %v", n, sent, err)
	}
}

// Very many at a time, and nothing is left of them.
func TestMany(t *testing.T) {
	ns := network(t)
	port := listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c) })
	at, _ := start(t, ns, nil, Spec{ToPort: port})
	echo(t, dialTCP(t, at), "all is there that stays, and this one") // so there are two more
	before := runtime.NumGoroutine()
	conns := make([]*net.TCPConn, 1000)
	for i := range conns {
		conns[i] = dialTCP(t, at)
	}
	for round := range 2 {
		for i, c := range conns {
			echo(t, c, fmt.Sprint(round, i))
		}
	}
	for _, c := range conns {
		c.Close()
	}
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, and before %d", runtime.NumGoroutine(), before)
		}
	}
}

// Where there is room for one connection alone, every port has it in turn.
func TestPlaces(t *testing.T) {
	ns := network(t)
	port := listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c) })
	f, err := New(ns)
	if err != nil {
		t.Fatal(err)
	}
	f.places = make(chan struct{}, 1)
	var at [3]netip.AddrPort
	for i := range at {
		if at[i], err = f.Listen(t.Context(), Spec{ToPort: port}); err != nil {
			t.Fatal(err)
		}
	}
	end := serve(f)
	for range 2 {
		for _, a := range at {
			c := dialTCP(t, a)
			echo(t, c, "x")
			c.Close()
		}
	}
	c := dialTCP(t, at[0])
	echo(t, c, "x")
	waits := dialTCP(t, at[1])
	end()
	for _, c := range []net.Conn{c, waits} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client heard %v", err)
		}
	}
}

// When it is told to end, it ends, with all that is open.
func TestEnd(t *testing.T) {
	ns := network(t)
	port := listen(t, ns, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c) })
	f, err := New(ns)
	if err != nil {
		t.Fatal(err)
	}
	at, err := f.Listen(t.Context(), Spec{ToPort: port})
	if err != nil {
		t.Fatal(err)
	}
	end := serve(f)
	c := dialTCP(t, at)
	echo(t, c, "there")
	end()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client heard %v", err)
	}
	if _, err := net.Dial("tcp", at.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("somebody listens: %v", err)
	}
}

// Unix sockets are those of the target: a link that is absolute leads to where
// it does for the target, and one of procfs nowhere.
func TestUnix(t *testing.T) {
	ns := network(t)
	dir := nstest.Dir(t)
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the listeners are closed
	serve := func(l net.Listener, says string) {
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, says)
				c.Close()
			}
		})
		t.Cleanup(func() { l.Close() })
	}
	outside := filepath.Join(nstest.Dir(t), "host.sock")
	for path, says := range map[string]string{filepath.Join(dir, "app.sock"): "the target", outside: "the host"} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		serve(l, says)
	}
	inside(t, ns, func() error {
		l, err := net.Listen("unix", "@nstool-test")
		if err == nil {
			serve(l, "abstract")
		}
		return err
	})
	os.Symlink("/app.sock", filepath.Join(dir, "link"))
	os.Symlink("../../../../../.."+outside, filepath.Join(dir, "out"))
	for path, want := range map[string]string{"/app.sock": "the target", "/link": "the target", "@nstool-test": "abstract", "/out": ""} {
		at, failed := start(t, ns, root, Spec{ToPath: path})
		var got []byte
		c, err := net.Dial("tcp", at.String())
		if err == nil {
			got, err = io.ReadAll(c)
			c.Close()
		}
		if want == "" {
			if e := <-failed; !errors.Is(e, syscall.ENOENT) || len(got) > 0 {
				t.Errorf("%s: %q, %v", path, got, e)
			}
		} else if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

// Each client of a UDP port has a port of its own inside, to which answers go.
func TestUDP(t *testing.T) {
	ns := network(t)
	var server net.PacketConn
	inside(t, ns, func() (err error) {
		server, err = net.ListenPacket("udp", "127.0.0.1:0")
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(fmt.Appendf(nil, "%s from %s", buf[:n], from), from)
			server.WriteTo(nil, from)
		}
	}()
	defer func() {
		server.Close()
		<-done
	}()
	port := netip.MustParseAddrPort(server.LocalAddr().String()).Port()
	at, _ := start(t, ns, nil, Spec{UDP: true, ToPort: port})
	seen := map[string]bool{}
	buf := make([]byte, 1<<16)
	for i := range 20 {
		c, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		for range 2 {
			text := strings.Repeat(fmt.Sprint(i), 20000)
			c.Write([]byte(text))
			n, err := c.Read(buf)
			if err != nil || !strings.HasPrefix(string(buf[:n]), text+" from ") {
				t.Fatalf("%d bytes, %v", n, err)
			}
			seen[string(buf[len(text):n])] = true
			if n, err := c.Read(buf); n != 0 || err != nil {
				t.Errorf("an empty datagram came as %d bytes: %v", n, err)
			}
		}
	}
	if len(seen) != 20 {
		t.Errorf("20 clients came from %d ports", len(seen))
	}

	// Nobody listens: it is told, and the next one that does is found.
	at, failed := start(t, ns, nil, Spec{UDP: true, ToPort: 9})
	c, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x"))
	if err := <-failed; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}

// A client that neither speaks nor hears anything is forgotten, and begins anew
// when it speaks again.
func TestIdle(t *testing.T) {
	ns := network(t)
	var server net.PacketConn
	inside(t, ns, func() (err error) {
		server, err = net.ListenPacket("udp", "127.0.0.1:0")
		return err
	})
	defer server.Close()
	server.SetDeadline(time.Now().Add(20 * time.Second))
	f, err := New(ns)
	if err != nil {
		t.Fatal(err)
	}
	f.idle = time.Second
	at, err := f.Listen(t.Context(), Spec{UDP: true, ToPort: netip.MustParseAddrPort(server.LocalAddr().String()).Port()})
	if err != nil {
		t.Fatal(err)
	}
	defer serve(f)()
	c, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	from := func() net.Addr {
		t.Helper()
		c.Write([]byte("x"))
		_, a, err := server.ReadFrom(make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := from()
	for range 6 { // longer than a second, and all is answers
		time.Sleep(200 * time.Millisecond)
		server.WriteTo([]byte("y"), first)
	}
	if again := from(); again.String() != first.String() {
		t.Errorf("it came from %s, and then from %s", first, again)
	}
	open := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.open)
	}
	for end := time.Now().Add(20 * time.Second); open() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not forgotten")
		}
	}
	from()
}

// The least recently used session goes for a new one.
func TestSessions(t *testing.T) {
	ns := network(t)
	d, err := newDialer(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	all := newSessions()
	client := func(i int) netip.AddrPort { return netip.AddrPortFrom(port.Loopback4, uint16(i)) }
	add := func(i int) []*session {
		s := &session{client: client(i)}
		s.touch()
		return all.add(s, 3)
	}
	for i := range 3 {
		if old := add(i); len(old) != 0 {
			t.Errorf("%d of 3 is too many", i)
		}
	}
	all.of(client(0))
	if old := add(3); len(old) != 1 || old[0].client != client(1) {
		t.Errorf("for the fourth goes %v", old)
	}
	if all.of(client(1)) != nil || all.of(client(0)) == nil || len(all.by) != 3 || all.recent.Len() != 3 {
		t.Errorf("there are %d, %d", len(all.by), all.recent.Len())
	}
}

// A port that is taken is told in one line.
func TestListenError(t *testing.T) {
	ns := network(t)
	f, err := New(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at, err := f.Listen(t.Context(), Spec{ToPort: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Listen(t.Context(), Spec{ToPort: 1, Port: at.Port()})
	if want := fmt.Sprintf("listen on %s: address already in use", at); err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
}
