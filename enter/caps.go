package enter

import (
	"fmt"
	"strconv"
	"strings"
)

// capNames are the names of capabilities(7), by number.
var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// ParseCaps reads names of capabilities, with or without "CAP_" before them.
func ParseCaps(names []string) (set Caps, err error) {
	for _, word := range names {
		name := strings.TrimPrefix(strings.ToUpper(word), "CAP_")
		n := -1
		for i, known := range capNames {
			if name == known {
				n = i
			}
		}
		if n < 0 {
			return 0, fmt.Errorf("no capability %q; capabilities(7) has their names, such as SYS_PTRACE", word)
		}
		set |= 1 << n
	}
	return set, nil
}

// Names returns the names of the capabilities in the set: "CAP_SYS_PTRACE".
func (c Caps) Names() (names []string) {
	for n := range capLast + 1 {
		switch {
		case !c.Has(n):
		case n < len(capNames):
			names = append(names, "CAP_"+capNames[n])
		default:
			names = append(names, "capability "+strconv.Itoa(n))
		}
	}
	return names
}

// A CapsError says that the caller does not have the capabilities that a
// program was to have beside those of the target.
type CapsError struct{ Missing Caps }

func (e *CapsError) Error() string {
	return "cannot add " + strings.Join(e.Missing.Names(), ", ") + ": nstool itself does not have it"
}
