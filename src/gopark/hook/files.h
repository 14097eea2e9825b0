/* read, write and their kin, close, dup2, sendfile, splice: on whatever a descriptor may be.

   A regular file never parks.  A socket's read and write are recv and send.  A pipe is read and written with RWF_NOWAIT where
   the kernel has that for pipes (Linux 6.4); all else that can be polled is polled first, and then the call is made that might
   block: between the two nobody else runs on this thread.  (pread and pwrite are not here: what can be waited for has no
   positions.)

   What must not live here: sockets' own calls (sockets.h), how a wait is done (descriptors.h). */
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <termios.h>

/* What it is: one of FD_KIND's bits, or 0: a call on it never waits for others (a file), or nothing is known. */
static unsigned file_kind(int fd) {
    unsigned kind = fd_bits(fd) & FD_KIND;
    struct stat st;
    int e = errno;
    if (kind) return kind;
    if (fstat(fd, &st) != 0) kind = 0;
    else if (S_ISSOCK(st.st_mode)) kind = FD_SOCKET;
    else if (S_ISFIFO(st.st_mode)) kind = FD_NOWAIT;
    else if (S_ISCHR(st.st_mode) || (st.st_mode & S_IFMT) == 0) kind = FD_POLLED;
    errno = e;
    if (kind) fd_set_bits(fd, kind);
    return kind;
}
/* It is about to wait, or is not what it was thought to be: look anew. */
static unsigned file_kind_again(int fd) {
    unsigned was = fd_bits(fd) & FD_KIND, kind;
    fd_clear_bits(fd, FD_KIND);
    kind = file_kind(fd);
    if (was & FD_POLLED && kind & FD_NOWAIT) { /* a FIFO: it was found out that it has no RWF_NOWAIT */
        fd_clear_bits(fd, FD_NOWAIT);
        fd_set_bits(fd, FD_POLLED);
        kind = FD_POLLED;
    }
    return kind;
}
static void file_no_nowait(int fd) {
    fd_clear_bits(fd, FD_NOWAIT);
    fd_set_bits(fd, FD_POLLED);
}

/* -- reading -------------------------------------------------------------------------------------------------------- */

static ssize_t read_polled(int fd, const struct iovec *v, int n) {
    struct io io = IO_FOR(fd, READING);
    ssize_t r;
    while (!io_ready(fd, READING)) {
        int k;
        if (io.state == IO_NEW && !file_kind_again(fd)) break;
        k = io_wait(&io);
        if (k == IO_FAILED) return -1;
        if (k == IO_BLOCK) break;
    }
    io_risky(1);
    r = readv(fd, v, n);
    io_risky(0);
    return r;
}
static ssize_t read_any(int fd, const struct iovec *v, int n) {
    struct io io = IO_FOR(fd, READING);
    unsigned kind = file_kind(fd);
    for (;;) {
        if (kind == 0) return readv(fd, v, n);
        if (kind & FD_POLLED) return read_polled(fd, v, n);
        if (kind & FD_SOCKET) {
            struct msghdr m = {0};
            ssize_t r;
            m.msg_iov = (struct iovec *)v;
            m.msg_iovlen = n;
            r = n == 1 ? h_recvfrom(fd, v->iov_base, v->iov_len, 0, NULL, NULL) : h_recvmsg(fd, &m, 0);
            if (r >= 0 || errno != ENOTSOCK) return r;
            fd_clear_bits(fd, FD_KIND);
            kind = file_kind(fd);
            continue;
        }
        ssize_t r = preadv2(fd, v, n, -1, RWF_NOWAIT);
        if (r >= 0) return r;
        if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
            file_no_nowait(fd);
            kind = file_kind_again(fd);
            continue;
        }
        if (!would_block(errno)) return r;
        kind = file_kind_again(fd);
        if (!(kind & FD_NOWAIT)) continue;
        int k = io_wait(&io);
        if (k == IO_FAILED) return -1;
        if (k == IO_BLOCK) return readv(fd, v, n);
    }
}
static ssize_t h_read(int fd, void *buf, size_t n) {
    if (!on_runtime() || n == 0) return read(fd, buf, n);
    if (fd_bits(fd) & FD_KIND || file_kind(fd)) {
        struct iovec v = {buf, n > INT_MAX ? INT_MAX : n};
        return read_any(fd, &v, 1);
    }
    return read(fd, buf, n);
}
static ssize_t h_readv(int fd, const struct iovec *v, int n) {
    if (!on_runtime() || n <= 0 || n > IOV_MAX || iov_size(v, n) == 0) return readv(fd, v, n);
    return read_any(fd, v, n);
}

