package sys

import "golang.org/x/sys/unix"

const elfMachine = 62 // EM_X86_64

// AuditArch is this architecture in seccomp filters: AUDIT_ARCH_* of <linux/audit.h>.
const AuditArch = unix.AUDIT_ARCH_X86_64

// ExecveCall is the number of execve(2).
const ExecveCall = unix.SYS_EXECVE
