/* What the hooks remember of a descriptor, by its number, and how a call waits for one.

   A call that is ready must cost next to nothing and take no lock: so what it needs to know is a byte in an array.  All of
   it is a hint that a wrong guess survives, because a number can be closed and given out again where no hook sees it: the
   kind only chooses the system call that is tried first, and whoever is about to park asks the kernel once more.

   What must not live here: who waits for what in the runtime (descriptors.pxi), what a call does (sockets.h, files.h,
   waiting.h). */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    FD_ENTRY = 1,     /* the runtime knows it: descriptors.pxi has an Entry */
    FD_SOCKET = 2,    /* read and write are recv and send */
    FD_NOWAIT = 4,    /* preadv2 and pwritev2 take RWF_NOWAIT: a pipe */
    FD_POLLED = 8,    /* it can be polled, and has no call that does not wait */
    FD_PLAIN = 16,    /* a socket without SO_RCVTIMEO, SO_SNDTIMEO and SO_RCVLOWAT */
    FD_STREAM = 32,   /* FD_PLAIN, and a stream */
    FD_DRAINED = 64,  /* the last recv had to wait, and then took all there was: the next will have to wait, too */
    FD_OURS = 128,    /* the runtime's own: nobody else closes it */
    FD_KIND = FD_SOCKET | FD_NOWAIT | FD_POLLED,
    FD_OPTIONS = FD_PLAIN | FD_STREAM | FD_DRAINED,
};
#define FD_LIMIT (1 << 20) /* of what has a higher number nothing is remembered: it is asked for at each call */

static uint8_t *fd_table;
static int fd_high;             /* no number above it was ever entered */
static int fd_lowat;            /* somebody has set SO_RCVLOWAT: a short read may have to go on */
static volatile pid_t fd_owner; /* this process.  A vforked child has another number, and our memory */

/* descriptors.pxi.  The GIL is held; it sets no exception. */
static int bridge_fd(int fd, int mode, int64_t deadline);
static void bridge_forget(int fd);

static inline unsigned fd_bits(int fd) {
    return (unsigned)fd < FD_LIMIT ? __atomic_load_n(&fd_table[fd], __ATOMIC_RELAXED) : 0;
}
static inline void fd_set_bits(int fd, unsigned bits) {
    if ((unsigned)fd >= FD_LIMIT) return;
    if (fd > fd_high) fd_high = fd;
    __atomic_fetch_or(&fd_table[fd], bits, __ATOMIC_RELAXED);
}
static inline void fd_clear_bits(int fd, unsigned bits) {
    if ((unsigned)fd < FD_LIMIT && fd_table[fd] & bits) __atomic_fetch_and(&fd_table[fd], (uint8_t)~bits, __ATOMIC_RELAXED);
}
/* Somebody has changed a socket's time-outs.  Which descriptors share it is not known: all forget them. */
static void fd_options_changed(void) {
    for (int fd = 0; fd <= fd_high; fd++) fd_clear_bits(fd, FD_OPTIONS);
}

static int fd_table_make(void) {
    fd_owner = getpid();
    if (fd_table) return 0;
    void *p = mmap(NULL, FD_LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return errno;
    fd_table = p;
    return 0;
}

/* The descriptor is about to be closed, or to become another file: whoever waits for it is told.  Any thread. */
static void fd_closing(int fd) {
    unsigned bits = fd_bits(fd);
    struct python p;
    if (bits == 0 || bits & FD_OURS || !park_on || getpid() != fd_owner) return;
    fd_clear_bits(fd, FD_KIND | FD_OPTIONS);
    if (!(bits & FD_ENTRY)) return;
    if (on_runtime()) {
        if (!python_enter(&p)) return;
        bridge_forget(fd);
        python_leave(&p);
    } else if (Py_IsInitialized()) {
        int e = errno;
        PyGILState_STATE state = PyGILState_Ensure(); /* what wakes a goroutine from another thread needs no more */
        PyObject *raised = park_take_raised();
        bridge_forget(fd);
        park_put_raised(raised);
        PyGILState_Release(state);
        errno = e;
    }
}

/* -- waiting -------------------------------------------------------------------------------------------------------- */

enum { IO_AGAIN, IO_FAILED, IO_BLOCK }; /* try again; errno says why not; make the real, blocking call */
enum { READING = 1, WRITING = 2 };

/* A call's waits: one of these on its stack. */
struct io { int fd, mode, state, spins; int64_t deadline; };
enum { IO_NEW = 0, IO_WAITING, IO_LATE };
#define IO_FOR(FD, MODE) {FD, MODE, IO_NEW, 0, 0}

static inline int would_block(int e) { return e == EAGAIN || e == EWOULDBLOCK; }

/* A socket's time-out for the direction, ns; 0: none. */
static int64_t io_timeout(int fd, int mode) {
    struct timeval tv = {0, 0};
    socklen_t size = sizeof tv;
    int e = errno, value = 0;
    int64_t ns = 0;
    if (fd_bits(fd) & FD_PLAIN) return 0;
    if (getsockopt(fd, SOL_SOCKET, mode == READING ? SO_RCVTIMEO : SO_SNDTIMEO, &tv, &size) == 0) {
        ns = (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000;
        if (ns == 0) { /* neither has the other direction? */
            size = sizeof tv;
            if (getsockopt(fd, SOL_SOCKET, mode == READING ? SO_SNDTIMEO : SO_RCVTIMEO, &tv, &size) == 0 && tv.tv_sec == 0 &&
                tv.tv_usec == 0) {
                size = sizeof value;
                fd_set_bits(fd, FD_PLAIN);
                if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) == 0 && value == SOCK_STREAM) fd_set_bits(fd, FD_STREAM);
            }
        }
    }
    errno = e;
    return ns;
}

