package doctor

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStatus(t *testing.T) {
	c, err := parseStatus([]byte("Name:\tSeccomp:\t9\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"))
	if err != nil || c != (Confinement{Bounding: 0xa80425fb, Seccomp: 2}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, text := range []string{"", "Seccomp:\t2\n", "CapBnd:\tx\n", "CapBnd:\t1\nSeccomp:\tx\n"} {
		if c, err := parseStatus([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("CapBnd:\t00000000a80425fb\nSeccomp:\t2\n"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parseStatus(text) })
}

func TestUnit(t *testing.T) {
	for cgroup, want := range map[string]string{
		"/system.slice/docker.service":                                      "docker.service",
		"/system.slice/system-getty.slice/getty@tty1.service":               "getty@tty1.service",
		"/system.slice/docker.service/sub":                                  "docker.service",
		"/system.slice/docker-0a1b.scope":                                   "",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service": "",
		"/": "", "": "",
	} {
		if got := unit(cgroup); got != want {
			t.Errorf("unit(%s) = %q, not %q", cgroup, got, want)
		}
	}
}

func TestDockerRoot(t *testing.T) {
	config := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(config, []byte(`{"data-root":"/srv/docker"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	none := "--config-file=" + config + ".none"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"dockerd", none}, "/var/lib/docker"},
		{[]string{"dockerd", "--data-root", "/d", none}, "/d"},
		{[]string{"dockerd", "--data-root=/d", "--config-file", config}, "/d"},
		{[]string{"dockerd", "--config-file", config}, "/srv/docker"},
		{[]string{"dockerd", none, "--data-root"}, "/var/lib/docker"},
	} {
		if got := dockerRoot(c.args); got != c.want {
			t.Errorf("dockerRoot(%q) = %s, not %s", c.args, got, c.want)
		}
	}
}

func TestLastChange(t *testing.T) {
	root := t.TempDir()
	if last, err := lastChange(root); err != nil || !last.IsZero() {
		t.Error(last)
	}
	dir := filepath.Join(root, "containers", "a")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := os.Chtimes(dir, want, want); err != nil {
		t.Fatal(err)
	}
	if last, err := lastChange(root); err != nil || !last.Equal(want) {
		t.Error(last)
	}
}
