package sys

import "golang.org/x/sys/unix"

const elfMachine = 183 // EM_AARCH64

// AuditArch is this architecture in seccomp filters: AUDIT_ARCH_* of <linux/audit.h>.
const AuditArch = unix.AUDIT_ARCH_AARCH64

// ExecveCall is the number of execve(2).
const ExecveCall = unix.SYS_EXECVE
