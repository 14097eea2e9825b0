# C-level face of _sys.pyx: what the compiled core calls directly.  Its interpreted twin is _sys_py.py.
from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64

    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef class EventBuffer:
    cdef epoll_event ev[128]
    cpdef int wait(self, int epfd, int64_t delay) except? -1
    cdef uint32_t mask(self, int i) noexcept
    cdef uint64_t data(self, int i) noexcept

cdef extern from "Python.h":
    int PyLong_CheckExact(object n)
    Py_ssize_t PyLong_AsSsize_t(object n) noexcept
    void PyErr_Clear()

cdef inline Py_ssize_t count(object n) noexcept:
    # n, if it is an int of 0 or more that fits; else -1.
    cdef Py_ssize_t c = -1
    if PyLong_CheckExact(n):
        c = PyLong_AsSsize_t(n)
        if c < 0:
            PyErr_Clear()
            c = -1
    return c

cdef extern from "Python.h":
    int PyFloat_CheckExact(object x)
    double PyFloat_AS_DOUBLE(object x) noexcept

cdef inline int64_t float_ns(object seconds) noexcept:
    # seconds as ns, rounded up, if it is a float, and they fit; else INT64_MIN.
    cdef double ns
    cdef int64_t whole
    if PyFloat_CheckExact(seconds):
        ns = PyFloat_AS_DOUBLE(seconds) * 1e9
        if -9.2e18 < ns < 9.2e18:
            whole = <int64_t>ns
            return whole + (ns > <double>whole)
    return INT64_MIN

cdef inline void headroom() noexcept:
    pass  # C code has its own stack: the interpreter's limit is not in its way

cpdef int64_t nanotime() noexcept
cpdef int64_t coarsetime() noexcept
cpdef int64_t coarseres() noexcept
cpdef long thread_ident() noexcept
cpdef bint is_async(object fn)

cpdef int epoll_create(int size) noexcept
cpdef int epoll_create1(int flags) noexcept
cpdef int epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data) noexcept
cpdef int eventfd() noexcept
cpdef int eventfd_write(int fd) noexcept
cpdef int eventfd_drain(int fd) noexcept

cpdef object recv(int fd, Py_ssize_t n)
cpdef object read(int fd, Py_ssize_t n)
cpdef Py_ssize_t recv_into(int fd, object buf, Py_ssize_t off) except? -1
cpdef Py_ssize_t read_into(int fd, object buf, Py_ssize_t off) except? -1
cpdef Py_ssize_t send(int fd, object buf, Py_ssize_t off) except? -1
cpdef Py_ssize_t write(int fd, object buf, Py_ssize_t off) except? -1
cpdef Py_ssize_t sendv(int fd, list bufs) except? -1
cpdef Py_ssize_t writev(int fd, list bufs) except? -1
cpdef Py_ssize_t sendfile(int out_fd, int in_fd, int64_t offset, Py_ssize_t n) noexcept
cpdef int readable(int fd) noexcept
cpdef int socket(int family, int type, int proto) noexcept
cpdef int bind(int fd, bytes address) noexcept
cpdef int connect(int fd, bytes address) noexcept
cpdef int listen(int fd, int backlog) noexcept
cpdef object accept4(int fd)
cpdef uint64_t inet4(bytes raw) noexcept
cpdef object getsockname(int fd)
cpdef object getpeername(int fd)
cpdef int setsockopt(int fd, int level, int option, object value) except? -1
cpdef object getsockopt(int fd, int level, int option, int size)
cpdef int connect_error(int fd) noexcept
cpdef int has_peer(int fd) noexcept
cpdef int set_nonblock(int fd) noexcept
cpdef int dup(int fd) noexcept
cpdef int shutdown(int fd, int how) noexcept
cpdef int lingers(int fd) noexcept
cpdef int close(int fd) noexcept

cpdef object new_greenlet(object run, object parent)
cpdef object getcurrent()
cpdef bint is_current(object g) noexcept
cpdef int switch(object g) except -1
cpdef object copy_context()

cdef class Raised:
    cdef readonly object exc

cpdef object take_exception()
cpdef object outcome(object ctx, object fn, tuple args, dict kwargs)
cpdef object untrack(object obj)
cpdef object track(object obj)
cpdef object caller_code()
cpdef int caller_lasti() except -2
cpdef int check_signals() except -1

cdef void sysmon_tick(uint64_t tick) noexcept
cdef void sysmon_blocking() noexcept
cdef void sysmon_resumed() noexcept
cpdef int sysmon_take_request() noexcept
ctypedef void (*risk_function)(int begins) noexcept nogil
cdef risk_function sysmon_risk() noexcept