/* -- writing: a blocking write returns when all is written ------------------------------------------------------------ */

/* A write that a thread of the pool makes, of a copy. */
struct pool_write { int fd; ssize_t r; int e; size_t n; char bytes[]; };
static void pool_write_run(void *arg) {
    struct pool_write *w = arg;
    w->r = write(w->fd, w->bytes, w->n);
    w->e = errno;
}
static ssize_t write_on_pool(int fd, const char *bytes, size_t n) {
    struct pool_write *w = malloc(sizeof *w + n);
    ssize_t r;
    if (!w) return write(fd, bytes, n);
    w->fd = fd;
    w->n = n;
    memcpy(w->bytes, bytes, n);
    if (park_call(pool_write_run, w) == PARK_READY) {
        r = w->r;
        errno = w->e;
    } else r = write(fd, bytes, n);
    free(w);
    return r;
}
/* Of what is only known that something can be written now: how much of n can not block.  0: perhaps not even that little.

   A pipe that can be written to takes PIPE_BUF.  What a terminal takes nobody says: the one that this process was started on is
   read by somebody else, who goes on reading; another may be read by a goroutine of ours.  An eventfd takes 1. */
static size_t write_room(int fd, const char *bytes, size_t n) {
    struct stat st;
    uint64_t value = 0;
    if (fstat(fd, &st) != 0 || S_ISFIFO(st.st_mode)) return n < PIPE_BUF ? n : PIPE_BUF;
    if (isatty(fd)) return tcgetsid(fd) == getsid(0) ? (n < PIPE_BUF ? n : PIPE_BUF) : 0;
    if ((st.st_mode & S_IFMT) == 0 && n >= sizeof value) memcpy(&value, bytes, sizeof value);
    return value > 1 && !S_ISCHR(st.st_mode) ? 0 : n;
}
static ssize_t write_polled(int fd, const char *bytes, size_t n) {
    struct io io = IO_FOR(fd, WRITING);
    size_t done = 0;
    int flags;
    while (done < n) {
        size_t piece;
        ssize_t r;
        if (!io_ready(fd, WRITING)) {
            int k;
            if (io.state == IO_NEW && !file_kind_again(fd)) return write(fd, bytes, n);
            k = io_wait(&io);
            if (k == IO_FAILED) return done ? (ssize_t)done : -1;
            if (k == IO_AGAIN) continue;
            r = write(fd, bytes + done, n - done);
            return r < 0 ? (done ? (ssize_t)done : r) : (ssize_t)(done + r);
        }
        flags = done ? 0 : fcntl(fd, F_GETFL);
        if (flags < 0 || flags & O_NONBLOCK) return write(fd, bytes, n);
        io_risky(1);
        piece = write_room(fd, bytes + done, n - done);
        r = piece ? write(fd, bytes + done, piece) : -1;
        io_risky(0);
        if (!piece) {
            piece = n - done < PIPE_BUF ? n - done : PIPE_BUF;
            r = write_on_pool(fd, bytes + done, piece);
        }
        if (r < 0) return done ? (ssize_t)done : r;
        done += r;
        io.spins = 0;
        if ((size_t)r < piece) break;
    }
    return done;
}
static ssize_t write_nowait(int fd, const char *bytes, size_t n) {
    struct io io = IO_FOR(fd, WRITING);
    size_t done = 0;
    for (;;) {
        struct iovec v = {(char *)bytes + done, n - done};
        ssize_t r = pwritev2(fd, &v, 1, -1, RWF_NOWAIT);
        if (r >= 0) {
            done += r;
            if (done >= n) return done;
            io.spins = 0;
        } else if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
            file_no_nowait(fd);
            if (file_kind_again(fd)) r = write_polled(fd, bytes + done, n - done);
            else r = write(fd, bytes + done, n - done);
            return r < 0 ? (done ? (ssize_t)done : r) : (ssize_t)(done + r);
        } else if (!would_block(errno)) return done ? (ssize_t)done : r;
        int k = file_kind_again(fd) & FD_NOWAIT ? io_wait(&io) : IO_BLOCK;
        if (k == IO_FAILED) return done ? (ssize_t)done : -1;
        if (k == IO_BLOCK) {
            r = write(fd, bytes + done, n - done);
            return r < 0 ? (done ? (ssize_t)done : r) : (ssize_t)(done + r);
        }
    }
}
static ssize_t h_write(int fd, const void *bytes, size_t n) {
    if (!on_runtime() || n == 0) return write(fd, bytes, n);
    unsigned kind = file_kind(fd);
    if (n > INT_MAX) n = kind ? INT_MAX & ~4095 : n; /* what the kernel does with more */
    if (kind & FD_NOWAIT) return write_nowait(fd, bytes, n);
    if (kind & FD_SOCKET) {
        ssize_t r = h_sendto(fd, bytes, n, 0, NULL, 0);
        if (r >= 0 || errno != ENOTSOCK) return r;
        fd_clear_bits(fd, FD_KIND);
        return h_write(fd, bytes, n);
    }
    return kind & FD_POLLED ? write_polled(fd, bytes, n) : write(fd, bytes, n);
}
static ssize_t h_writev(int fd, const struct iovec *v, int n) {
    if (!on_runtime() || n <= 0 || n > IOV_MAX || iov_size(v, n) == 0) return writev(fd, v, n);
    unsigned kind = file_kind(fd);
    if (kind == 0) return writev(fd, v, n);
    if (kind & FD_SOCKET) {
        struct msghdr m = {0};
        m.msg_iov = (struct iovec *)v;
        m.msg_iovlen = n;
        ssize_t r = h_sendmsg(fd, &m, 0);
        if (r >= 0 || errno != ENOTSOCK) return r;
        fd_clear_bits(fd, FD_KIND);
        return h_writev(fd, v, n);
    }
    /* As one piece: what is no longer than PIPE_BUF is written whole. */
    size_t sum = iov_size(v, n), at = 0;
    char *whole = malloc(sum);
    if (!whole) return writev(fd, v, n);
    for (int i = 0; i < n; i++) {
        memcpy(whole + at, v[i].iov_base, v[i].iov_len);
        at += v[i].iov_len;
    }
    ssize_t r = h_write(fd, whole, sum);
    int e = errno;
    free(whole);
    errno = e;
    return r;
}

