/* What _sys.pyx needs of C itself: system calls that libc does not have or does at a price, exceptions and frames by way of
   Python's C API.  No policy lives here. */
#ifndef GOPARK_SYS_H
#define GOPARK_SYS_H
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#if PY_VERSION_HEX < 0x030c0000 /* for gopark_local, which newer Pythons have a function for */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include "internal/pycore_code.h"
#include "internal/pycore_frame.h"
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
/* Declared here rather than taken from libc: glibc has epoll_pwait2 only since 2.35, the kernel since 5.11.
   The kernel's timespec is 64-bit; so is time_t on every platform this is built for. */
struct gopark_timespec { int64_t tv_sec; int64_t tv_nsec; };
static int gopark_epoll_pwait2(int epfd, struct epoll_event *ev, int n, int64_t ns, const sigset_t *mask) {
    struct gopark_timespec ts = { ns / 1000000000, ns % 1000000000 };
    return (int)syscall(SYS_epoll_pwait2, epfd, ev, n, ns < 0 ? NULL : &ts, mask, _NSIG / 8);
}
/* The same, woken to the microsecond: the kernel may let a timer be late by the thread's slack (50 us) or a thousandth of the
   wait, whichever is more.  Set for this wait only: threads and processes that the program starts inherit it. */
static int gopark_epoll_pwait2_exact(int epfd, struct epoll_event *ev, int n, int64_t ns) {
    int slack = ns < 50000000 ? prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) : 0;
    int r, err;
    if (slack <= 1)
        return gopark_epoll_pwait2(epfd, ev, n, ns, NULL);
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    r = gopark_epoll_pwait2(epfd, ev, n, ns, NULL);
    err = errno;
    prctl(PR_SET_TIMERSLACK, (unsigned long)slack, 0, 0, 0);
    errno = err;
    return r;
}
static int64_t gopark_clock(clockid_t c) {
    struct timespec ts;
    clock_gettime(c, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
static PyObject *gopark_take_exception(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *exc, *tb;
    PyErr_Fetch(&type, &exc, &tb);
    PyErr_NormalizeException(&type, &exc, &tb);
    if (tb != NULL)
        PyException_SetTraceback(exc, tb);
    Py_XDECREF(tb);
    Py_XDECREF(type);
    return exc;
#endif
}
static PyObject *gopark_frame_code(PyFrameObject *frame) {
    return (PyObject *)PyFrame_GetCode(frame);
}
/* Text that a peer has chosen (a Unix path), as ASCII without anything that a terminal or a reader of lines would obey. */
static void gopark_escape(const char *in, int n, char *out, int room) {
    static const char hex[] = "0123456789abcdef";
    int at = 0;
    for (int i = 0; i < n && at < room - 5; i++) {
        unsigned char c = (unsigned char)in[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out[at++] = (char)c;
            continue;
        }
        out[at++] = '\\';
        if (c == '\\') {
            out[at++] = '\\';
            continue;
        }
        out[at++] = 'x';
        out[at++] = hex[c >> 4];
        out[at++] = hex[c & 15];
    }
    out[at] = 0;
}
/* host:port, [host]:port, a path, @name; "" for what is none of these. */
static int gopark_sockname(int fd, int peer, char *out, int room) {
    union { struct sockaddr any; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un;
            struct sockaddr_storage room; } a;
    socklen_t n = sizeof(a);
    char host[INET6_ADDRSTRLEN];
    memset(&a, 0, sizeof(a));
    out[0] = 0;
    if ((peer ? getpeername(fd, &a.any, &n) : getsockname(fd, &a.any, &n)) != 0)
        return errno;
    if (a.any.sa_family == AF_INET && inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host)))
        snprintf(out, room, "%s:%d", host, ntohs(a.in.sin_port));
    else if (a.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host)))
        snprintf(out, room, "[%s]:%d", host, ntohs(a.in6.sin6_port));
    else if (a.any.sa_family == AF_UNIX && n > offsetof(struct sockaddr_un, sun_path)) {
        int len = (int)((n < sizeof(a) ? n : sizeof(a)) - offsetof(struct sockaddr_un, sun_path));
        if (a.un.sun_path[0] == 0) {
            out[0] = '@';
            gopark_escape(a.un.sun_path + 1, len - 1, out + 1, room - 1);
        } else
            gopark_escape(a.un.sun_path, (int)strnlen(a.un.sun_path, len), out, room);
    }
    return 0;
}
/* Not libc's recv and send: those are cancellation points of pthreads, which costs two atomic operations each as soon
   as a process has a second thread (sysmon). */
