/* What _sys.pyx needs of C itself: system calls that libc does not have or does at a price, exceptions and frames by way of
   Python's C API.  No policy lives here. */
#ifndef GOPARK_SYS_H
#define GOPARK_SYS_H
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
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
        int len = (int)(n - offsetof(struct sockaddr_un, sun_path));
        if (a.un.sun_path[0] == 0)
            snprintf(out, room, "@%.*s", len - 1, a.un.sun_path + 1);
        else
            snprintf(out, room, "%.*s", len, a.un.sun_path);
    }
    return 0;
}
/* Not libc's recv and send: those are cancellation points of pthreads, which costs two atomic operations each as soon
   as a process has a second thread (sysmon). */
static ssize_t gopark_recv(int fd, void *buf, size_t n) {
    return syscall(SYS_recvfrom, fd, buf, n, 0, NULL, NULL);
}
static ssize_t gopark_send(int fd, const void *buf, size_t n) {
    return syscall(SYS_sendto, fd, buf, n, MSG_NOSIGNAL, NULL, 0);
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
/* The instruction that a frame is at, without specialization or instrumentation; 0 if it has not begun. */
static int gopark_opcode(PyObject *frame) {
    int lasti = PyFrame_GetLasti((PyFrameObject *)frame), op = 0;
    PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
    PyObject *bytes = PyCode_GetCode(code);
    if (bytes == NULL)
        PyErr_Clear();
    else if (lasti >= 0 && lasti < PyBytes_GET_SIZE(bytes))
        op = (unsigned char)PyBytes_AS_STRING(bytes)[lasti];
    Py_XDECREF(bytes);
    Py_DECREF(code);
    return op;
}
static int64_t gopark_coarseres(void) {
    struct timespec ts;
    clock_getres(CLOCK_MONOTONIC_COARSE, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
#endif
