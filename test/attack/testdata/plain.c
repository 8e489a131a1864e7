// plain is the plainest way in: open the namespace files, setns, fork, exec.
// It stands for all the tools that do no more, as the control of attacks that
// nsenter happens to withstand. Each option makes one more common mistake.
//
// usage: plain [-r] [-p] [-e] [-k] [-w DIR] PID PROGRAM [ARG...]
//
//	-r      change the root, not the mount namespace, and stay where we are
//	-p      look the user up when inside
//	-e      tell only whether the program succeeded
//	-k      stay in the PID namespace of the caller
//	-w DIR  change to DIR when inside, after the fork
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int opt, root = 0, user = 0, simple = 0, keep = 0;
	char *dir = NULL, path[64];
	while ((opt = getopt(argc, argv, "+rpekw:")) != -1)
		switch (opt) {
		case 'r': root = 1; break;
		case 'p': user = 1; break;
		case 'e': simple = 1; break;
		case 'k': keep = 1; break;
		case 'w': dir = optarg; break;
		default: return 2;
		}
	const char *pid = argv[optind];
	static const char *types[] = {"user", "cgroup", "ipc", "uts", "net", "pid", "mnt"};
	int fds[7];
	for (int i = 0; i < 7; i++) {
		struct stat theirs, ours;
		snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, types[i]);
		fds[i] = stat(path, &theirs) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		snprintf(path, sizeof path, "/proc/self/ns/%s", types[i]);
		if (stat(path, &ours) == 0 && ours.st_ino == theirs.st_ino) fds[i] = -1;
		if (root && !strcmp(types[i], "mnt")) fds[i] = -1;
		if (keep && !strcmp(types[i], "pid")) fds[i] = -1;
	}
	snprintf(path, sizeof path, "/proc/%s/root", pid);
	if (root && chroot(path) < 0) return 1;
	for (int i = 0; i < 7; i++)
		if (fds[i] >= 0 && setns(fds[i], 0) < 0) return 1;
	if (user) close(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	pid_t child = fork();
	if (child == 0) {
		if (dir && chdir(dir) < 0) return 126;
		execv(argv[optind + 1], argv + optind + 1);
		return 127;
	}
	int status;
	waitpid(child, &status, 0);
	if (simple) return status != 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
