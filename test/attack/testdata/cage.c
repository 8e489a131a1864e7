// cage runs a program as a container engine would: in new namespaces, on a
// root file system of its own, confined. It prints the PID of the program, as
// its caller sees it, when the program was executed, and ends the program when
// its standard input ends, so that a test that dies leaves nothing behind.
//
// usage: cage [-c CAPS] [-n] [-s] [-u rooted|rootless] [-g PROCS]... [-m UMASK]
//             [-l NOFILE] [-o OOM] [-i UID] [-C] ROOT PROGRAM [ARG...]
//
//	-c CAPS   bounding, permitted, effective and inheritable set, hexadecimal
//	-n        no_new_privs
//	-s        a seccomp filter
//	-u MAP    a user namespace, with or without root in it
//	-g PROCS  the cgroup.procs file of a cgroup to be in; may be repeated
//	-i UID    user and group of the program
//	-C        chroot in the caller's mount tree instead of a pivoted one
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <grp.h>

static void die(const char *what) {
	fprintf(stderr, "cage: %s: %s\n", what, strerror(errno));
	_exit(111);
}
#define TRY(call) do { if ((call) < 0) die(#call); } while (0)

static void put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0) die(path);
	close(fd);
}

static int deny[] = {SYS_mount, SYS_umount2, SYS_bpf, SYS_kexec_load, SYS_init_module, SYS_perf_event_open, SYS_swapon};

static void filter(void) {
	struct sock_filter f[64];
	int n = 0, count = sizeof deny / sizeof *deny;
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < count; i++)
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, deny[i], count - i, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	struct sock_fprog prog = {n, f};
	TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
}

