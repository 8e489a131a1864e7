package task

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// Caps is a set of capabilities: bit N is capability N of capabilities(7).
type Caps uint64

// CapSets are the capability sets of a task. They apply in its user namespace, and in those
// below.
type CapSets struct {
	Effective, Permitted, Bounding, Inheritable, Ambient Caps
}

// capNames are the names of capabilities(7), by number: include/uapi/linux/capability.h.
var capNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
	"CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
	"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
	"CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// KnownCaps are the capabilities that have names.
const KnownCaps = Caps(1<<len(capNames) - 1)

// Len returns how many capabilities are in the set.
func (c Caps) Len() int { return bits.OnesCount64(uint64(c)) }

// Has reports whether capability n is in the set.
func (c Caps) Has(n int) bool { return c>>n&1 != 0 }

// Names returns the names of the capabilities in the set, such as "CAP_NET_ADMIN", in the
// order of their numbers. A capability that is newer than this program has its number instead.
func (c Caps) Names() []string {
	names := make([]string, 0, c.Len())
	for n := range 64 {
		switch {
		case !c.Has(n):
		case n < len(capNames):
			names = append(names, capNames[n])
		default:
			names = append(names, strconv.Itoa(n))
		}
	}
	return names
}

// ParseCaps reads names of capabilities, in upper or lower case, with or without "CAP_".
func ParseCaps(names []string) (set Caps, err error) {
	for _, word := range names {
		n := slices.Index(capNames[:], "CAP_"+strings.TrimPrefix(strings.ToUpper(word), "CAP_"))
		if n < 0 {
			return 0, fmt.Errorf("no capability %q; capabilities(7) has their names, such as SYS_PTRACE", word)
		}
		set |= 1 << n
	}
	return set, nil
}

// String returns the set as in /proc/pid/status.
func (c Caps) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// Words returns the set in words: "none", "all 41", "all but CAP_MKNOD, CAP_SYSLOG" or a list
// of names. The parameter has the capabilities of the kernel, as [AllCaps].
func (c Caps) Words(all Caps) string {
	switch missing := all &^ c; {
	case c == 0:
		return "none"
	case all != 0 && missing == 0 && c&^all == 0:
		return fmt.Sprintf("all %d", c.Len())
	case all != 0 && c&^all == 0 && missing.Len() <= all.Len()/4:
		return "all but " + strings.Join(missing.Names(), ", ")
	}
	return strings.Join(c.Names(), ", ")
}

// AllCaps returns the capabilities of the kernel, from /proc/sys/kernel/cap_last_cap (Linux
// 3.2), or 0 if they are not known.
func AllCaps() Caps {
	text, err := sys.ReadRegular("/proc/sys/kernel/cap_last_cap", 64)
	if err != nil {
		return 0
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || last < 0 || last > 63 {
		return 0
	}
	return Caps(1<<(last+1) - 1)
}