/* -- closing -------------------------------------------------------------------------------------------------------- */

/* The runtime's own descriptors stay open whoever closes all that there is (daemons do), as if they were not there. */
static int fd_is_ours(int fd) { return fd_bits(fd) & FD_OURS && park_on && getpid() == fd_owner; }

static int h_close(int fd) {
    if (fd_is_ours(fd)) {
        errno = EBADF;
        return -1;
    }
    fd_closing(fd);
    return close(fd);
}
/* Is *fd* open, so that a dup2 of it will do something? */
static int fd_open_p(int fd) {
    int e = errno, yes = fcntl(fd, F_GETFD) >= 0;
    errno = e;
    return yes;
}
static int h_dup2(int from, int to) {
    if (from != to && fd_bits(to) && fd_open_p(from)) fd_closing(to);
    return dup2(from, to);
}
static int h_dup3(int from, int to, int flags) {
    if (from != to && fd_bits(to) && !(flags & ~O_CLOEXEC) && fd_open_p(from)) fd_closing(to);
    return dup3(from, to, flags);
}
static int close_range_real(unsigned first, unsigned last, int flags) {
    return first > last ? 0 : (int)syscall(SYS_close_range, first, last, flags);
}
static int h_close_range(unsigned first, unsigned last, int flags) {
    if (!park_on || getpid() != fd_owner || first > last || flags & ~2u /* CLOSE_RANGE_UNSHARE */) return close_range_real(first, last, flags);
    unsigned from = first;
    for (unsigned fd = first; fd <= last && fd <= (unsigned)fd_high; fd++) {
        if (!fd_is_ours(fd)) {
            fd_closing(fd);
            continue;
        }
        if (fd > from && close_range_real(from, fd - 1, flags) != 0) return -1;
        from = fd + 1;
    }
    return close_range_real(from, last, flags);
}

