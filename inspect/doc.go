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
// A namespace lives for as long as something holds it, and a scan looks at
// everything that the kernel shows: member processes, threads that left the
// namespaces of their process, the namespaces that new children will be in,
// descriptors of namespace files, sockets, bind mounts in every mount namespace,
// child namespaces and owned ones. [Snapshot.Holders] lists them for one
// namespace. What /proc cannot show is a descriptor in flight in a message of a
// Unix socket, a reference that only the kernel has, and the descriptors of a
// thread that has a table of its own while its process still runs. The kernel
// tells by listns(2) that there is such a namespace (Linux 6.19), to who may see
// all: then [ByKernel] holds it. Of mount namespaces it does so since Linux 6.12.
//
// Where there are many processes, and the caller may use bpf(2) as root may, the
// kernel goes through them by a program that is loaded for the time of the scan
// (Linux 5.8), which takes a tenth of the time that reading /proc does. What is
// found is the same, and the descriptors of such threads too. [WithoutBPF]
// forbids it.
//
// The options narrow a scan: [WithTypes], [WithoutTasks], [WithoutFDs],
// [WithoutMounts].
//
// # What a scan can miss
//
// A scan is not atomic: processes start and exit while it runs. It also sees
// only what the caller may see, see "Ptrace access mode checking" in [ptrace(2)].
// Neither makes Scan fail. What could not be read is listed by [Snapshot.Gaps];
// what exited is simply not there.
//
// # Three numbers
//
// An [ID] is the device and inode number of a namespace: the number that lsns(8)
// and readlink show. It is good for as long as the namespace lives and may be
// given to another at once. [Namespace.NSID] is the kernel's 64-bit identifier
// (Linux 6.18), which is never given twice. [Namespace.NetNSID] is a number that
// one network namespace has for another, see RTM_GETNSID in rtnetlink(7).
//
// # About processes
//
// A scan reads no more of a process than its namespaces. [Snapshot.Describe]
// reads its name, parent, user and command line, for those processes that are
// to be shown. It never waits long: see there.
//
// [ptrace(2)]: https://man7.org/linux/man-pages/man2/ptrace.2.html
package inspect