int main(int argc, char **argv) {
	unsigned long long caps = ~0ULL;
	int nnp = 0, seccomp = 0, chrooted = 0, mask = 022, ngroups = 0, opt;
	long nofile = 0, uid = 0;
	char *user = NULL, *oom = NULL, *procs[16];
	while ((opt = getopt(argc, argv, "+c:nsu:g:m:l:o:i:C")) != -1)
		switch (opt) {
		case 'c': caps = strtoull(optarg, NULL, 16); break;
		case 'n': nnp = 1; break;
		case 's': seccomp = 1; break;
		case 'u': user = optarg; break;
		case 'g': procs[ngroups++] = optarg; break;
		case 'm': mask = strtol(optarg, NULL, 8); break;
		case 'l': nofile = atol(optarg); break;
		case 'o': oom = optarg; break;
		case 'i': uid = atol(optarg); break;
		case 'C': chrooted = 1; break;
		default: return 2;
		}
	char *root = argv[optind];
	char **program = argv + optind + 1;

	int ready[2], mapped[2], pids[2];
	TRY(pipe2(ready, O_CLOEXEC));
	TRY(pipe2(mapped, O_CLOEXEC));
	TRY(pipe2(pids, O_CLOEXEC));

	pid_t outer = fork();
	TRY(outer);
	if (outer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]); close(mapped[1]); close(pids[0]);
		for (int i = 0; i < ngroups; i++) put(procs[i], "0");
		if (oom) put("/proc/self/oom_score_adj", oom);
		if (user) {
			TRY(unshare(CLONE_NEWUSER));
			TRY(write(ready[1], "m", 1));
			char c;
			if (read(mapped[0], &c, 1) != 1) _exit(111);
			if (!strcmp(user, "rooted")) {
				TRY(setresgid(0, 0, 0));
				TRY(setresuid(0, 0, 0));
			} else {
				TRY(prctl(PR_SET_KEEPCAPS, 1));
				TRY(setresgid(1000, 1000, 1000));
				TRY(setresuid(1000, 1000, 1000));
				struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
				struct __user_cap_data_struct d[2];
				TRY(syscall(SYS_capget, &h, d));
				d[0].effective = d[0].permitted; d[1].effective = d[1].permitted;
				TRY(syscall(SYS_capset, &h, d));
			}
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		}
		TRY(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWPID));
		pid_t init = fork();
		TRY(init);
		if (init != 0) {
			TRY(write(pids[1], &init, sizeof init));
			close(ready[1]);
			int status;
			waitpid(init, &status, 0);
			_exit(0);
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		TRY(setsid());
		TRY(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
		TRY(mount(root, root, NULL, MS_BIND | MS_REC, NULL));
		TRY(chdir(root));
		TRY(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
		TRY(mount("proc/sys", "proc/sys", NULL, MS_BIND, NULL));
		TRY(mount(NULL, "proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
		TRY(mount("tmpfs", "tmp", "tmpfs", 0, "mode=1777"));
		TRY(mount("tmpfs", "dev", "tmpfs", 0, "mode=755"));
		char *devices[] = {"null", "zero", "urandom", "tty", "full"};
		for (int i = 0; i < 5; i++) {
			char from[32], to[32];
			snprintf(from, sizeof from, "/dev/%s", devices[i]);
			snprintf(to, sizeof to, "dev/%s", devices[i]);
			int fd = open(to, O_CREAT | O_WRONLY, 0666);
			if (fd < 0) die(to);
			close(fd);
			TRY(mount(from, to, NULL, MS_BIND, NULL));
		}
		TRY(mkdir("dev/pts", 0755));
		TRY(mount("devpts", "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620"));
		TRY(symlink("pts/ptmx", "dev/ptmx"));
		if (chrooted) {
			TRY(chroot("."));
		} else {
			TRY(syscall(SYS_pivot_root, ".", "."));
			TRY(umount2(".", MNT_DETACH));
		}
		TRY(chdir("/"));
		sethostname("cage", 4);
		umask(mask);
		if (nofile) {
			struct rlimit l = {nofile, nofile};
			TRY(setrlimit(RLIMIT_NOFILE, &l));
		}
		for (int i = 0; i < 64; i++)
			if (!(caps & (1ULL << i)) && prctl(PR_CAPBSET_READ, i) == 1) TRY(prctl(PR_CAPBSET_DROP, i));
		if (seccomp && !nnp) filter();
		if (uid) {
			TRY(setgroups(0, NULL));
			TRY(setresgid(uid, uid, uid));
			TRY(setresuid(uid, uid, uid));
		} else {
			struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
			struct __user_cap_data_struct d[2];
			TRY(syscall(SYS_capget, &h, d));
			for (int i = 0; i < 2; i++) {
				d[i].permitted &= caps >> (32 * i);
				d[i].effective = d[i].permitted;
				d[i].inheritable = 0;
			}
			TRY(syscall(SYS_capset, &h, d));
		}
		if (nnp) TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		if (seccomp && nnp) filter();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, 0);
		dup2(null, 1);
		char *env[] = {"PATH=/bin", "HOME=/root", "container=cage", NULL};
		execve(program[0], program, env);
		die(program[0]);
	}
	close(ready[1]); close(mapped[0]); close(pids[1]);
	char c, path[64];
	if (user) {
		if (read(ready[0], &c, 1) != 1) _exit(111);
		const char *map = strcmp(user, "rooted") ? "1000 101000 1000" : "0 100000 65536";
		snprintf(path, sizeof path, "/proc/%d/uid_map", outer);
		put(path, map);
		snprintf(path, sizeof path, "/proc/%d/gid_map", outer);
		put(path, map);
		TRY(write(mapped[1], "m", 1));
	}
	// The pipe ends when init has executed its program, or died.
	while (read(ready[0], &c, 1) > 0) {}
	// init's PID is known to outer in outer's PID namespace, which is ours.
	pid_t init;
	if (read(pids[0], &init, sizeof init) != sizeof init) {
		waitpid(outer, NULL, 0);
		_exit(111);
	}
	printf("%d\n", init);
	fflush(stdout);
	while (read(0, &c, 1) > 0) {}
	kill(init, SIGKILL);
	waitpid(outer, NULL, 0);
	return 0;
}