/* -- sendfile, splice ------------------------------------------------------------------------------------------------ */

/* Out to what may have to be waited for: the file is read, and written as h_write does. */
static ssize_t h_sendfile(int out, int in, off_t *offset, size_t count) {
    struct stat st;
    int flags;
    if (!on_runtime() || count == 0 || file_kind(out) == 0 || (flags = fcntl(out, F_GETFL)) < 0 || flags & O_NONBLOCK ||
        fstat(in, &st) != 0 || !S_ISREG(st.st_mode))
        return sendfile(out, in, offset, count);
    enum { PIECE = 256 * 1024 };
    off_t at = offset ? *offset : lseek(in, 0, SEEK_CUR);
    size_t done = 0;
    ssize_t r = 0;
    char *piece = at >= 0 ? malloc(count < PIECE ? count : PIECE) : NULL;
    if (!piece) return sendfile(out, in, offset, count);
    while (done < count) {
        size_t n = count - done < PIECE ? count - done : PIECE;
        r = pread(in, piece, n, at);
        if (r <= 0) break;
        n = r;
        r = h_write(out, piece, n);
        if (r < 0) break;
        done += r;
        at += r;
        if ((size_t)r < n) break;
    }
    int e = errno;
    free(piece);
    if (offset) *offset = at;
    else if (done) lseek(in, at, SEEK_SET);
    errno = e;
    return done ? (ssize_t)done : r;
}
static ssize_t h_splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags) {
    if (!on_runtime() || n == 0 || flags & SPLICE_F_NONBLOCK) return splice(in, in_at, out, out_at, n, flags);
    unsigned in_kind = file_kind(in), out_kind = file_kind(out);
    struct io from = IO_FOR(in, READING), to = IO_FOR(out, WRITING);
    /* A socket takes no more than it has room for, which is at least this. */
    if (out_kind & FD_SOCKET && n > PIPE_BUF) n = PIPE_BUF;
    for (;;) {
        int k = IO_AGAIN;
        if (in_kind && !io_ready(in, READING)) k = io_wait(&from);
        else if (out_kind && !io_ready(out, WRITING)) k = io_wait(&to);
        else {
            io_risky(1);
            ssize_t r = splice(in, in_at, out, out_at, n, flags | SPLICE_F_NONBLOCK);
            io_risky(0);
            if (r >= 0 || !would_block(errno)) return r;
            k = io_nap(&to);
        }
        if (k == IO_FAILED) return -1;
        if (k == IO_BLOCK) return splice(in, in_at, out, out_at, n, flags);
    }
}

/* -- fortified -------------------------------------------------------------------------------------------------------- */

static ssize_t h_read_chk(int fd, void *buf, size_t n, size_t room) {
    if (n > room) __chk_fail();
    return h_read(fd, buf, n);
}

static const struct hook files_hooks[] = {
    {"read", h_read},         {"__read", h_read},   {"__read_chk", h_read_chk}, {"readv", h_readv},
    {"write", h_write},       {"__write", h_write}, {"writev", h_writev},       {"close", h_close},
    {"__close", h_close},     {"dup2", h_dup2},     {"__dup2", h_dup2},         {"dup3", h_dup3},
    {"close_range", h_close_range}, {"sendfile", h_sendfile}, {"sendfile64", h_sendfile}, {"splice", h_splice},
    {NULL, NULL}};
