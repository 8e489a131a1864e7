package nstest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/kernels"
)

// NeedVar names the environment variable that lists what this machine has:
// "root,userns,docker". A test that is skipped for want of a thing on the list
// fails.
const NeedVar = "NSTOOL_TEST_NEED"

// needs says of each need whether it is met, nil, and if not why not. A name
// that is not here is a program that must be in PATH.
var needs = map[string]func() error{
	"root":       root,
	"user":       ordinaryUser,
	"userns":     userNamespaces,
	"whole":      wholeView,
	"bpf":        kernelTypes,
	"apparmor":   appArmor,
	"fuse":       fuse,
	"docker":     answers("docker", "version"),
	"containerd": answers("ctr", "version"),
	"podman":     asRoot("podman"),
	"lxc":        asRoot("lxc-start"),
	"nspawn":     asRoot("systemd-nspawn"),
	"kubernetes": kubernetes,
}

// ProgramsVar names the environment variable that has the directory of programs
// that are built already, for where there is nothing to build them with.
const ProgramsVar = "NSTOOL_TEST_PROGRAMS"

// Built returns the path of a program of [ProgramsVar], if it is there.
func Built(name string) (path string, ok bool) {
	dir := os.Getenv(ProgramsVar)
	if dir == "" {
		return "", false
	}
	path = filepath.Join(dir, name)
	_, err := os.Stat(path)
	return path, err == nil
}

var (
	lacks   = map[string]error{} // why a need is not met; nil if it is
	skipped = map[string]int{}   // how often a test was skipped for want of it
	needMu  sync.Mutex
)

// Need skips the test unless everything that is named is there: "root" (every
// privilege on this machine), "user" (the lack of them), "userns" (user
// namespaces for ordinary users), "whole" (every process can be read), "docker", "containerd" (daemons that answer),
// "podman", "lxc", "nspawn" (engines without one), "kubernetes" (built, by
// test/kubernetes/build), "fuse", "bpf", "apparmor"
// (active, and its parser), what a newer kernel adds, by its name in package
// kernels, or the name of a program, such as "lsns". A kernel that is new enough
// has to have what it adds.
func Need(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := Lacks(name); err != nil {
			if a, ok := kernels.Find(name); ok {
				SkipUnsupported(t, err, a.Since) // and fails it where it must be there
			}
			skip(t, name, err)
		}
	}
}

// Lacks returns why a need is not met, or nil. See [Need] for the names.
func Lacks(name string) error {
	needMu.Lock()
	defer needMu.Unlock()
	err, known := lacks[name]
	if !known {
		if check := needs[name]; check != nil {
			err = check()
		} else if a, ok := kernels.Find(name); ok {
			err = a.Probe()
		} else {
			_, err = exec.LookPath(name)
		}
		lacks[name] = err
	}
	return err
}

// SkipUnsupported skips the test if err says that the kernel lacks a feature,
// that is if it is an [errors.ErrUnsupported], and fails it if the kernel is of
// version since, or newer, and so must have it. Any other err it leaves alone.
func SkipUnsupported(t testing.TB, err error, since string) {
	t.Helper()
	if !errors.Is(err, errors.ErrUnsupported) {
		return
	}
	have := kernelRelease()
	if older(have, since) {
		skip(t, "kernel "+since, err)
	}
	t.Fatalf("kernel %s should have what came with %s: %v", have, since, err)
}

// skip ends the test, and fails it if the want was said to be met here.
func skip(t testing.TB, name string, why error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(NeedVar), ","), name) {
		t.Fatalf("%s says there is %s here, but: %v", NeedVar, name, why)
	}
	needMu.Lock()
	skipped[name]++
	needMu.Unlock()
	t.Skipf("needs %s: %v", name, why)
}

// skips says what was skipped: "docker (3), root (12)", or nothing.
func skips() string {
	needMu.Lock()
	defer needMu.Unlock()
	var words []string
	for _, name := range slices.Sorted(maps.Keys(skipped)) {
		words = append(words, fmt.Sprintf("%s (%d)", name, skipped[name]))
	}
	return strings.Join(words, ", ")
}

func root() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the user is %d", os.Geteuid())
	}
	// CAP_SYS_ADMIN, and in the initial user namespace: a mount of our own
	// would prove the former only.
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	if f := strings.Fields(string(uidMap)); len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295" {
		return errors.New("in a user namespace")
	}
	return nil
}

// wholeView tries: here and there even root may not look at a process, and in a PID
// namespace of its own nobody sees those outside.
func wholeView() error {
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own != "pid:[4026531836]" {
		return fmt.Errorf("the PID namespace is %s, not the initial one: %w", own, err)
	}
	pids, err := filepath.Glob("/proc/[0-9]*")
	for _, pid := range pids {
		if _, err := os.Readlink(pid + "/ns/net"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return err
}

func kernelTypes() error {
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	return err
}

func appArmor() error {
	on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err == nil && strings.TrimSpace(string(on)) != "Y" {
		err = errors.New("AppArmor is not enabled")
	}
	if err == nil {
		_, err = exec.LookPath("apparmor_parser")
	}
	return err
}

// fuse tries: the file may be there without the module.
func fuse() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func ordinaryUser() error {
	if os.Geteuid() == 0 {
		return errors.New("the user is root")
	}
	return nil
}

// userNamespaces tries: distributions have several switches that forbid it.
func userNamespaces() error {
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	c := exec.Command("true")
	c.SysProcAttr = attr
	if err := c.Run(); err != nil {
		return fmt.Errorf("no user namespaces: %w", err)
	}
	return nil
}

func answers(name string, args ...string) func() error {
	return func() error {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, lastLine(out))
		}
		return nil
	}
}

func kubernetes() error {
	cache, err := os.UserCacheDir()
	if err == nil {
		_, err = os.Stat(filepath.Join(cache, "nstool-kubernetes", "kube"))
	}
	for _, program := range []string{"etcd", "containerd"} {
		if err == nil {
			_, err = exec.LookPath(program)
		}
	}
	return err
}

func asRoot(program string) func() error {
	return func() error {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
		return root()
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(b))
}

// older reports whether kernel release a, such as "6.1.0-32-amd64", is older
// than version b, such as "6.18".
func older(a, b string) bool {
	return slices.Compare(majorMinor(a), majorMinor(b)) < 0
}

func majorMinor(release string) []int {
	parts := strings.SplitN(release, ".", 3)
	numbers := make([]int, 2)
	for i := range min(len(parts), 2) {
		digits := strings.IndexFunc(parts[i]+"-", func(r rune) bool { return r < '0' || r > '9' })
		numbers[i], _ = strconv.Atoi(parts[i][:digits])
	}
	return numbers
}
