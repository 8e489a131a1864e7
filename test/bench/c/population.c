// population PROCESSES GROUPS THREADS DESCRIPTORS: so many processes in so many
// groups, each group in uts, ipc, mnt and cgroup namespaces of its own, each
// process with so many threads and descriptors more than it would have. It
// writes a line when all are there, and ends them when its standard input ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int threads, descriptors, ready[2];

static void *idle(void *arg) {
	for (;;)
		pause();
	return arg;
}

static void die(const char *what) {
	perror(what);
	_exit(1);
}

static void member(void) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < descriptors; i++)
		if (open("/dev/null", O_RDONLY) < 0)
			die("open");
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	pthread_t t;
	for (int i = 0; i < threads; i++)
		if ((errno = pthread_create(&t, &attr, idle, NULL)))
			die("pthread_create");
	if (write(ready[1], "x", 1) != 1)
		die("write");
	idle(NULL);
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: population PROCESSES GROUPS THREADS DESCRIPTORS\n");
		return 2;
	}
	int processes = atoi(argv[1]), groups = atoi(argv[2]);
	threads = atoi(argv[3]);
	descriptors = atoi(argv[4]);
	if (groups < 1 || processes < groups || pipe(ready))
		return 2;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t *leaders = calloc(groups, sizeof *leaders);
	for (int i = 0; i < groups; i++) {
		int size = processes / groups + (i < processes % groups);
		leaders[i] = fork();
		if (leaders[i] < 0)
			die("fork");
		if (leaders[i])
			continue;
		if (unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWCGROUP))
			die("unshare");
		while (--size) {
			pid_t p = fork();
			if (p < 0)
				die("fork");
			if (p == 0)
				member();
		}
		member();
	}
	close(ready[1]);
	char b[4096];
	for (int seen = 0; seen < processes;) {
		ssize_t n = read(ready[0], b, sizeof b);
		if (n <= 0)
			return 1;
		seen += n;
	}
	printf("ready\n");
	fflush(stdout);
	while (read(0, b, sizeof b) > 0)
		;
	for (int i = 0; i < groups; i++)
		kill(leaders[i], SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR) // of all: a member whose leader died is ours
		;
	return 0;
}
