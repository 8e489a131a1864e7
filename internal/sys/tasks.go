package sys

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Task is what the kernel says of a thread: the inode numbers of its
// namespaces, 0 for none.
type Task struct {
	TID, PID int32 // they are the same for the one that the process is named for
	Threads  int32 // of the process
	NS       [len(TaskFlags)]uint32
	// Owner and NSID are the user namespaces that own the first of NS, and their
	// identifiers, see [Owner] and [NamespaceID].
	Owner [len(proxyFields)]uint32
	// PIDForChildren and TimeForChildren are where new children will be.
	PIDForChildren, TimeForChildren uint32
	_                               uint32
	NSID                            [len(proxyFields)]uint64
}

// TaskFlags are the CLONE_NEW* flags of the types of the namespaces in
// [Task.NS].
var TaskFlags = [8]int{
	CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWTIME, CLONE_NEWUTS, CLONE_NEWPID, CLONE_NEWUSER,
}

// proxyFields are the fields of struct nsproxy for the first of TaskFlags.
var proxyFields = [...]string{"cgroup_ns", "ipc_ns", "net_ns", "mnt_ns", "time_ns", "uts_ns"}

const (
	taskPID  = len(proxyFields) // the places in Task.NS of those that are found elsewhere
	taskUser = taskPID + 1
)

// A TaskFile is a descriptor that holds a namespace.
type TaskFile struct {
	TID, PID, FD int32 // TID is not PID if the thread has a table of its own
	// Flag is the CLONE_NEW* flag of the type of the namespace if the file is
	// one. It is 0 if it is a socket of another network namespace than the
	// thread is in.
	Flag uint32
	Ino  uint32
	_    uint32
}

