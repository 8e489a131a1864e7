package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// someUser is the ordinary user who is the attacker.
const someUser = 1000

// grab is a program of the container's that leaves a set-user-ID root shell on a
// volume, and tells whether it could.
const grab = `#!/bin/busybox sh
cp /bin/busybox /vol/sh && chown 0:0 /vol/sh && chmod 4755 /vol/sh
exec /bin/busybox id
`

// In a container whose program is an ordinary user, what that user may change is
// found first: his PATH, and his ls. It must not be run as root for that.
func TestProgramOfTheUsers(t *testing.T) {
	for name, flags := range map[string][]string{"files": nil, "tools": {"--tools"}} {
		t.Run(name, func(t *testing.T) {
			attack{nsenter, func(t *testing.T, by entrant) string {
				var volume string
				c := newCage(t, func(root string) {
					volume = filepath.Join(root, "vol")
					mustWrite(t, filepath.Join(root, "home/ls"), grab, 0o755)
					if err := os.Mkdir(volume, 0o777); err != nil {
						t.Fatal(err)
					}
					if err := os.Chmod(volume, 0o777); err != nil { //nolint:gosec // a volume that everybody may write to
						t.Fatal(err)
					}
				}, []string{"-c", capsDefault, "-i", strconv.Itoa(someUser)}, "/bin/attack", "sleep")
				if by.name == nstool.name {
					by.words = append([]string{"nstool", "enter", "-p", "PID"}, append(flags, "--")...)
				}
				out, err := command(t, by.expand(t, c, "/home/ls")...).CombinedOutput()
				t.Logf("%v: %s", err, out)
				st, err := os.Stat(filepath.Join(volume, "sh"))
				if err != nil || st.Mode()&os.ModeSetuid == 0 || st.Sys().(*syscall.Stat_t).Uid != 0 {
					return ""
				}
				return fmt.Sprintf("%v of root on the volume", st.Mode())
			}}.run(t)
		})
	}
}

// Who the program is in a container of an ordinary user, by each way in.
func TestWhoItIs(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox")
	for _, tc := range []struct {
		name    string
		options []string // of the cage
		flags   string   // of nstool
		ids     string   // uid, euid, gid, egid
		caps    string   // permitted
		bound   string
	}{
		{"root", nil, "", "0 0 0 0", "00000000a80425fb", "00000000a80425fb"},
		{"user", []string{"-i", "1000"}, "", "1000 1000 1000 1000", "0000000000000000", "00000000a80425fb"},
		{"user, no_new_privs", []string{"-i", "1000", "-n", "-s"}, "", "1000 1000 1000 1000", "0000000000000000", "00000000a80425fb"},
		{"root of a user's", []string{"-i", "1000"}, "--as root", "0 0 0 0", "00000000a80425fb", "00000000a80425fb"},
		{"root of a user's, no_new_privs", []string{"-i", "1000", "-n", "-s"}, "--as root", "0 0 0 0", "00000000a80425fb", "00000000a80425fb"},
		{"another", nil, "-S 5", "5 5 0 0", "0000000000000000", "00000000a80425fb"},
		{"another, with a group", nil, "-S 5 -G 6", "5 5 6 6", "0000000000000000", "00000000a80425fb"},
		{"group", []string{"-i", "1000"}, "-G 6", "1000 1000 6 6", "0000000000000000", "00000000a80425fb"},
		{"capability", []string{"-i", "1000"}, "--cap-add SYS_PTRACE", "1000 1000 1000 1000", "0000000000080000", "00000000a80c25fb"},
		{"user namespace", []string{"-u", "rooted"}, "", "0 0 0 0", "00000000a80425fb", "00000000a80425fb"},
		{"user in a user namespace", []string{"-u", "rooted", "-i", "1000"}, "", "1000 1000 1000 1000", "0000000000000000", "00000000a80425fb"},
		{"root of a user's in a user namespace", []string{"-u", "rooted", "-i", "1000"}, "--as root", "0 0 0 0", "00000000a80425fb", "00000000a80425fb"},
		{"a user namespace without root", []string{"-u", "rootless"}, "", "1000 1000 1000 1000", "0000000000000000", "00000000a80425fb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCage(t, nil, append([]string{"-c", capsDefault}, tc.options...), "/bin/attack", "sleep")
			by := entrant{name: "nstool", words: append(append([]string{"nstool", "enter", "-p", "PID"}, strings.Fields(tc.flags)...), "--")}
			text := facts(t, by, c)
			if ids := fact(t, text, "ids "); ids != tc.ids {
				t.Errorf("ids %s, not %s", ids, tc.ids)
			}
			if groups := fact(t, text, "groups"); groups != "" {
				t.Errorf("groups %s", groups)
			}
			for key, want := range map[string]string{"CapPrm:": tc.caps, "CapEff:": tc.caps, "CapBnd:": tc.bound} {
				if got := fact(t, text, key); got != want {
					t.Errorf("%s %s, not %s", key, got, want)
				}
			}
		})
	}
}