static ssize_t gopark_recv(int fd, void *buf, size_t n) {
    return syscall(SYS_recvfrom, fd, buf, n, MSG_DONTWAIT, NULL, NULL);
}
static ssize_t gopark_send(int fd, const void *buf, size_t n) {
    return syscall(SYS_sendto, fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
}
static ssize_t gopark_sendv(int fd, struct iovec *v, int n) {
    struct msghdr m;
    memset(&m, 0, sizeof(m));
    m.msg_iov = v;
    m.msg_iovlen = n;
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}
/* Is O_NONBLOCK cleared (by another process that shares the descriptor)? */
static int gopark_blocks(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}
static int gopark_polled(int fd, short events) {
    struct pollfd p = { fd, events, 0 };
    int r = poll(&p, 1, 0);
    return r < 0 ? -errno : r != 0;
}
static int gopark_readable(int fd) {
    return gopark_polled(fd, POLLIN);
}
static ssize_t gopark_again(void) {
    errno = EAGAIN;
    return -1;
}
static ssize_t gopark_read(int fd, void *buf, size_t n) {
    if (gopark_blocks(fd) && gopark_polled(fd, POLLIN) == 0)
        return gopark_again();
    return read(fd, buf, n);
}
/* SIGPIPE's default action (the process ends) is left out between these two; errno is the call's. */
struct gopark_pipe { int blocked; sigset_t before, pending; };
static void gopark_block_sigpipe(struct gopark_pipe *p) {
    struct sigaction action;
    sigset_t pipe;
    p->blocked = sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL;
    if (!p->blocked)
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigemptyset(&p->pending);
    sigpending(&p->pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &p->before);
}
static void gopark_restore_sigpipe(struct gopark_pipe *p) {
    static const struct timespec now = { 0, 0 };
    int err = errno;
    sigset_t pipe;
    if (!p->blocked)
        return;
    /* Whatever was returned: sendfile also sends it with the count of what went before. */
    if (!sigismember(&p->pending, SIGPIPE)) {
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &p->before, NULL);
    errno = err;
}
static ssize_t gopark_write_unsignalled(int fd, const struct iovec *v, int n) {
    struct gopark_pipe p;
    ssize_t r;
    gopark_block_sigpipe(&p);
    r = n == 1 ? write(fd, v->iov_base, v->iov_len) : writev(fd, v, n);
    gopark_restore_sigpipe(&p);
    return r;
}
static ssize_t gopark_sendfile(int out, int in, off_t offset, size_t n) {
    struct gopark_pipe p;
    ssize_t r;
    if (gopark_blocks(out)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    gopark_block_sigpipe(&p);
    r = sendfile(out, in, &offset, n);
    gopark_restore_sigpipe(&p);
    return r;
}
static ssize_t gopark_writev(int fd, const struct iovec *v, int n) {
    struct iovec first;
    struct stat st;
    if (!gopark_blocks(fd))
        return gopark_write_unsignalled(fd, v, n);
    if (gopark_polled(fd, POLLOUT) == 0)
        return gopark_again();
    /* Only what is certain to find room: a page in a pipe, a byte on a terminal. */
    first = v[0];
    if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        size_t room = S_ISFIFO(st.st_mode) ? PIPE_BUF : 1;
        if (first.iov_len > room)
            first.iov_len = room;
    }
    return gopark_write_unsignalled(fd, &first, 1);
}
static ssize_t gopark_write(int fd, const void *buf, size_t n) {
    struct iovec v = { (void *)buf, n };
    return gopark_writev(fd, &v, 1);
}
static int gopark_accept(int fd, struct sockaddr *a, socklen_t *len) {
    if (gopark_blocks(fd) && gopark_polled(fd, POLLIN) == 0)
        return (int)gopark_again();
    return accept4(fd, a, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
static int gopark_lingers(int fd) {
    struct linger l = { 0, 0 };
    socklen_t n = sizeof(l);
    return getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &n) == 0 && l.l_onoff && l.l_linger > 0;
}
/* fn(*args, **kwargs) in ctx: what it returned, or, with *raised set, what it raised.  In C, and without an exception on
   its way when it returns, because a goroutine's function runs on top of this frame and of its caller's: every parked
   goroutine keeps a copy of both. */
static PyObject *gopark_outcome(PyObject *ctx, PyObject *fn, PyObject *args, PyObject *kwargs, int *raised) {
    PyObject *value = NULL, *exc = NULL;
    if (PyContext_Enter(ctx) == 0) {
        value = PyObject_Call(fn, args, kwargs);
        if (value == NULL)
            exc = gopark_take_exception();
        if (PyContext_Exit(ctx) != 0) {
            Py_CLEAR(value);
            Py_CLEAR(exc);
        }
    }
    *raised = value == NULL;
    if (value == NULL && exc == NULL)
        exc = gopark_take_exception();
    return value != NULL ? value : exc;
}
/* The instruction that a frame is at: without specialization or instrumentation in *plain, as it is executed in *actual; 0
   if it has not begun. */
static void gopark_instruction(PyObject *frame, int *plain, int *actual) {
    int lasti = PyFrame_GetLasti((PyFrameObject *)frame);
    PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
    PyObject *bytes = PyCode_GetCode(code);
    *plain = *actual = 0;
    if (bytes == NULL) {
        PyErr_Clear();
    } else if (lasti >= 0 && lasti < PyBytes_GET_SIZE(bytes)) {
        *plain = (unsigned char)PyBytes_AS_STRING(bytes)[lasti];
        *actual = (unsigned char)code->co_code_adaptive[lasti];
    }
    Py_XDECREF(bytes);
    Py_DECREF(code);
}
/* Does a trace function, a profiler, a callback of sys.monitoring or one of greenlet.settrace run?  Whatever else the thread
   did meanwhile would not be seen by it. */
static int gopark_tracing(void) {
    return PyThreadState_Get()->tracing != 0;
}
/* How many Python calls may still be nested. */
static int gopark_room(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyThreadState_Get()->py_recursion_remaining;
#else
    return PyThreadState_Get()->recursion_remaining;
#endif
}
/* A local variable of a running function; NULL (and no exception) if it has no value.  Not by f_locals, which before 3.13 makes
   a dictionary that holds all of them until the function returns. */
static PyObject *gopark_local(PyObject *frame, PyObject *name) {
    PyObject *value = NULL;
#if PY_VERSION_HEX >= 0x030c0000
    value = PyFrame_GetVar((PyFrameObject *)frame, name);
    if (value == NULL)
        PyErr_Clear();
#else
    PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_localsplusnames); i++) {
        if (PyUnicode_Compare(PyTuple_GET_ITEM(code->co_localsplusnames, i), name) == 0) {
            value = ((PyFrameObject *)frame)->f_frame->localsplus[i];
            if (value != NULL && PyCell_Check(value) &&
                (PyBytes_AS_STRING(code->co_localspluskinds)[i] & (CO_FAST_CELL | CO_FAST_FREE)) != 0)
                value = PyCell_GET(value);
            Py_XINCREF(value);
            break;
        }
    }
    Py_DECREF(code);
#endif
    return value;
}
static int64_t gopark_coarseres(void) {
    struct timespec ts;
    clock_getres(CLOCK_MONOTONIC_COARSE, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
/* Is fn an async def, or a method that is one? */
static int gopark_is_async(PyObject *fn) {
    if (PyMethod_Check(fn)) fn = PyMethod_GET_FUNCTION(fn);
    return PyFunction_Check(fn) && (((PyCodeObject *)PyFunction_GET_CODE(fn))->co_flags & CO_COROUTINE) != 0;
}
#endif
