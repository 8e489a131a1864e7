package entry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/target"
)

// terms returns what must be true of process p before it is the container that was found by its
// name, or nil if it was not found by a name.
func terms(found target.Found, p *inspect.Process) (*enter.Expected, error) {
	i := slices.IndexFunc(found.Match.Containers, func(c *container.Container) bool { return c.Init == p.PID })
	if i < 0 {
		return nil, nil
	}
	c, set := found.Match.Containers[i], found.Containers
	conf, err := set.Config(c)
	if err != nil {
		return nil, fmt.Errorf("whether %s runs: %w", c, err)
	}
	t := &enter.Expected{
		Name: c.String(), Created: conf.State == container.StateCreated, PID: conf.PID,
		Seccomp: conf.Seccomp, NoNewPrivs: conf.NoNewPrivs, Env: conf.Env,
		Stateless: conf.State == container.StateUnknown,
		HasRoot:   func(dev, ino uint64) bool { return set.HasRoot(c, conf, dev, ino) },
	}
	if conf.User != nil {
		t.UID = &conf.User.UID
	}
	if conf.Runtime != "" && conf.Caps != nil {
		bounding := enter.CapsNamed(conf.Caps.Bounding)
		t.Bounding = &bounding
	}
	return t, nil
}

// Started returns a [*enter.StartingError] if a process is the first one of a container that was
// found by its name and is not ready. If that is not known, it returns nil.
func Started(at target.Found, p *inspect.Process) error {
	found, err := openSeen(target.Ref{}, at, p)
	if starting, ok := errors.AsType[*enter.StartingError](err); ok {
		return starting
	}
	if err == nil {
		found.Close()
	}
	return nil
}

// other returns a hint if the first process of a container that was found by its name has another
// user than its engine starts programs with. It is "" if the users are the same, or not known.
func (f *Found) other() string {
	if f.terms == nil || f.terms.UID == nil || f.Process == nil {
		return ""
	}
	id, err := f.Process.Identity()
	if err != nil {
		return ""
	}
	uid, _, ok := id.Inside(id.UID, id.GID)
	configured := *f.terms.UID
	if !ok || uid == configured {
		return ""
	}
	flag := "-S " + strconv.FormatUint(uint64(configured), 10)
	if configured == 0 {
		flag = "--as root"
	}
	return fmt.Sprintf("the first process of %s has become user %d; its engine starts programs as user %d, as %s does", f.terms.Name, uid, configured, flag)
}

// Forever is the wait without a limit.
const Forever = time.Duration(1<<63 - 1)

// ParseWait reads a time to wait: "30s", "30", or "forever".
func ParseWait(s string) (time.Duration, error) {
	if s == "forever" {
		return Forever, nil
	}
	d, err := time.ParseDuration(s)
	if n, e := strconv.ParseUint(s, 10, 31); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 {
		return 0, errors.New("a time is written 30s, 5m or 1h")
	}
	return d, nil
}

// Await calls find until the target exists and is ready, for at most limit.
func Await[T any](ctx context.Context, limit time.Duration, find func() (T, error)) (T, error) {
	for begin := time.Now(); ; {
		before := time.Now()
		found, err := find()
		if err == nil || !Awaited(err) || time.Since(begin) >= limit {
			return found, err
		}
		// A fifth of the time is for looking.
		pause := min(max(4*time.Since(before), 5*time.Millisecond), 200*time.Millisecond, limit-time.Since(begin))
		select {
		case <-ctx.Done():
			return found, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Awaited reports whether an error says that a target does not exist or is not ready.
func Awaited(err error) bool {
	_, starting := errors.AsType[*enter.StartingError](err)
	return starting || errors.Is(err, fs.ErrNotExist) || errors.Is(err, inspect.ErrGone)
}
