package kernel_test

const sysSetns = 268 // see setns(2); package syscall is older