// asUser starts a program as the attacker and returns its PID when it has said
// something.
func asUser(t *testing.T, groups []uint32, words ...string) int {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: someUser, Gid: someUser, Groups: groups}, Pdeathsig: syscall.SIGKILL}
	cmd.Dir = "/"
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() //nolint:errcheck // it has ended
		_ = cmd.Wait()         //nolint:errcheck // it was killed
	})
	if _, err := out.Read(make([]byte, 32)); err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return cmd.Process.Pid
}

// users are user namespaces that an ordinary user can make.
var users = map[string]string{
	"root":    "unshare -Ur",
	"without": "unshare -U",
	"denied":  "unshare -U --setgroups deny",
}

// Whoever owns a user namespace may trace what runs there: it has nothing of the
// caller's, also if it is one of the caller's programs. Nobody in there is the
// caller, whom the user namespace does not have.
func TestUserNamespaceOfAnother(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "userns", "nsenter", "setpriv", "unshare")
	secret := filepath.Join(nstest.Dir(t), "private")
	if err := os.Mkdir(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, maker := range users {
		for way, flags := range map[string]string{
			"all": "", "-U": "-U -n", "preserved": "-U -n --preserve-credentials", "file": "FILE", "from": "--user=PID", "privileged": "-U --privileged", "root": "-U --as root",
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				attack{nsenter, func(t *testing.T, by entrant) string {
					pid := asUser(t, []uint32{24}, append(strings.Fields(maker), "/bin/busybox", "sh", "-c", "echo ready; exec /bin/busybox sleep 100")...)
					words := []string{"nsenter", "-t", strconv.Itoa(pid), "-U", "--preserve-credentials"}
					if by.name == nstool.name {
						flags := strings.ReplaceAll(flags, "PID", strconv.Itoa(pid))
						words = append([]string{program(t, "nstool"), "enter", "-p", strconv.Itoa(pid)}, strings.Fields(flags)...)
						switch flags {
						case "FILE":
							words = []string{program(t, "nstool"), "enter", fmt.Sprintf("--user=/proc/%d/ns/user", pid)}
						case "--user=" + strconv.Itoa(pid):
							words = []string{program(t, "nstool"), "enter", flags}
						}
					}
					// The operator has a secret in his environment, groups, and is
					// in a directory of his own. As what a process is outside it is
					// traced and read.
					look := fmt.Sprintf(`[ -z "$SECRET" ] || echo environment; [ "$(pwd)" != %s ] || echo directory; echo ready; exec /bin/busybox sleep 100`, secret)
					cmd := command(t, append([]string{program(t, "attack"), "sloppy"}, append(words, "/bin/busybox", "sh", "-c", look)...)...)
					cmd.Env = append(os.Environ(), "SECRET=hunter2")
					cmd.Dir = secret
					out, err := cmd.StdoutPipe()
					if err != nil {
						t.Fatal(err)
					}
					var errs strings.Builder
					cmd.Stderr = &errs
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					defer func() {
						_ = cmd.Process.Kill() //nolint:errcheck // it has ended
						_ = cmd.Wait()         //nolint:errcheck // it is killed
					}()
					said := ""
					for buf := make([]byte, 4096); !strings.Contains(said, "ready"); {
						n, err := out.Read(buf)
						if said += string(buf[:n]); err != nil {
							break
						}
					}
					if !strings.Contains(said, "ready") {
						_ = cmd.Wait() //nolint:errcheck // it was refused
						t.Logf("refused: %s", errs.String())
						if errs.Len() == 0 {
							t.Error("without a word")
						}
						return ""
					}
					won := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(said), "ready"))
					inside := cmd.Process.Pid
					if by.name == nstool.name {
						inside = childOf(t, inside)
					}
					status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", inside))
					if err != nil {
						t.Fatal(err)
					}
					if uid := strings.Fields(fact(t, string(status), "Uid:")); uid[0] != strconv.Itoa(someUser) || uid[3] != uid[0] {
						won += fmt.Sprintf(" uid %v of the host", uid)
					}
					if gid := strings.Fields(fact(t, string(status), "Gid:")); gid[0] != strconv.Itoa(someUser) {
						won += fmt.Sprintf(" gid %v of the host", gid)
					}
					for _, g := range strings.Fields(fact(t, string(status), "Groups:")) {
						if g == "4" || g == "27" {
							won += " group " + g
						}
					}
					// By descriptors it has the files of the operator.
					for _, fd := range []string{"1", "7"} {
						if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", inside, fd)); err == nil && !strings.HasPrefix(to, "pipe:") {
							won += " descriptor " + to
						}
					}
					return strings.TrimSpace(won)
				}}.run(t)
			})
		}
	}
}

