/* Preloaded: makes the n-th call of one of libc's functions fail, on one thread, with an errno of choice.

   fault_arm(name, n, error)   from now on, the calling thread's n-th call of `name` fails (counted from 1)
   fault_disarm()              how many calls there were
   fault_crashes()             from now on, a crash says on stderr which C functions it was in

   A call that fails does nothing, but for close, which closes and then says what it was told to, as Linux's does.  What goes
   by syscall(2) is known by its number, under the name of the function that it stands for. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>

static const char *volatile target; /* NULL: nothing is armed */
static char wanted[64];
static pthread_t victim;
static int left, error_number, calls;

void fault_arm(const char *name, int n, int error) {
    strncpy(wanted, name, sizeof(wanted) - 1);
    victim = pthread_self();
    left = n;
    error_number = error;
    calls = 0;
    target = wanted;
}

int fault_disarm(void) {
    target = NULL;
    return calls;
}

static void crashed(int sig) {
    void *frames[12];
    backtrace_symbols_fd(frames, backtrace(frames, 12), 2);
    signal(sig, SIG_DFL);
    raise(sig);
}

void fault_crashes(void) {
    void *frame;
    backtrace(&frame, 1); /* loads what it needs now, not in the handler */
    signal(SIGSEGV, crashed);
    signal(SIGABRT, crashed);
}

static int fails(const char *name) {
    if (target == NULL || !pthread_equal(victim, pthread_self()) || strcmp(wanted, name) != 0) return 0;
    calls++;
    if (--left != 0) return 0;
    errno = error_number;
    return 1;
}

/* Six words are handed on, as many as any of these takes: what a function does not take it does not look at.  (Under other
   names, for the compiler's sake, which knows the right types.) */
#define WORD long
#define SHIM(type, name, label)                                                                                          \
    type shim_##name(WORD, WORD, WORD, WORD, WORD, WORD) __asm__(#name);                                                 \
    type shim_##name(WORD a, WORD b, WORD c, WORD d, WORD e, WORD f) {                                                        \
        static type (*real)(WORD, WORD, WORD, WORD, WORD, WORD);                                                         \
        if (real == NULL) real = (type(*)(WORD, WORD, WORD, WORD, WORD, WORD))dlsym(RTLD_NEXT, #name);                   \
        if (fails(label)) return -1;                                                                                     \
        return real(a, b, c, d, e, f);                                                                                   \
    }

SHIM(ssize_t, read, "read")
SHIM(ssize_t, write, "write")
SHIM(ssize_t, readv, "read")
SHIM(ssize_t, writev, "writev")
SHIM(ssize_t, recv, "recv")
SHIM(ssize_t, recvfrom, "recv")
SHIM(ssize_t, recvmsg, "recv")
SHIM(ssize_t, send, "send")
SHIM(ssize_t, sendto, "send")
SHIM(ssize_t, sendmsg, "send")
SHIM(ssize_t, sendfile, "sendfile")
SHIM(ssize_t, sendfile64, "sendfile")
SHIM(int, accept, "accept")
SHIM(int, accept4, "accept")
SHIM(int, socket, "socket")
SHIM(int, socketpair, "socket")
SHIM(int, bind, "bind")
SHIM(int, listen, "listen")
SHIM(int, connect, "connect")
SHIM(int, shutdown, "shutdown")
SHIM(int, getsockopt, "getsockopt")
SHIM(int, setsockopt, "setsockopt")
SHIM(int, getsockname, "getsockname")
SHIM(int, getpeername, "getpeername")
SHIM(int, fcntl, "fcntl")
SHIM(int, fcntl64, "fcntl")
SHIM(int, ioctl, "ioctl")
SHIM(int, dup, "dup")
SHIM(int, pipe2, "pipe")
SHIM(int, eventfd, "eventfd")
SHIM(int, epoll_create1, "epoll_create")
SHIM(int, epoll_ctl, "epoll_ctl")
SHIM(int, epoll_wait, "epoll_wait")
SHIM(int, epoll_pwait, "epoll_wait")
SHIM(int, select, "epoll_wait")

int close(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (fails("close")) {
        int said = errno;
        real(fd);
        errno = said;
        return -1;
    }
    return real(fd);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (real == NULL) real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    if (fails("pthread_create")) return errno;
    return real(thread, attr, start, arg);
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    va_list more;
    WORD a[6];
    const char *name = NULL;
    va_start(more, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(more, WORD);
    va_end(more);
    if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_recvfrom) name = "recv";
    if (number == SYS_sendto || number == SYS_sendmsg) name = "send";
#ifdef SYS_epoll_pwait2
    if (number == SYS_epoll_pwait2) name = "epoll_wait";
#endif
    if (name != NULL && fails(name)) return -1;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
