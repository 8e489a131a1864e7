// Package inspect finds the Linux namespaces of a running system.
//
// [Scan] walks a proc file system once and returns a [Snapshot]: the namespaces
// it saw, which processes are members, what else keeps each of them alive, which
// user namespace owns it and which namespace encloses it.
//
//	snap, err := inspect.Scan(ctx)
//	if err != nil {
//		return err
//	}
//	for ns := range snap.Namespaces(inspect.Net) {
//		fmt.Println(ns, len(ns.Members))
//	}
//
// # Where namespaces are found
//
// A namespace exists while something holds it. A scan looks at everything that the kernel shows:
// member processes, threads that left the namespaces of their process, namespaces for new
// children, descriptors of namespace files, sockets, bind mounts in every mount namespace, child
// namespaces and owned ones. [Snapshot.Holders] yields them for one namespace.
//
// /proc does not show a descriptor in a message of a Unix socket, a reference of the kernel, and
// the descriptors of a thread that has its own table while its process still runs. The kernel
// lists such a namespace by listns(2) (Linux 6.19), and mount namespaces since Linux 6.12, for a
// caller that may see all of them. Then [ByKernel] holds it.
//
// If there are many threads, and the caller may use bpf(2) as root may, the scan loads a
// program with which the kernel goes through them (Linux 5.8). That takes a tenth of the time,
// and also finds the descriptors of such threads; otherwise the result is the same. [WithoutBPF]
// forbids it.
//
// Options narrow a scan: [WithTypes], [WithoutTasks], [WithoutFDs], [WithoutMounts].
//
// # What a scan can miss
//
// A scan is not atomic: processes start and exit while it runs. It sees only what the caller may
// see, see "Ptrace access mode checking" in [ptrace(2)]. Neither makes Scan fail.
// [Snapshot.Gaps] has the things that could not be read. A process that exited is left out.
//
// # Three numbers
//
// An [ID] is the device and inode number of a namespace: the number that lsns(8) and readlink
// show. It is valid while the namespace exists, and may be used again at once.
// [Namespace.NSID] is the 64-bit identifier of the kernel (Linux 6.18), which is never used
// again. [Namespace.NetNSID] is the number that one network namespace has for another, see
// RTM_GETNSID in rtnetlink(7).
//
// # About processes
//
// A scan reads only the namespaces of a process. [Snapshot.Describe] reads name, parent, user
// and command line of the processes that are to be shown, and does not wait long.
//
// # Design
//
// Links are read and not followed: type and inode number are in their texts. Only kernel.go
// opens namespaces, to ask the kernel about them.
//
// Members are not stored twice: [Snapshot.Holders] yields the members and then everything else
// that keeps a namespace alive. A relation has three cases, since the kernel answers EPERM both
// for a hidden owner and for none: a [Relation] is known, none or unknown. Absence is concluded
// only from a complete view: whole.go knows for each kind of fact whether every process was
// read, and otherwise an empty result is unknown, in tables, in JSON and in filters.
//
// A scan takes 15 to 20 system calls for each process and 6 for each namespace, on all
// processors. Nothing searches a list for each element of another. Reading the links of 4,000
// processes takes 62,000 calls; from 400 threads on, and if the caller may, two BPF iterators
// do it in the kernel instead. They find fields in the kernel's own description of its types
// (BTF), not by version. If they fail in any way the scan reads /proc; a test compares both.
//
// listns(2) is asked before /proc is read: a namespace on its list that the complete scan did
// not find is held by the kernel alone. A namespace with an identifier is opened by it,
// without a scan. One that a scan found is opened by a holder, and at last by its handle, and
// its identifier is checked, since the inode number may have been used again.
//
// The leader of a namespace is the member with the lowest PID, as in lsns(8), and not the
// oldest one: reading all start times would cost a fifth of the scan.
//
// Every stage can meet a process that does not answer: the command line is in memory whose map
// may be locked, and a mount point may be below a dead file system. So several goroutines ask,
// and one without an answer within a tenth of a second is left behind with a gap; on a slow
// machine the time is up to a second. Mount points are opened only if the kernel has their
// path in memory, since a thread that waits for a dead file system cannot be killed.
//
// prometheus/procfs takes 0.3 ms to initialise, which package enter would pay for [Type], and
// its Proc.Namespaces returns nothing for a zombie. So internal/procfile parses the formats that
// are needed here, and package process has the rest.
//
// [ptrace(2)]: https://man7.org/linux/man-pages/man2/ptrace.2.html
package inspect
