/*
 * LD_PRELOAD for User Mode Linux 6.1 on hosts whose XSAVE area is larger than its buffer of 2,696 bytes
 * (Intel with AMX: 11,008). Its PTRACE_SETREGSET then hands the kernel too small an area, which is refused
 * ("ptrace set fp regs failed, errno = 14") and ends it at its first process. Here the area is read whole,
 * what User Mode Linux has is laid over its beginning, and the whole is written back. Where the area fits,
 * nothing is different, so it is always preloaded.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char area[65536];

static long set_whole_area(long pid, void *set, const struct iovec *part)
{
    struct iovec whole = { area, sizeof area };

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, set, &whole) != 0 || whole.iov_len <= part->iov_len)
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, set, part);
    memcpy(area, part->iov_base, part->iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, set, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    long pid, word = 0, result;
    void *address, *data;

    va_start(rest, request);
    pid = va_arg(rest, pid_t);
    address = va_arg(rest, void *);
    data = va_arg(rest, void *);
    va_end(rest);

    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
        return set_whole_area(pid, address, data);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        /* the system call stores the word, glibc's function returns it */
        result = syscall(SYS_ptrace, request, pid, address, &word);
        return result < 0 ? result : word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
