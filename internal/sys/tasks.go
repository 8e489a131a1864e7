package sys

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Task is a thread with the inode numbers of its namespaces, 0 for none.
type Task struct {
	TID, PID int32 // equal for the first thread of a process
	Threads  int32 // of the process
	NS       [len(TaskFlags)]uint32
	// Owner and NSID are the user namespaces that own the first of NS, and their
	// identifiers, see [Owner] and [NamespaceID].
	Owner [len(proxyFields)]uint32
	// PIDForChildren and TimeForChildren are the namespaces of new children.
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
	taskPID  = len(proxyFields) // the indexes in Task.NS of types that nsproxy does not have
	taskUser = taskPID + 1
)

// A TaskFile is a descriptor that keeps a namespace alive.
type TaskFile struct {
	TID, PID, FD int32 // TID differs from PID if the thread has a table of its own
	// Flag is the CLONE_NEW* flag of the type of the namespace if the file is
	// one. It is 0 if it is a socket, [TaskDevice] or [TaskProcFile].
	Flag uint32
	Ino  uint32
	// Socket is the inode number of a socket.
	Socket uint32
	// NSID is the identifier of the namespace of a [TaskDevice] or [TaskProcFile], which no
	// link leads to; 0 if the kernel has none. See [NamespaceID].
	NSID uint64
}

// Values of [TaskFile.Flag] for other files that keep a network namespace.
const (
	TaskDevice   = 3 // /dev/net/tun, or a tap of macvtap or ipvtap
	TaskProcFile = 4 // a file below /proc/PID/net
)

// Tasks are all tasks and their files, as the kernel reports them.
type Tasks struct {
	// Processes are the first threads of processes, Threads those other threads that are in
	// other namespaces than the first.
	Processes, Threads []Task
	// Files are the descriptors of namespaces, those that keep a network namespace that their
	// thread is not in, and with sockets all sockets.
	Files []TaskFile
	// Pinned are the mount namespaces in which namespaces are bind-mounted, if PinnedKnown;
	// else it is not known.
	Pinned      []uint32
	PinnedKnown bool
}

