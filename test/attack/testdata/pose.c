// pose calls itself what it is told, and has a child in namespaces of its own:
//
//	pose UID GROUP ARGV0 [ARGV...]
//
// It becomes the user UID first. If GROUP is not "-" it is the directory of a
// control group, which it makes, as that user, and moves into; the one above is
// where it starts. It writes the PID of the child, and stays.
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void move(const char *group)
{
	char file[4096];
	snprintf(file, sizeof file, "%s/cgroup.procs", group);
	int fd = open(file, O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(file);
	close(fd);
}

int main(int argc, char **argv)
{
	if (getenv("POSE")) {
		for (;;)
			pause();
	}
	if (argc < 4)
		die("usage");
	uid_t uid = atoi(argv[1]);
	char *group = argv[2];
	if (strcmp(group, "-")) {
		char above[4096];
		snprintf(above, sizeof above, "%s", group);
		move(dirname(above));
	}
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(uid, uid, uid)))
		die("setresgid");
	if (setresuid(uid, uid, uid))
		die("setresuid");
	if (strcmp(group, "-")) {
		if (mkdir(group, 0755))
			die(group);
		move(group);
	}
	int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (child < 0)
		die("clone");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	printf("%ld\n", child);
	fflush(stdout);
	setenv("POSE", "1", 1);
	execve("/proc/self/exe", argv + 3, (char *[]){ "POSE=1", NULL });
	die("execve");
}
