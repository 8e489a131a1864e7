// Package nstest makes systems to test on, real and made-up.
//
// Every test binary that uses it starts with
//
//	func TestMain(m *testing.M) { nstest.Main(m) }
//
// which runs the tests and then fails them if they left something behind: a
// process, a mount, a descriptor or a goroutine.
//
// # What a test needs
//
// A test says what it cannot do without:
//
//	nstest.Need(t, "root", "docker")
//
// Without it the test is skipped, and the skip is counted. NSTOOL_TEST_NEED
// lists what this machine is known to have: there a skip is a failure, so that
// no run is green because everything was skipped. [SkipUnsupported] does the
// same for kernel features.
//
// [AsUser] runs the tests of a package again as an ordinary user, from the same
// binary; one `go test ./...` by root covers both.
//
// # Real namespaces
//
// [Sandbox] starts a process in namespaces of its own, of any type, and says
// which they are:
//
//	box := nstest.Sandbox(t, "user", "net")
//	fmt.Println(box.PID, box.Ino["net"])
//
// A [Spec] asks for more: a sandbox of an ordinary user, a file system of its
// own, a thread that left, namespaces that only a descriptor, a socket or a
// bind mount holds. The process is the test binary itself, run again. It is
// ready when Sandbox returns and exits when its standard input is closed, so
// nothing sleeps, and nothing outlives a test that was killed.
//
// # Made-up systems
//
// [Proc] turns text into a directory that looks like /proc.
package nstest
