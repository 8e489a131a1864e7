package enter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// Do calls f on an operating system thread that has joined the namespaces in files, and returns
// what f returns. The thread ends afterwards, so no other goroutine ever runs in them.
//
// A connection made by f stays in its network namespace, so this dials a port
// inside another one:
//
//	ns, err := enter.OpenFile("/run/netns/blue", inspect.Net)
//	if err != nil {
//		return err
//	}
//	defer ns.Close()
//	var conn net.Conn
//	err = enter.Do(ctx, func() (err error) {
//		conn, err = net.Dial("tcp", "127.0.0.1:80")
//		return err
//	}, ns)
//
// Goroutines that f starts run outside. The dialer of package net starts some for a host name
// with several addresses, so dial addresses.
//
// Namespaces of type PID, user and time cannot be joined by a thread of a Go program: the error
// is an [errors.ErrUnsupported], and f is not called. The caller needs CAP_SYS_ADMIN in the
// user namespaces that own the namespaces and in its own, and for mount namespaces also
// CAP_SYS_CHROOT. When ctx is done before f returns, Do does not wait any longer.
func Do(ctx context.Context, f func() error, files ...*os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	joins := make([]joinable, 0, len(files))
	for _, file := range files {
		fd := int(file.Fd())
		t, err := typeOf(fd)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		switch t {
		case inspect.PID, inspect.User, inspect.Time:
			return fmt.Errorf("join the %s namespace %s on a thread: %w", t, file.Name(), errors.ErrUnsupported)
		}
		id, err := sys.Fstat(fd)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		joins = append(joins, joinable{typ: t, fd: fd, id: inspect.ID(id), of: " by " + file.Name()})
	}

	ending := sys.StartThread(func() error {
		if err := joinHere(joins); err != nil {
			return err
		}
		return f()
	})
	select {
	case e := <-ending:
		runtime.KeepAlive(files)
		return e.Result()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// joinHere has the calling thread join namespaces, and checks that it is in them.
func joinHere(joins []joinable) error {
	self, err := sys.OpenProcess(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer self.Close()
	p := &plan{}
	for _, j := range joins {
		p.add(Step{
			Op: Join, Type: j.typ, ID: j.id, Text: "join the " + j.String(),
			calls: func(x *sys.Script) {
				if j.typ == inspect.Mnt {
					x.Unshare(sys.CloneFS)
				}
				x.Setns(j.fd, j.typ.Flag())
				x.Verify(self.Proc, "thread-self/ns/"+j.typ.String(), inspect.FormatLink(j.typ, j.id.Ino))
			},
		})
	}
	x := sys.NewScript()
	x.Here()
	for n, step := range p.steps {
		x.Step(n)
		step.calls(x)
	}
	i, err := x.RunHere()
	if err != nil {
		return p.failed(x, i, err)
	}
	return nil
}
