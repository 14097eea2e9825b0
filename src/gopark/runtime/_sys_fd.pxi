# The part of _sys.pyx that makes descriptors' system calls.  Each returns a value, or an errno: nothing raises but what
# is wrong with a buffer.  Its interpreted twin is _sys_py_fd.py.
#
# No call here blocks, whatever others have done to the descriptor: the flag O_NONBLOCK belongs to all who share it, and
# another process (a shell's child, with our stdin; who was passed a socket) may have cleared it.  Sockets' calls say
# MSG_DONTWAIT; where there is no such flag, a cleared O_NONBLOCK is noticed, and poll(2) asked first (see _sys.h).
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.limits cimport INT_MAX, INT_MIN

cdef extern from "_sys.h":
    int SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, O_NONBLOCK, AF_INET, AF_UNIX
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        pass
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    int gopark_sockname(int fd, int peer, char *out, int room) nogil
    Py_ssize_t gopark_recv(int fd, void *buf, size_t n) nogil
    Py_ssize_t gopark_send(int fd, const void *buf, size_t n) nogil
    Py_ssize_t gopark_sendv(int fd, iovec *v, int n) nogil
    Py_ssize_t gopark_read(int fd, void *buf, size_t n) nogil
    Py_ssize_t gopark_write(int fd, const void *buf, size_t n) nogil
    Py_ssize_t gopark_writev(int fd, const iovec *v, int n) nogil
    Py_ssize_t gopark_sendfile(int out_fd, int in_fd, int64_t offset, size_t n) nogil
    int gopark_accept(int fd, sockaddr *a, socklen_t *len) nogil
    int gopark_readable(int fd) nogil
    int gopark_lingers(int fd) nogil
    int c_socket "socket"(int family, int type, int proto) nogil
    int c_socketpair "socketpair"(int family, int type, int proto, int *fds) nogil
    int c_bind "bind"(int fd, const sockaddr *a, socklen_t n) nogil
    int c_connect "connect"(int fd, const sockaddr *a, socklen_t n) nogil
    int c_listen "listen"(int fd, int backlog) nogil
    int c_getsockopt "getsockopt"(int fd, int level, int opt, void *val, socklen_t *len) nogil
    int c_setsockopt "setsockopt"(int fd, int level, int opt, const void *val, socklen_t len) nogil
    int c_getsockname "getsockname"(int fd, sockaddr *a, socklen_t *len) nogil
    int c_getpeername "getpeername"(int fd, sockaddr *a, socklen_t *len) nogil
    int c_shutdown "shutdown"(int fd, int how) nogil
    int c_close "close"(int fd) nogil
    int c_fcntl "fcntl"(int fd, int cmd, ...) nogil


# -- bytes -------------------------------------------------------------------------------------------------------------

# Every connection's reads land here first: an idle connection owns no buffer, and the bytes object that is returned has
# the size of what arrived.  Safe because a call that fills it copies out before anything else can run.
cdef enum:
    SCRATCH = 65536
cdef char scratch[SCRATCH]


cdef inline Py_ssize_t clamp(Py_ssize_t n) noexcept nogil:
    # At most 1 GiB a call.
    return n if n <= 1 << 30 else 1 << 30


cdef inline object take(Py_ssize_t got):
    if got < 0:
        return errno
    return PyBytes_FromStringAndSize(scratch, got)


cdef object read_large(int fd, Py_ssize_t n, bint sock):
    cdef object b = PyBytes_FromStringAndSize(NULL, n)
    cdef Py_ssize_t got
    if sock:
        got = gopark_recv(fd, PyBytes_AS_STRING(b), n)
    else:
        got = gopark_read(fd, PyBytes_AS_STRING(b), n)
    if got < 0:
        return errno
    return b if got == n else b[:got]


cpdef object recv(int fd, Py_ssize_t n):
    """recv(2) on a socket: bytes, or errno as an int (small ints are cached: EAGAIN allocates nothing)."""
    if kernel is not None:
        return kernel.recv(fd, n)
    if n > SCRATCH:
        return read_large(fd, n, True)
    return take(gopark_recv(fd, scratch, n))


