package nstest

import (
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// forkExec starts cmd by a plain fork(2) on the calling thread, with the files
// that this process has. Before Linux 5.19 one that has another time namespace
// for its children may not start them as Go does, sharing its memory.
//
// Between fork and exec the child is a Go program with one thread, which must do
// nothing but system calls; signals wait until it is another program.
func forkExec(cmd *exec.Cmd) (pid int, err error) {
	path, err := syscall.BytePtrFromString(cmd.Path)
	if err != nil {
		return 0, err
	}
	argv, err := syscall.SlicePtrFromStrings(cmd.Args)
	if err != nil {
		return 0, err
	}
	envv, err := syscall.SlicePtrFromStrings(cmd.Env)
	if err != nil {
		return 0, err
	}
	for fd := range uintptr(reportFD + 1) {
		syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_SETFD, 0)
	}
	all, old := ^uint64(0), uint64(0)
	mask := func(set *uint64, old *uint64) {
		syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2 /* SIG_SETMASK */, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(all), 0, 0)
	}
	flags := cmd.SysProcAttr.Cloneflags | uintptr(syscall.SIGCHLD)
	mask(&all, &old)
	child, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if child == 0 && errno == 0 {
		syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&old)), 0, unsafe.Sizeof(old), 0, 0)
		syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 127, 0, 0)
	}
	mask(&old, nil)
	if errno != 0 {
		return 0, os.NewSyscallError("clone", errno)
	}
	return int(child), nil
}