// What the target's user has put into its environment and home directory is not
// run by a shell with the rights of another.
func TestEnvironmentOfAnother(t *testing.T) {
	tell := "echo $(id -u) >>/tmp/loot\n"
	control := entrant{name: "nsenter", words: []string{"nsenter", "-t", "PID", "-a", "/bin/busybox", "env", "-i", "HOME=/home", "ENV=/home/env", "PATH=/home:/bin"}}
	for name, flags := range map[string]string{"root": "--as root", "uid": "-S 0", "kept": "--preserve-credentials", "more": "--cap-add NET_RAW", "privileged": "--privileged", "adds": "--as root --env=TERM", "tools": "--tools", "tools of root": "--tools --as root"} {
		t.Run(name, func(t *testing.T) {
			attack{control, func(t *testing.T, by entrant) string {
				c := newCage(t, func(root string) {
					for _, file := range []string{"home/.profile", "home/env", "home/.bashrc", "home/.ashrc"} {
						mustWrite(t, filepath.Join(root, file), tell, 0o644)
					}
					mustWrite(t, filepath.Join(root, "home/id"), "#!/bin/busybox sh\n/bin/busybox id >>/tmp/loot\n", 0o755)
				}, []string{"-c", capsDefault, "-i", strconv.Itoa(someUser)}, "/bin/busybox", "env", "HOME=/home", "ENV=/home/env", "BASH_ENV=/home/env", "PATH=/home:/bin",
					"BASH_FUNC_id%%=() { "+tell+"}", "LD_PRELOAD=/home/evil.so", "LD_LIBRARY_PATH=/home", "/bin/attack", "sleep")
				words := []string{}
				if by.name == nstool.name {
					by.words = append(append([]string{"nstool", "enter", "-p", "PID"}, strings.Fields(flags)...), "--")
				} else {
					words = []string{"/bin/busybox", "sh", "-l"}
				}
				for _, words := range [][]string{words, {"/bin/busybox", "sh", "-lic", "id"}, {"sh", "-c", "id"}} {
					cmd := command(t, by.expand(t, c, words...)...)
					cmd.Stdin = strings.NewReader("id\nexit\n")
					out, err := cmd.CombinedOutput()
					t.Logf("%v: %v: %.300s", words, err, out)
				}
				env := command(t, by.expand(t, c, "/bin/busybox", "env")...)
				out, err := env.Output()
				if err != nil && !strings.HasPrefix(name, "tools") {
					t.Errorf("%v: %v", env, err)
				}
				for _, variable := range []string{"LD_PRELOAD", "ENV", "BASH_ENV", "BASH_FUNC_id%%"} {
					if strings.Contains("\n"+string(out), "\n"+variable+"=") {
						return "the program has " + variable
					}
				}
				return c.loot()
			}}.run(t)
		})
	}
}

// A service of an ordinary user's has all capabilities in its bounding set, and its
// files are those of the host: who enters it is that user, and has none.
func TestServiceOfAUser(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		cmd := command(t, "unshare", "-m", "setpriv", "--reuid", strconv.Itoa(someUser), "--regid", strconv.Itoa(someUser), "--groups", "24", "/bin/busybox", "sh", "-c", "echo ready; exec /bin/busybox sleep 100")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill() //nolint:errcheck // it has not ended
			_ = cmd.Wait()         //nolint:errcheck // it was killed
		}()
		if _, err := out.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		text := output(t, command(t, by.expand(t, &cage{pid: cmd.Process.Pid}, program(t, "attack"), "facts")...))
		if ids, caps, groups := fact(t, text, "ids "), fact(t, text, "CapEff:"), fact(t, text, "groups"); ids != "1000 1000 1000 1000" || caps != "0000000000000000" || groups != "24" {
			return fmt.Sprintf("ids %s, capabilities %s, groups %s", ids, caps, groups)
		}
		return ""
	}}.run(t)
}