cpdef object read(int fd, Py_ssize_t n):
    """read(2): bytes, or errno as an int."""
    if kernel is not None:
        return kernel.read(fd, n)
    if n > SCRATCH:
        return read_large(fd, n, False)
    return take(gopark_read(fd, scratch, n))


cpdef Py_ssize_t recv_into(int fd, object buf, Py_ssize_t off) except? -1:
    """recv(2) into a writable buffer from *off* on: a count, or a negative errno."""
    if kernel is not None:
        return kernel.recv_into(fd, buf, off)
    cdef Py_buffer view
    cdef Py_ssize_t r
    PyObject_GetBuffer(buf, &view, PyBUF_WRITABLE)
    r = gopark_recv(fd, <char *>view.buf + off, clamp(view.len - off))
    if r < 0:
        r = -errno
    PyBuffer_Release(&view)
    return r


cpdef Py_ssize_t read_into(int fd, object buf, Py_ssize_t off) except? -1:
    """read(2) into a writable buffer from *off* on: a count, or a negative errno."""
    if kernel is not None:
        return kernel.read_into(fd, buf, off)
    cdef Py_buffer view
    cdef Py_ssize_t r
    PyObject_GetBuffer(buf, &view, PyBUF_WRITABLE)
    r = gopark_read(fd, <char *>view.buf + off, clamp(view.len - off))
    if r < 0:
        r = -errno
    PyBuffer_Release(&view)
    return r


cpdef Py_ssize_t send(int fd, object buf, Py_ssize_t off) except? -1:
    """send(2) without SIGPIPE from *off* on: a count, or a negative errno."""
    if kernel is not None:
        return kernel.send(fd, buf, off)
    cdef Py_buffer view
    cdef Py_ssize_t r
    if PyBytes_CheckExact(buf):
        r = gopark_send(fd, PyBytes_AS_STRING(buf) + off, clamp(PyBytes_GET_SIZE(buf) - off))
        return r if r >= 0 else -errno
    PyObject_GetBuffer(buf, &view, PyBUF_SIMPLE)
    r = gopark_send(fd, <char *>view.buf + off, clamp(view.len - off))
    if r < 0:
        r = -errno
    PyBuffer_Release(&view)
    return r


cpdef Py_ssize_t write(int fd, object buf, Py_ssize_t off) except? -1:
    """write(2) from *off* on, of what is no socket, without SIGPIPE: a count, or a negative errno."""
    if kernel is not None:
        return kernel.write(fd, buf, off)
    cdef Py_buffer view
    cdef Py_ssize_t r
    PyObject_GetBuffer(buf, &view, PyBUF_SIMPLE)
    r = gopark_write(fd, <char *>view.buf + off, clamp(view.len - off))
    if r < 0:
        r = -errno
    PyBuffer_Release(&view)
    return r


cdef Py_ssize_t gather(int fd, list bufs, bint sock) except? -1:
    cdef Py_buffer views[1024]
    cdef iovec iov[1024]
    cdef Py_ssize_t r
    cdef int i, n = 0
    if len(bufs) > 1024:
        return -EINVAL
    try:
        for b in bufs:
            PyObject_GetBuffer(b, &views[n], PyBUF_SIMPLE)
            iov[n].iov_base = views[n].buf
            iov[n].iov_len = views[n].len
            n += 1
        r = gopark_sendv(fd, iov, n) if sock else gopark_writev(fd, iov, n)
        if r < 0:
            r = -errno
    finally:
        for i in range(n):
            PyBuffer_Release(&views[i])
    return r


cpdef Py_ssize_t sendv(int fd, list bufs) except? -1:
    """sendmsg(2) of at most 1024 buffers, without SIGPIPE: a count, or a negative errno."""
    if kernel is not None:
        return kernel.sendv(fd, bufs)
    return gather(fd, bufs, True)


cpdef Py_ssize_t writev(int fd, list bufs) except? -1:
    """writev(2) of at most 1024 buffers to what is no socket, without SIGPIPE: a count, or a negative errno."""
    if kernel is not None:
        return kernel.writev(fd, bufs)
    return gather(fd, bufs, False)


