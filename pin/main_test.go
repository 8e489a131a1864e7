package pin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// The tests run in a mount namespace of their own, and as an ordinary user in a
// user namespace too: the test binary starts itself there.
const (
	insideVar = "PIN_TEST_INSIDE"
	actVar    = "PIN_TEST_ACT"
)

func TestMain(m *testing.M) {
	if act := os.Getenv(actVar); act != "" {
		os.Exit(actor(strings.Split(act, "\n")))
	}
	if os.Getenv(insideVar) == "" && os.Getenv("NSTEST_CHILD") == "" {
		os.Exit(inside())
	}
	if os.Getenv(insideVar) != "" {
		os.Unsetenv(insideVar)
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "make / private:", err)
			os.Exit(1)
		}
	}
	nstest.Main(m)
}

func inside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = ownMounts()
	if err := nstest.OneCPU(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		if nstest.Lacks("userns") != nil && os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "skipped: no user namespaces for ordinary users")
			return 0
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// ownMounts is for a process with a mount namespace of its own.
func ownMounts() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

func TestAsUser(t *testing.T) {
	if !initialUser() {
		t.Skip("this is the ordinary user's run")
	}
	nstest.AsUser(t)
}

// initialUser reports whether we are root, and not of a user namespace.
func initialUser() bool { return nstest.Lacks("root") == nil }

// An actor is a process that does one thing to a store, and is killed, or
// refused, at the call with the number that it is given. The words are: the
// number, the error ("kill" or an errno), the directory of the store, that of
// ip-netns, the verb, a name, and files.
func actor(words []string) int {
	at, _ := strconv.Atoi(words[0])
	n := 0
	var refused string
	sys.Fault = func(call string) error {
		if n++; n != at {
			return nil
		}
		refused = call
		if words[1] == "kill" {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		errno, _ := strconv.Atoi(words[1])
		return syscall.Errno(errno)
	}
	s := &Store{Dir: words[2], Netns: words[3]}
	ctx, verb, name, rest := context.Background(), words[4], words[5], words[6:]
	var err error
	switch verb {
	case "remove":
		var types []inspect.Type
		for _, word := range rest {
			t, e := inspect.ParseType(word)
			err = errors.Join(err, e)
			types = append(types, t)
		}
		if err == nil {
			err = s.Remove(ctx, name, types...)
		}
	default:
		var files []*os.File
		for _, path := range rest {
			f, e := os.Open(path)
			err = errors.Join(err, e)
			files = append(files, f)
		}
		var opts []Option
		if strings.Contains(verb, "replace") {
			opts = append(opts, Replace())
		}
		if strings.Contains(verb, "netns") {
			opts = append(opts, InNetns())
		}
		if err == nil {
			err = s.Add(ctx, name, files, opts...)
		}
	}
	if err != nil {
		fmt.Print(err)
		if errors.Is(err, os.ErrExist) {
			return 4
		}
		if errors.Is(err, os.ErrNotExist) {
			return 5
		}
		return 3
	}
	if refused != "" {
		fmt.Printf("did not mind that %s was refused", refused)
	}
	return 0
}

// act starts an actor.
func act(s *Store, at int, how string, words ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	words = append([]string{strconv.Itoa(at), how, s.Dir, s.Netns}, words...)
	cmd.Env = append(os.Environ(), actVar+"="+strings.Join(words, "\n"))
	return cmd
}
