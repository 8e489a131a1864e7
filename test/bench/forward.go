package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
)

// forward measures how much nstool forward carries in a second, beside a
// connection within the namespace.
func (b *bench) forward() error {
	if !strings.Contains("forward", b.only) {
		return nil
	}
	target := exec.Command("unshare", "--net", "--kill-child", "--fork", "sh", "-c", "ip link set lo up && echo up && exec cat")
	_, end, err := stay(target)
	if err != nil {
		return err
	}
	defer end()
	pid, err := childOf(target)
	if err != nil {
		return err
	}
	ns, err := enter.OpenFile("/proc/"+pid+"/ns/net", inspect.Net)
	if err != nil {
		return err
	}
	defer ns.Close()

	var sink net.Listener
	err = enter.Do(context.Background(), func() (err error) {
		sink, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}, ns)
	if err != nil {
		return err
	}
	defer sink.Close()
	received := make(chan int64)
	go func() {
		for {
			conn, err := sink.Accept()
			if err != nil {
				return
			}
			n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 1<<20))
			conn.Close()
			received <- n
		}
	}()
	_, port, err := net.SplitHostPort(sink.Addr().String())
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(b.dir, "nstool"), "forward", pid, "0:"+port)
	cmd.Stderr = os.Stderr
	says, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	line, err := bufio.NewReader(says).ReadString('\n')
	if err != nil {
		return fmt.Errorf("nstool forward: %w", err)
	}
	at, _, _ := strings.Cut(line, " ")

	dials := map[string]func() (net.Conn, error){
		"nstool": func() (net.Conn, error) { return net.Dial("tcp", at) },
		"peer": func() (conn net.Conn, err error) {
			err = enter.Do(context.Background(), func() error {
				conn, err = net.Dial("tcp", sink.Addr().String())
				return err
			}, ns)
			return conn, err
		},
	}
	best := map[string]float64{}
	for range 3 {
		for _, who := range []string{"nstool", "peer"} {
			conn, err := dials[who]()
			if err != nil {
				return err
			}
			rate, err := send(conn, received)
			if err != nil {
				return fmt.Errorf("%s: %w", who, err)
			}
			best[who] = max(best[who], rate)
		}
	}
	fmt.Fprintf(b.out, "  %-22s %7.0f MB/s %7.0f MB/s %7.3f\n", "forward, beside direct", best["nstool"], best["peer"], best["nstool"]/best["peer"])
	return nil
}

// send sends for a second, and returns how many megabytes arrived in one.
func send(conn net.Conn, received <-chan int64) (float64, error) {
	defer conn.Close()
	block := []byte(strings.Repeat("x", 1<<20))
	start := time.Now()
	var sent int64
	for time.Since(start) < time.Second {
		n, err := conn.Write(block)
		if err != nil {
			return 0, err
		}
		sent += int64(n)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	got := <-received
	took := time.Since(start).Seconds()
	if got != sent {
		return 0, fmt.Errorf("%d bytes of %d arrived", got, sent)
	}
	return float64(got) / took / 1e6, nil
}