// ReadTasks reads all tasks of the kernel, with files also their descriptors and the bind
// mounts of namespaces, and with sockets all sockets. PIDs are those of the initial PID
// namespace, which the caller must be in. There is no order.
//
// BPF programs iterate over the tasks in a tenth of the time of reading /proc. It needs CAP_BPF
// and CAP_PERFMON in the initial user namespace, Linux 5.8, and a kernel that describes its
// types (CONFIG_DEBUG_INFO_BTF), else it is an error.
func ReadTasks(files, sockets bool) (*Tasks, error) {
	if err := canIter(); err != nil {
		return nil, err
	}
	// A file of nsfs, to find the mounts of nsfs.
	nsfs, err := openat(unix.AT_FDCWD, "/proc/self/ns/user", unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(nsfs)

	const task, file, socket, mount, proc, seq = 0, 1, 2, 3, 4, 5
	roots := []btfRoot{
		task: {btfFunc, "bpf_iter_task"}, file: {btfFunc, "bpf_iter_task_file"},
		socket: {btfStruct, "socket"}, mount: {btfStruct, "mount"},
		proc: {btfStruct, "proc_inode"}, seq: {btfStruct, "seq_file"},
	}
	var ids []uint32
	var taskCode, fileCode []bpfInsn
	err = kernelBTF(roots, func(k *btf) (err error) {
		ids = k.found
		if taskCode, err = taskProgram(k, ids[task]); err == nil && files {
			fileCode, err = fileProgram(k, fileTypes{ids[file], ids[socket], ids[mount], ids[proc], ids[seq]}, os.Getpid(), nsfs, sockets)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var (
		all  Tasks
		errs [2]error
		done sync.WaitGroup
	)
	done.Go(func() {
		errs[0] = readIter(taskCode, ids[task], int(unsafe.Sizeof(Task{})), func(records []byte) {
			for _, t := range unsafe.Slice((*Task)(unsafe.Pointer(unsafe.SliceData(records))), len(records)/int(unsafe.Sizeof(Task{}))) {
				if t.TID == t.PID {
					all.Processes = append(all.Processes, t)
				} else {
					all.Threads = append(all.Threads, t)
				}
			}
		})
	})
	if files {
		done.Go(func() {
			errs[1] = readIter(fileCode, ids[file], int(unsafe.Sizeof(TaskFile{})), func(records []byte) {
				for _, f := range unsafe.Slice((*TaskFile)(unsafe.Pointer(unsafe.SliceData(records))), len(records)/int(unsafe.Sizeof(TaskFile{}))) {
					switch f.Flag {
					case flagPinned:
						all.Pinned = append(all.Pinned, f.Ino)
					case flagPinnedAll:
						all.PinnedKnown = true
					default:
						all.Files = append(all.Files, f)
					}
				}
			})
		})
	}
	done.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return &all, nil
}

// Flags in a [TaskFile] for records that are no descriptors; flags of namespace types are far
// above.
const (
	flagPinned    = 1 // Ino is a mount namespace with a bind mount of a namespace
	flagPinnedAll = 2 // all of these were reported
)

// taskProgram returns the program that writes a [Task] for each task.
func taskProgram(k *btf, iter uint32) ([]bpfInsn, error) {
	const (
		record = -int(unsafe.Sizeof(Task{})) // on the stack
		ns     = record + int(unsafe.Offsetof(Task{}.NS))
		tmp    = record - 8
	)
	a := &assembler{btf: k}
	task := a.arg(r7, r1, iter, 1)
	a.seq(r6, r1, iter)
	proxy := a.target(a.load(r9, r7, task, "nsproxy"))
	a.clear(record)
	a.copy(record+int(unsafe.Offsetof(Task{}.TID)), r7, task, "pid")
	a.copy(record+int(unsafe.Offsetof(Task{}.PID)), r7, task, "tgid")
	// Threads share user and PID namespace of their process, see clone(2): only their nsproxy
	// can differ.
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
			a.skipIf(r2, 0, func() { // it cannot be opened before a process was started in it
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
	a.write(record, -record, r6)
	return a.end()
}

// Offsets on the stack of a [TaskFile] and of 8 more bytes.
const (
	fileAt     = -int(unsafe.Sizeof(TaskFile{}))
	fileFlagAt = fileAt + int(unsafe.Offsetof(TaskFile{}.Flag))
	fileInoAt  = fileAt + int(unsafe.Offsetof(TaskFile{}.Ino))
	fileTmp    = fileAt - 8
)

// fileTypes are the types that fileProgram starts from.
type fileTypes struct{ iter, socket, mount, proc, seq uint32 }

// fileProgram returns the program that writes a [TaskFile] for each descriptor. For the
// descriptor nsfs of process pid it writes the mounts of that file system instead. With sockets
// it also writes those of the network namespace of their thread, and the inode number of each.
func fileProgram(k *btf, types fileTypes, pid, nsfs int, sockets bool) ([]bpfInsn, error) {
	iter, socket, mount := types.iter, types.socket, types.mount
	a := &assembler{btf: k}
	a.mov(r6, r1)
	task := a.arg(r7, r6, iter, 1)
	file := a.arg(r8, r6, iter, 3)
	a.clear(fileAt)
	a.copy(fileAt+int(unsafe.Offsetof(TaskFile{}.TID)), r7, task, "pid")
	a.copy(fileAt+int(unsafe.Offsetof(TaskFile{}.PID)), r7, task, "tgid")
	a.copyArg(fileAt+int(unsafe.Offsetof(TaskFile{}.FD)), r6, 2)
	a.seq(r6, r6, iter)
	inode := a.target(a.load(r9, r8, file, "f_inode"))
	a.endIf(r9, 0)
	a.load(r2, r9, inode, "i_rdev")
	super := a.target(a.load(r1, r9, inode, "i_sb"))
	a.endIf(r1, 0)
	a.load(r9, r1, super, "s_magic")

	proxy := a.target(a.typeOf(task, "nsproxy"))
	netns := a.target(a.typeOf(proxy, "net_ns"))
	common := a.typeOf(netns, "ns")
	// writeNet writes a record for the network namespace at the address in r8, if own is true
	// also for that of the thread.
	writeNet := func(flag int, own bool) {
		a.endIf(r8, 0)
		a.follow(r7, task, "nsproxy", fileTmp)
		a.follow(r7, proxy, "net_ns", fileTmp)
		if !own {
			a.endIfSame(r7, r8)
		}
		if flag != 0 {
			a.put(fileFlagAt, flag)
			if at, _, err := k.member(common, "ns_id"); err == nil { // Linux 6.18
				within, _ := a.field(netns, "ns")
				a.probe(fileAt+int(unsafe.Offsetof(TaskFile{}.NSID)), 8, r8, within+int(at))
			}
		}
		a.probeField(fileInoAt, r8, netns, "ns.inum")
		a.write(fileAt, -fileAt, r6)
	}
	sock := a.target(a.typeOf(socket, "sk"))

	a.skipIf(r2, 0, func() { // a device
		a.mov(r3, r2)
		a.shiftRight(r3, 20)
		for _, major := range tapMajors() {
			a.ifEqual(r3, int32(major), func() { a.put(fileFlagAt, TaskDevice) })
		}
		a.ifEqual(r2, tunDevice, func() { a.put(fileFlagAt, TaskDevice) })
		a.peek4(r3, fileFlagAt)
		a.endIf(r3, 0)
		// The private data of both begins with a struct sock: struct tun_file and struct
		// tap_queue, which may be in modules.
		a.read(r8, file, "private_data", fileTmp)
		a.endIf(r8, 0)
		a.follow(r8, sock, "__sk_common.skc_net.net", fileTmp)
		writeNet(TaskDevice, false)
		a.jumpToEnd()
	})
	a.ifEqual(r9, unix.PROC_SUPER_MAGIC, func() {
		within, _ := a.field(types.proc, "vfs_inode")
		a.mov(r9, r8)
		a.follow(r9, file, "f_inode", fileTmp)
		a.add(r9, -within)
		entry := a.follow(r9, types.proc, "pde", fileTmp)
		a.endIf(r9, 0)
		a.follow(r9, entry, "parent", fileTmp)
		a.endIf(r9, 0)
		// The directory has the namespace. A file that keeps it has it too, as the private data
		// of its sequence, or as the first field of that: seq_open_net and single_open_net in
		// the kernel's fs/proc/proc_net.c.
		a.read(r9, entry, "data", fileTmp)
		a.endIf(r9, 0)
		a.read(r8, file, "private_data", fileTmp)
		a.endIf(r8, 0)
		a.read(r8, types.seq, "private", fileTmp)
		a.endIf(r8, 0)
		a.skipIfSame(r8, r9, func() {
			a.probe(fileTmp, 8, r8, 0)
			a.peek(r8, fileTmp)
		})
		a.ifSame(r8, r9, func() {
			// A network namespace points to its directory in procfs, and back.
			a.follow(r9, netns, "proc_net", fileTmp)
			a.endIf(r9, 0)
			a.read(r9, entry, "data", fileTmp)
			a.ifSame(r8, r9, func() {
				writeNet(TaskProcFile, false)
			})
		})
		a.jumpToEnd()
	})
	a.ifEqual(r9, unix.NSFS_MAGIC, func() {
		a.follow(r8, file, "f_inode", fileTmp)
		a.load(r1, r7, task, "tgid")
		a.ifEqual(r1, int32(pid), func() {
			a.peek4(r1, fileAt+int(unsafe.Offsetof(TaskFile{}.FD)))
			a.ifEqual(r1, int32(nsfs), func() {
				a.follow(r8, inode, "i_sb", fileTmp)
				try := &assembler{btf: k}
				if try.mounts(super, mount); try.err == nil { // else the scan only takes longer
					a.mounts(super, mount)
				}
				a.jumpToEnd()
			})
		})
		a.read(r8, inode, "i_private", fileTmp) // the namespace
		a.probeField(fileInoAt, r8, common, "inum")
		if _, _, err := k.member(common, "ns_type"); err == nil { // Linux 6.18
			a.probeField(fileFlagAt, r8, common, "ns_type")
		} else {
			ops := a.follow(r8, common, "ops", fileTmp)
			a.probeField(fileFlagAt, r8, ops, "type")
		}
		a.write(fileAt, -fileAt, r6)
		a.jumpToEnd()
	})
	a.endUnless(r9, unix.SOCKFS_MAGIC)
	if sockets {
		a.load(r1, r8, file, "f_inode")
		a.load(r1, r1, inode, "i_ino") // 8 bytes, of which sockfs uses 4
		a.store4(fileAt+int(unsafe.Offsetof(TaskFile{}.Socket)), r1)
	}
	a.read(r8, file, "private_data", fileTmp) // the socket
	a.follow(r8, socket, "sk", fileTmp)
	a.follow(r8, sock, "__sk_common.skc_net.net", fileTmp)
	writeNet(0, sockets)
	return a.end()
}

// tunDevice is the number of /dev/net/tun, as the kernel has it: major 10, minor
// 200. See the kernel's Documentation/admin-guide/devices.txt.
const tunDevice = 10<<20 | 200

// tapMajors returns the major numbers of the taps of macvtap and ipvtap, which are dynamic.
func tapMajors() (majors []int) {
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(number); err == nil && (name == "macvtap" || name == "ipvtap") {
			majors = append(majors, n)
		}
	}
	return majors
}

// mounts emits the part that writes the mounts of the super block at the address in r8, up to a
// limit. It uses r7 and r9.
//
// The list can change meanwhile. The memory of a mount stays valid while the program runs
// (RCU), so the worst case is a list that does not lead to its end.
func (a *assembler) mounts(super, mount uint32) {
	const most = 64
	first, t := a.field(super, "s_mounts")
	space, ptr := a.field(mount, "mnt_ns")
	next := 0
	if a.btf.size(t) == 8 { // a pointer to the first, since Linux 6.18; the last has a NULL pointer
		next, _ = a.field(mount, "mnt_next_for_sb")
		a.set(r7, 0)
	} else { // a list_head in a circular list
		link, _ := a.field(mount, "mnt_instance")
		space -= link
		a.mov(r7, r8)
		a.add(r7, first)
	}
	a.probe(fileTmp, 8, r8, first)
	a.peek(r8, fileTmp)
	a.put(fileFlagAt, flagPinned)
	a.repeat(r9, most, func() {
		a.ifSame(r8, r7, func() {
			a.put(fileFlagAt, flagPinnedAll)
			a.write(fileAt, -fileAt, r6)
			a.jumpToEnd()
		})
		a.probe(fileTmp, 8, r8, space)
		a.peek(r2, fileTmp)
		a.probeField(fileInoAt, r2, a.target(ptr), "ns.inum")
		a.write(fileAt, -fileAt, r6)
		a.probe(fileTmp, 8, r8, next)
		a.peek(r8, fileTmp)
	})
}
