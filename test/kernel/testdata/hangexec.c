// hangexec FILE: one thread waits in mmap(2) of FILE for ever, with the memory
// map locked; another starts a program by vfork(2), and its child waits in
// execve(2) for that map, with exec_update_lock held, and a socket open.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int fd;

static void *hang(void *arg)
{
	mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	return arg;
}

int main(int argc, char **argv)
{
	char *args[] = {"true", 0};
	int pair[2];
	pthread_t thread;

	fd = open(argv[argc - 1], O_RDONLY);
	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || mlockall(MCL_CURRENT) ||
	    pthread_create(&thread, 0, hang, 0)) {
		perror("hangexec");
		return 1;
	}
	usleep(200000); // until the other waits, which nothing tells
	if (vfork() == 0) {
		execve("/bin/true", args, 0);
		_exit(127);
	}
	pthread_join(thread, 0);
	return 0;
}