cpdef Py_ssize_t sendfile(int out_fd, int in_fd, int64_t offset, Py_ssize_t n) noexcept:
    """sendfile(2) to a socket from *offset* on, without SIGPIPE: a count, or a negative errno.

    It may wait for the disk, so others may have the GIL.  EOPNOTSUPP also if it could wait for the peer (O_NONBLOCK cleared)."""
    cdef Py_ssize_t r
    with nogil:
        r = gopark_sendfile(out_fd, in_fd, offset, n)
        if r < 0:
            r = -errno
    return r


cpdef int readable(int fd) noexcept:
    """poll(2) without waiting: 1 if a read would not block, 0 if it would, or a negative errno."""
    if kernel is not None:
        return kernel.readable(fd)
    return gopark_readable(fd)


# -- sockets: addresses are packed, as the kernel has them -------------------------------------------------------------

cpdef int socket(int family, int type, int proto) noexcept:
    """socket(2), not blocking and close-on-exec: a descriptor, or a negative errno."""
    if kernel is not None:
        return kernel.socket(family, type, proto)
    cdef int r = c_socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, proto)
    return r if r >= 0 else -errno


def socketpair(int type):
    """socketpair(2) of Unix sockets, not blocking and close-on-exec: two descriptors, or errno as an int."""
    if kernel is not None:
        return kernel.socketpair(type)
    cdef int fds[2]
    if c_socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0:
        return errno
    return fds[0], fds[1]


cpdef int bind(int fd, bytes address) noexcept:
    """bind(2): 0, or a negative errno."""
    if kernel is not None:
        return kernel.bind(fd, address)
    return 0 if c_bind(fd, <sockaddr *>PyBytes_AS_STRING(address), PyBytes_GET_SIZE(address)) == 0 else -errno


cpdef int connect(int fd, bytes address) noexcept:
    """connect(2): 0, or a negative errno (EINPROGRESS)."""
    if kernel is not None:
        return kernel.connect(fd, address)
    return 0 if c_connect(fd, <sockaddr *>PyBytes_AS_STRING(address), PyBytes_GET_SIZE(address)) == 0 else -errno


cpdef int listen(int fd, int backlog) noexcept:
    if kernel is not None:
        return kernel.listen(fd, backlog)
    return 0 if c_listen(fd, backlog) == 0 else -errno


cpdef object accept4(int fd):
    """accept4(SOCK_NONBLOCK | SOCK_CLOEXEC): (fd, peer's packed address), or errno as an int."""
    if kernel is not None:
        return kernel.accept4(fd)
    cdef sockaddr_storage a
    cdef socklen_t n = sizeof(a)
    cdef int r = gopark_accept(fd, <sockaddr *>&a, &n)
    if r < 0:
        return errno
    return r, PyBytes_FromStringAndSize(<char *>&a, n if n < sizeof(a) else sizeof(a))


cpdef uint64_t inet4(bytes raw) noexcept:
    """A packed IPv4 address with its port as one number, address << 16 | port; 0 for what is none."""
    cdef const unsigned char *p = <const unsigned char *>PyBytes_AS_STRING(raw)
    cdef uint64_t n = 0
    cdef int i
    if PyBytes_GET_SIZE(raw) < 8 or (<const sockaddr_storage *>p).ss_family != AF_INET:
        return 0
    for i in range(4, 8):
        n = n << 8 | p[i]
    return n << 16 | p[2] << 8 | p[3]


cpdef object getsockname(int fd):
    """The packed local address, or errno as an int."""
    if kernel is not None:
        return kernel.getsockname(fd)
    cdef sockaddr_storage a
    cdef socklen_t n = sizeof(a)
    if c_getsockname(fd, <sockaddr *>&a, &n) != 0:
        return errno
    return PyBytes_FromStringAndSize(<char *>&a, n if n < sizeof(a) else sizeof(a))


cpdef object getpeername(int fd):
    """The peer's packed address, or errno as an int."""
    if kernel is not None:
        return kernel.getpeername(fd)
    cdef sockaddr_storage a
    cdef socklen_t n = sizeof(a)
    if c_getpeername(fd, <sockaddr *>&a, &n) != 0:
        return errno
    return PyBytes_FromStringAndSize(<char *>&a, n if n < sizeof(a) else sizeof(a))


