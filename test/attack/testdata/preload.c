// preload is a library that a container has every program load: it tells with
// which capabilities it was loaded.
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
	static const char *places[] = {"/tmp/loot", "/.nstool/target/tmp/loot"};
	char status[4096];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, status, sizeof status - 1);
	if (n <= 0) return;
	status[n] = 0;
	char *caps = strstr(status, "CapEff:");
	if (!caps) return;
	caps[24] = '\n';
	for (int i = 0; i < 2; i++) {
		int to = open(places[i], O_WRONLY | O_CREAT | O_APPEND, 0666);
		if (to < 0) continue;
		if (write(to, "library ", 8) < 0 || write(to, caps, 25) < 0) _exit(9);
		close(to);
	}
}