/* 0, or IO_FAILED: the call does not wait, or its time is up. */
static int io_begin(struct io *io) {
    if (io->state == IO_NEW) {
        int64_t timeout;
        /* Asked at each wait, never remembered: whoever shares the file, another process too, may have changed it. */
        int flags = fcntl(io->fd, F_GETFL);
        if (flags < 0) return IO_FAILED;
        if (!(flags & O_NONBLOCK)) {
            timeout = io_timeout(io->fd, io->mode);
            if (timeout) io->deadline = monotonic_ns() + timeout;
            io->state = IO_WAITING;
            return 0;
        }
    } else if (io->state == IO_WAITING) return 0;
    errno = EAGAIN;
    return IO_FAILED;
}

static int io_parked(struct io *io, int k) {
    if (k == PARK_READY) return IO_AGAIN;
    if (k == PARK_TIMEOUT) {
        io->state = IO_LATE;
        return IO_AGAIN;
    }
    if (k == PARK_CANNOT) return IO_BLOCK;
    errno = k == PARK_CLOSED ? EBADF : EINTR;
    return IO_FAILED;
}

/* io_wait for what the kernel tells nobody of: look again in growing intervals, 50 us to 10 ms. */
static int io_nap(struct io *io) {
    if (io_begin(io)) return IO_FAILED;
    int64_t nap = (int64_t)50000 << (io->spins > 8 ? 8 : io->spins), until;
    until = monotonic_ns() + (nap > 10000000 ? 10000000 : nap);
    io->spins++;
    if (io->deadline && until >= io->deadline) {
        until = io->deadline;
        io->state = IO_LATE;
    }
    return io_parked(io, park_until(until));
}

/* A call found that it would have to wait.  Then IO_AGAIN: try it again.

   Readiness that comes at once, and to nothing, again and again is none that the kernel tells (a datagram socket's full
   receiver): from the third time on, naps in between. */
static int io_wait(struct io *io) {
    if (io_begin(io)) return IO_FAILED;
    if (io->spins > 2 && io->spins & 1) return io_nap(io);
    int64_t began = io->spins ? monotonic_ns() : 0;
    int k = park_fd(io->fd, io->mode, io->deadline);
    if (k == PARK_READY) io->spins = began && monotonic_ns() - began > 1000000 ? 1 : io->spins + 1;
    return io_parked(io, k);
}

/* Is it ready now?  Also true for what poll has something else to say of: the call itself will. */
static inline int io_ready(int fd, int mode) {
    struct pollfd p = {fd, mode == READING ? POLLIN : POLLOUT, 0};
    return poll(&p, 1, 0) != 0;
}

/* A call that may still block although its descriptor was ready a moment ago, because another process was faster: sysmon ends
   it with EINTR if it lasts. */
static void (*io_risk)(int begins);
static inline void io_risky(int begins) {
    if (io_risk) io_risk(begins);
}

/* -- vectors -------------------------------------------------------------------------------------------------------- */

static size_t iov_size(const struct iovec *v, size_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i].iov_len;
    return sum;
}
/* What is left of a vector behind its first *done* bytes; to be freed.  NULL: no memory. */
static struct iovec *iov_rest(const struct iovec *v, size_t n, size_t done, size_t *left) {
    while (n && done >= v->iov_len) done -= v->iov_len, v++, n--;
    struct iovec *rest = malloc((n ? n : 1) * sizeof *rest);
    if (!rest) return NULL;
    memcpy(rest, v, n * sizeof *rest);
    if (n) {
        rest->iov_base = (char *)rest->iov_base + done;
        rest->iov_len -= done;
    }
    *left = n;
    return rest;
}