cpdef int setsockopt(int fd, int level, int option, object value) except? -1:
    """setsockopt(2) to an int or to bytes: 0, or a negative errno."""
    if kernel is not None:
        return kernel.setsockopt(fd, level, option, value)
    cdef Py_buffer view
    cdef int number, r
    if isinstance(value, int):
        number = value
        return 0 if c_setsockopt(fd, level, option, &number, sizeof(number)) == 0 else -errno
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    r = 0 if c_setsockopt(fd, level, option, view.buf, <socklen_t>clamp(view.len)) == 0 else -errno
    PyBuffer_Release(&view)
    return r


cpdef object getsockopt(int fd, int level, int option, int size):
    """getsockopt(2): at most *size* bytes of the option's value (4: an int), or errno as an int."""
    if kernel is not None:
        return kernel.getsockopt(fd, level, option, size)
    cdef char value[1024]
    cdef socklen_t n = size if 0 <= size < <int>sizeof(value) else sizeof(value)
    if c_getsockopt(fd, level, option, value, &n) != 0:
        return errno
    return PyBytes_FromStringAndSize(value, n)


cpdef int connect_error(int fd) noexcept:
    """SO_ERROR: 0 or a positive errno."""
    if kernel is not None:
        return kernel.connect_error(fd)
    cdef int val = 0
    cdef socklen_t n = sizeof(val)
    if c_getsockopt(fd, SOL_SOCKET, SO_ERROR, &val, &n) != 0:
        return errno
    return val


cpdef int has_peer(int fd) noexcept:
    """getpeername: 0 if the socket is connected, else a positive errno."""
    if kernel is not None:
        return kernel.has_peer(fd)
    cdef sockaddr_storage a
    cdef socklen_t n = sizeof(a)
    return 0 if c_getpeername(fd, <sockaddr *>&a, &n) == 0 else errno


def socket_names(int fd):
    """(local address, peer's address) of a socket as printable text, "" for what there is not; None if *fd* is not a socket.

    For dumps.  It keeps the GIL: each release beside a busy loop would cost 5 ms, and a dump asks ten thousand times."""
    if kernel is not None:
        return kernel.socket_names(fd)
    cdef char local[512]
    cdef char peer[512]
    if gopark_sockname(fd, 0, local, sizeof(local)) != 0:
        return None
    gopark_sockname(fd, 1, peer, sizeof(peer))
    return local.decode("ascii"), peer.decode("ascii")


cpdef int set_nonblock(int fd) noexcept:
    if kernel is not None:
        return kernel.set_nonblock(fd)
    cdef int flags = c_fcntl(fd, F_GETFL)
    if flags < 0:
        return -errno
    if flags & O_NONBLOCK:
        return 0
    return 0 if c_fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 else -errno


cpdef int dup(int fd) noexcept:
    """Another descriptor for the same file, close-on-exec and not among the standard ones, or a negative errno."""
    cdef int r = c_fcntl(fd, F_DUPFD_CLOEXEC, 3)
    return r if r >= 0 else -errno


cpdef int shutdown(int fd, int how) noexcept:
    if kernel is not None:
        return kernel.shutdown(fd, how)
    return 0 if c_shutdown(fd, how) == 0 else -errno


cpdef int lingers(int fd) noexcept:
    """Would close(2) wait for the peer (SO_LINGER with a time)?  0 also for what is no socket."""
    if kernel is not None:
        return kernel.lingers(fd)
    return gopark_lingers(fd)


cpdef int close(int fd) noexcept:
    # Never retried on EINTR: on Linux the descriptor is gone, and its number may be another's already.
    if kernel is not None:
        return kernel.close(fd)
    return 0 if c_close(fd) == 0 else -errno


def close_slowly(int fd) -> int:
    """close, for a thread that may wait in it."""
    if kernel is not None:
        return kernel.close_slowly(fd)
    cdef int r
    with nogil:
        r = 0 if c_close(fd) == 0 else -errno
    return r
