package procfile

import (
	"testing"
)

const statTail = " S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 2097152 100 18446744073709551615 1 1 0 0 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	for _, comm := range []string{
		"sh", "", "(sd-pam)", "a) S 1 (b", "new\nline", "kworker/0:1-events", ") R 9 9 9", "\x1b[31m", "\xff\xfe", "a b c",
	} {
		d, err := ParseStat([]byte("42 (" + comm + ")" + statTail))
		if err != nil || d.Comm != comm || d.PPID != 7 || d.State != 'S' || d.Threads != 1 || d.Flags != 4194560 || d.Start != 123456 {
			t.Errorf("comm %q: %+v, %v", comm, d, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (sh", "42 sh) S 1", "42 (sh)", "42 (sh) S", "42 (sh) SS" + statTail[2:], "42 (sh) S x" + statTail[4:], ")42("} {
		if d, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, d)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (sh)"+statTail, "comm")
	f.Add("42 (a) b) "+statTail, "\n)")
	f.Fuzz(func(t *testing.T, stat, comm string) {
		_, _ = ParseStat([]byte(stat))
		if d, err := ParseStat([]byte("1 (" + comm + ")" + statTail)); err != nil || d.Comm != comm {
			t.Errorf("comm %q: %+v, %v", comm, d, err)
		}
	})
}
