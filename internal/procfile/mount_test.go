package procfile

import "testing"

func TestParseMount(t *testing.T) {
	for line, want := range map[string]Mount{
		`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: {ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Point: "/mnt2", Type: "ext3", Source: "/dev/root", Options: "rw,noatime", Super: "rw,errors=continue", Shared: "master:1"},
		`1 1 0:1 / / rw - rootfs rootfs rw`:                                              {ID: 1, Parent: 1, Minor: 1, Root: "/", Point: "/", Type: "rootfs", Source: "rootfs", Options: "rw", Super: "rw"},
		`2 1 0:4 net:[1] /a\040b\012c rw shared:1 master:2 - nsfs n\134s rw`:             {ID: 2, Parent: 1, Minor: 4, Root: "net:[1]", Point: "/a b\nc", Type: "nsfs", Source: `n\s`, Options: "rw", Super: "rw", Shared: "shared:1 master:2"},
		``:                                {},
		`2 1 0:4 / /a rw`:                 {},
		`x 1 0:4 / /a rw - a b rw`:        {},
		`2 1 0 / /a rw - a b rw`:          {},
		`2 1 0:99999999999 / /a rw - a b`: {},
		`2 1 0:4 / /a rw - a`:             {},
	} {
		if got, ok := ParseMount(line); got != want || ok != (want.ID != 0) {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`)
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := ParseMount(line); !ok && m != (Mount{}) {
			t.Errorf("%+v", m)
		}
	})
}
