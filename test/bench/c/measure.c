// measure COMMAND [ARG...]: runs a command with its output into a pipe, and
// writes how many microseconds it took, its peak memory in KiB, and its exit
// status. It is small, since a program's peak is at least that of the process
// that started it.
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int out[2], status;
	struct timespec a, b;
	struct rusage usage;
	char buf[65536];
	if (argc < 2 || pipe(out))
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &a);
	pid_t p = fork();
	if (p < 0)
		return 1;
	if (p == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(out[1], 1);
		close(null);
		close(out[0]);
		close(out[1]);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	close(out[1]);
	while (read(out[0], buf, sizeof buf) > 0)
		;
	if (wait4(p, &status, 0, &usage) != p)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%ld %ld %d\n", (b.tv_sec - a.tv_sec) * 1000000L + (b.tv_nsec - a.tv_nsec) / 1000, usage.ru_maxrss,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}
