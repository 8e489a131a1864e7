package kernel_test

const sysSetns = 308 // see setns(2); package syscall is older