// ReadTasks calls task for every process, and for those of its other threads
// that are in other namespaces than the one that the process is named for; and
// file for every descriptor that is a namespace, or a socket of a network
// namespace that its thread is not in. Either may be nil, and is not called by
// several goroutines at once. The numbers are those of the initial PID namespace
// if the caller is in it, and the order is none.
//
// It has BPF programs go through the tasks, which takes a tenth of the time that
// reading /proc does. It needs CAP_BPF and CAP_PERFMON in the initial user
// namespace (before Linux 5.8 CAP_SYS_ADMIN), Linux 5.8, and a kernel that
// describes its types (CONFIG_DEBUG_INFO_BTF). Whatever it lacks is an error,
// also after some calls.
func ReadTasks(task func(*Task), file func(*TaskFile)) error {
	if err := canIter(); err != nil {
		return err
	}
	const tasks, files, socket = 0, 1, 2
	roots := []btfRoot{tasks: {btfFunc, "bpf_iter_task"}, files: {btfFunc, "bpf_iter_task_file"}, socket: {btfStruct, "socket"}}
	var taskCode, fileCode []bpfInsn
	var ids []uint32
	err := kernelBTF(roots, func(k *btf) (err error) {
		ids = k.found
		if taskCode, err = taskProgram(k, ids[tasks]); err != nil {
			return err
		}
		fileCode, err = fileProgram(k, ids[files], ids[socket])
		return err
	})
	if err != nil {
		return err
	}
	var (
		errs [2]error
		done sync.WaitGroup
	)
	if task != nil {
		done.Go(func() {
			errs[0] = readIter(taskCode, ids[tasks], int(unsafe.Sizeof(Task{})), func(records []byte) {
				for _, t := range unsafe.Slice((*Task)(unsafe.Pointer(unsafe.SliceData(records))), len(records)/int(unsafe.Sizeof(Task{}))) {
					task(&t)
				}
			})
		})
	}
	if file != nil {
		done.Go(func() {
			errs[1] = readIter(fileCode, ids[files], int(unsafe.Sizeof(TaskFile{})), func(records []byte) {
				for _, f := range unsafe.Slice((*TaskFile)(unsafe.Pointer(unsafe.SliceData(records))), len(records)/int(unsafe.Sizeof(TaskFile{}))) {
					file(&f)
				}
			})
		})
	}
	done.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// taskProgram writes the program that makes a [Task] of a task.
func taskProgram(k *btf, iter uint32) ([]bpfInsn, error) {
	const (
		record = -int(unsafe.Sizeof(Task{})) // on the stack
		ns     = record + int(unsafe.Offsetof(Task{}.NS))
		tmp    = record - 8
	)
	a := &assembler{btf: k}
	a.mov(r6, r1)
	task := a.arg(r7, r6, iter, 1)
	proxy := a.target(a.load(r9, r7, task, "nsproxy"))
	a.clear(record)
	a.copy(record+int(unsafe.Offsetof(Task{}.TID)), r7, task, "pid")
	a.copy(record+int(unsafe.Offsetof(Task{}.PID)), r7, task, "tgid")
	// Threads have the user namespace of their process, and its PID namespace,
	// see clone(2): they differ in what their nsproxy says, or not at all.
	a.load(r1, r7, task, "pid")
	a.load(r2, r7, task, "tgid")
	a.skipIfSame(r1, r2, func() {
		a.mov(r8, r7)
		a.follow(r8, task, "group_leader", tmp)
		a.follow(r8, task, "nsproxy", tmp)
		a.endIfSame(r8, r9)
	})
	a.skipIf(r9, 0, func() { // a zombie has none
		for i, field := range proxyFields {
			space := a.target(a.load(r1, r9, proxy, field))
			a.skipIf(r1, 0, func() {
				a.copy(ns+4*i, r1, space, "ns.inum")
				if _, _, err := k.member(space, "ns.ns_id"); err == nil { // Linux 6.18
					a.copy(record+int(unsafe.Offsetof(Task{}.NSID))+8*i, r1, space, "ns.ns_id")
				}
				user := a.target(a.load(r1, r1, space, "user_ns"))
				a.skipIf(r1, 0, func() { a.copy(record+int(unsafe.Offsetof(Task{}.Owner))+4*i, r1, user, "ns.inum") })
			})
		}
		kids := a.target(a.load(r1, r9, proxy, "time_ns_for_children"))
		a.skipIf(r1, 0, func() {
			a.copy(record+int(unsafe.Offsetof(Task{}.TimeForChildren)), r1, kids, "ns.inum")
		})
		kids = a.target(a.load(r1, r9, proxy, "pid_ns_for_children"))
		a.skipIf(r1, 0, func() {
			a.load(r2, r1, kids, "child_reaper")
			a.skipIf(r2, 0, func() { // until something was started in it, it cannot be opened
				a.copy(record+int(unsafe.Offsetof(Task{}.PIDForChildren)), r1, kids, "ns.inum")
			})
		})
	})
	a.mov(r8, r7)
	signal := a.follow(r8, task, "signal", tmp)
	a.probeField(record+int(unsafe.Offsetof(Task{}.Threads)), r8, signal, "nr_threads")
	a.mov(r8, r7)
	cred := a.follow(r8, task, "real_cred", tmp)
	user := a.follow(r8, cred, "user_ns", tmp)
	a.probeField(ns+4*taskUser, r8, user, "ns.inum")
	// The PID namespace is that in which the PID is at its deepest level:
	// task->thread_pid->numbers[level].ns.
	a.mov(r8, r7)
	pid := a.follow(r8, task, "thread_pid", tmp)
	a.clear8(tmp)
	a.probeField(tmp, r8, pid, "level")
	numbers, upids := a.field(pid, "numbers")
	upid := a.target(upids)
	a.peek(r1, tmp)
	a.mul(r1, int(k.size(upid)))
	a.addReg(r8, r1)
	a.add(r8, numbers)
	space := a.follow(r8, upid, "ns", tmp)
	a.probeField(ns+4*taskPID, r8, space, "ns.inum")
	a.write(record, -record, r6, iter)
	return a.end()
}

// fileProgram writes the program that makes a [TaskFile] of a descriptor.
func fileProgram(k *btf, iter, socket uint32) ([]bpfInsn, error) {
	const (
		record = -int(unsafe.Sizeof(TaskFile{})) // on the stack
		flag   = record + int(unsafe.Offsetof(TaskFile{}.Flag))
		ino    = record + int(unsafe.Offsetof(TaskFile{}.Ino))
		tmp    = record - 8
	)
	a := &assembler{btf: k}
	a.mov(r6, r1)
	task := a.arg(r7, r6, iter, 1)
	file := a.arg(r8, r6, iter, 3)
	inode := a.target(a.load(r9, r8, file, "f_inode"))
	a.endIf(r9, 0)
	super := a.target(a.load(r1, r9, inode, "i_sb"))
	a.endIf(r1, 0)
	a.load(r9, r1, super, "s_magic")
	a.clear(record)
	a.copy(record+int(unsafe.Offsetof(TaskFile{}.TID)), r7, task, "pid")
	a.copy(record+int(unsafe.Offsetof(TaskFile{}.PID)), r7, task, "tgid")
	a.copyArg(record+int(unsafe.Offsetof(TaskFile{}.FD)), r6, 2)

	_, t := a.field(task, "nsproxy")
	proxy := a.target(t)
	_, t = a.field(proxy, "net_ns")
	netns := a.target(t)
	_, common := a.field(netns, "ns")

	a.ifEqual(r9, unix.NSFS_MAGIC, func() {
		a.follow(r8, file, "f_inode", tmp)
		a.read(r8, inode, "i_private", tmp) // the namespace
		a.probeField(ino, r8, common, "inum")
		if _, _, err := k.member(common, "ns_type"); err == nil { // Linux 6.18
			a.probeField(flag, r8, common, "ns_type")
		} else {
			ops := a.follow(r8, common, "ops", tmp)
			a.probeField(flag, r8, ops, "type")
		}
		a.write(record, -record, r6, iter)
		a.jumpToEnd()
	})
	a.endUnless(r9, unix.SOCKFS_MAGIC)
	a.read(r8, file, "private_data", tmp) // the socket
	sock := a.follow(r8, socket, "sk", tmp)
	a.follow(r8, sock, "__sk_common.skc_net.net", tmp)
	a.endIf(r8, 0)
	a.follow(r7, task, "nsproxy", tmp)
	a.follow(r7, proxy, "net_ns", tmp)
	a.endIfSame(r7, r8)
	a.probeField(ino, r8, netns, "ns.inum")
	a.write(record, -record, r6, iter)
	return a.end()
}
