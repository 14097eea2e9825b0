/* Sockets: recv, send and their kin, accept, connect, setsockopt.

   Each call is tried with MSG_DONTWAIT, which says for this call alone what O_NONBLOCK would say for everybody who shares the
   socket.  What a blocking call does beyond that is done here: it waits, sends all, and with MSG_WAITALL receives all.

   What must not live here: how a wait is done (descriptors.h). */
#include <limits.h>
#include <sys/uio.h>

/* These never wait, whatever the socket's flags are. */
#define RECV_NEVER_WAITS (MSG_DONTWAIT | MSG_OOB)

/* -- receiving ------------------------------------------------------------------------------------------------------ */

static int socket_option(int fd, int option) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : 0;
}
/* A call said EAGAIN: is that all that the blocking one says?  (For the queue of errors, which Unix sockets do not have.) */
static inline int recv_ends(int fd, int flags) {
    if (!would_block(errno)) return 1;
    if (!(flags & MSG_ERRQUEUE) || socket_option(fd, SO_DOMAIN) == AF_UNIX) return 0;
    errno = EAGAIN;
    return 1;
}
static int is_stream(int fd) {
    int e = errno, yes = fd_bits(fd) & FD_STREAM || socket_option(fd, SO_TYPE) == SOCK_STREAM;
    errno = e;
    return yes;
}
/* Has the peer, or have we, ended what can be received? */
static int at_end(int fd) {
    struct pollfd p = {fd, POLLRDHUP, 0};
    return poll(&p, 1, 0) != 0;
}
/* got > 0 of n bytes have come: would the blocking call wait for more? */
static inline int recv_goes_on(int fd, size_t got, size_t n, int flags) {
    if (got >= n || (!(flags & MSG_WAITALL) && !fd_lowat)) return 0;
    if (!is_stream(fd)) return 0;
    return flags & MSG_WAITALL ? !(flags & MSG_PEEK && at_end(fd)) : (int)got < socket_option(fd, SO_RCVLOWAT) && !at_end(fd);
}
/* Then: for more than has been peeked at, or less than SO_RCVLOWAT, there is no event. */
static inline int recv_more(struct io *io, int flags) {
    if (flags & MSG_PEEK || fd_lowat) return io_nap(io);
    io->spins = 0;
    return io_wait(io);
}

/* r is what a first try has said; -2: there was none. */
static ssize_t recv_wait(int fd, char *buf, size_t n, int flags, struct sockaddr *from, socklen_t *size, ssize_t r) {
    struct io io = IO_FOR(fd, READING);
    size_t got = r > 0 ? r : 0, at;
    for (;;) {
        int k = got ? recv_more(&io, flags) : io_wait(&io);
        if (k == IO_FAILED && (got || r != -2 || !would_block(errno))) return got ? (ssize_t)got : -1;
        at = flags & MSG_PEEK ? 0 : got;
        r = recvfrom(fd, buf + at, n - at, k == IO_BLOCK ? flags : flags | MSG_DONTWAIT, got ? NULL : from, got ? NULL : size);
        if (r < 0 && k == IO_AGAIN && would_block(errno)) continue;
        if (r <= 0) return got ? (ssize_t)got : r;
        got = at + r;
        if (k != IO_AGAIN || !recv_goes_on(fd, got, n, flags)) break;
    }
    if (got < n && !(flags & MSG_PEEK) && (fd_bits(fd) & (FD_STREAM | FD_ENTRY)) == (FD_STREAM | FD_ENTRY))
        fd_set_bits(fd, FD_DRAINED);
    else fd_clear_bits(fd, FD_DRAINED);
    return got;
}

static ssize_t h_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *from, socklen_t *size) {
    ssize_t r = -2;
    if (!on_runtime() || flags & RECV_NEVER_WAITS) return recvfrom(fd, buf, n, flags, from, size);
    /* What was drained is waited for first: that wait is one system call, which says as well that it is ready.  And what
       has an SO_RCVLOWAT: a try would take less. */
    if (!(fd_bits(fd) & FD_DRAINED) && (!fd_lowat || io_ready(fd, READING))) {
        r = recvfrom(fd, buf, n, flags | MSG_DONTWAIT, from, size);
        if (r < 0 ? recv_ends(fd, flags) : r == 0 || !recv_goes_on(fd, r, n, flags)) return r;
    }
    return recv_wait(fd, buf, n, flags, from, size, r);
}
static ssize_t h_recv(int fd, void *buf, size_t n, int flags) {
    if (!on_runtime() || flags & RECV_NEVER_WAITS) return recv(fd, buf, n, flags);
    return h_recvfrom(fd, buf, n, flags, NULL, NULL);
}

/* The rest of a recvmsg with MSG_WAITALL: *got* bytes are there.  Ancillary data end it, as they do in the kernel. */
static ssize_t recvmsg_rest(struct io *io, struct msghdr *m, int flags, size_t got) {
    size_t n = iov_size(m->msg_iov, m->msg_iovlen);
    while (m->msg_controllen == 0 && !(m->msg_flags & MSG_CTRUNC) && recv_goes_on(io->fd, got, n, flags)) {
        struct msghdr part = {0};
        int k = recv_more(io, flags);
        if (k == IO_FAILED) break;
        struct iovec *v = iov_rest(m->msg_iov, m->msg_iovlen, flags & MSG_PEEK ? 0 : got, &part.msg_iovlen);
        if (!v) break;
        part.msg_iov = v;
        ssize_t r = recvmsg(io->fd, &part, k == IO_BLOCK ? flags : flags | MSG_DONTWAIT);
        int e = errno;
        free(v);
        if (r < 0 && k != IO_BLOCK && would_block(e)) continue;
        if (r <= 0) break;
        got = flags & MSG_PEEK ? (size_t)r : got + r;
        m->msg_flags |= part.msg_flags;
    }
    return got;
}
static ssize_t h_recvmsg(int fd, struct msghdr *m, int flags) {
    if (!on_runtime() || flags & RECV_NEVER_WAITS) return recvmsg(fd, m, flags);
    struct io io = IO_FOR(fd, READING);
    for (;;) {
        if (!fd_lowat || io.state != IO_NEW || io_ready(fd, READING)) {
            size_t room = m->msg_controllen;
            ssize_t r = recvmsg(fd, m, flags | MSG_DONTWAIT);
            if (r > 0 && (flags & MSG_WAITALL || fd_lowat)) return recvmsg_rest(&io, m, flags, r);
            if (r >= 0 || recv_ends(fd, flags)) return r;
            m->msg_controllen = room;
        }
        int k = io_wait(&io);
        if (k == IO_FAILED && io.state == IO_NEW && would_block(errno)) return recvmsg(fd, m, flags);
        if (k == IO_FAILED) return -1;
        if (k == IO_BLOCK) return recvmsg(fd, m, flags);
    }
}
/* Its time-out is looked at after each datagram only, and does not end a wait: so does the kernel. */
static int h_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout) {
    if (!on_runtime() || flags & RECV_NEVER_WAITS || n == 0) return recvmmsg(fd, m, n, flags, timeout);
    struct io io = IO_FOR(fd, READING);
    int64_t end = timeout ? monotonic_ns() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec : 0, left;
    unsigned got = 0;
    if (timeout && (timeout->tv_sec < 0 || (unsigned long)timeout->tv_nsec >= 1000000000)) {
        errno = EINVAL;
        return -1;
    }
    for (;;) {
        int r = recvmmsg(fd, m + got, n - got, (flags & ~MSG_WAITFORONE) | MSG_DONTWAIT, NULL);
        if (r > 0) got += r, io.spins = 0;
        else if (recv_ends(fd, flags)) return got ? (int)got : -1;
        if (got == n || (got && flags & MSG_WAITFORONE)) break;
        if (got && timeout && monotonic_ns() >= end) break;
        if (r > 0) continue;
        int k = io_wait(&io);
        if (k == IO_FAILED) {
            if (!got) return -1;
            break;
        }
        if (k == IO_BLOCK) {
            if (!got) return recvmmsg(fd, m, n, flags, timeout);
            break;
        }
    }
    if (timeout) {
        left = end - monotonic_ns();
        if (left < 0) left = 0;
        timeout->tv_sec = left / 1000000000;
        timeout->tv_nsec = left % 1000000000;
    }
    return got;
}

/* -- sending: a blocking send returns when all is sent --------------------------------------------------------------- */

/* Not sent now; with TCP's fast open also: it connects first. */
static inline int send_waits(int e) { return would_block(e) || e == EINPROGRESS; }

static ssize_t send_wait(int fd, const char *buf, size_t n, int flags, const struct sockaddr *to, socklen_t size, ssize_t r) {
    struct io io = IO_FOR(fd, WRITING);
    size_t done = r > 0 ? r : 0;
    if (r < 0 && errno == EINPROGRESS) {
        flags &= ~MSG_FASTOPEN;
        to = NULL;
        size = 0;
    }
    for (;;) {
        int k = io_wait(&io);
        if (k == IO_FAILED) return done ? (ssize_t)done : -1;
        r = sendto(fd, buf + done, n - done, k == IO_BLOCK ? flags : flags | MSG_DONTWAIT, to, size);
        if (r < 0 && k != IO_BLOCK && would_block(errno)) continue;
        if (r < 0) return done ? (ssize_t)done : -1;
        done += r;
        if (done >= n || k == IO_BLOCK) return done;
        io.spins = 0;
    }
}
static ssize_t h_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to, socklen_t size) {
    if (!on_runtime() || flags & MSG_DONTWAIT) return sendto(fd, buf, n, flags, to, size);
    ssize_t r = sendto(fd, buf, n, flags | MSG_DONTWAIT, to, size);
    if (r >= 0 ? (size_t)r >= n : !send_waits(errno)) return r;
    return send_wait(fd, buf, n, flags, to, size, r);
}
static ssize_t h_send(int fd, const void *buf, size_t n, int flags) {
    if (!on_runtime() || flags & MSG_DONTWAIT) return send(fd, buf, n, flags);
    return h_sendto(fd, buf, n, flags, NULL, 0);
}

static ssize_t h_sendmsg(int fd, const struct msghdr *m, int flags) {
    if (!on_runtime() || flags & MSG_DONTWAIT) return sendmsg(fd, m, flags);
    struct io io = IO_FOR(fd, WRITING);
    struct msghdr part = *m; /* what is left */
    struct iovec *rest = NULL;
    size_t n = iov_size(m->msg_iov, m->msg_iovlen), done = 0;
    ssize_t r;
    int e, k = IO_AGAIN;
    for (;;) {
        r = sendmsg(fd, &part, k == IO_BLOCK ? flags : flags | MSG_DONTWAIT);
        e = errno;
        if (r >= 0) {
            done += r;
            if (done >= n || k == IO_BLOCK) break;
            io.spins = 0;
            free(rest);
            rest = part.msg_iov = iov_rest(m->msg_iov, m->msg_iovlen, done, &part.msg_iovlen);
            if (!rest) break;
            part.msg_control = NULL; /* went with the first byte */
            part.msg_controllen = 0;
        } else if (k == IO_BLOCK || !send_waits(e)) break;
        else if (e == EINPROGRESS) {
            flags &= ~MSG_FASTOPEN;
            part.msg_name = NULL;
            part.msg_namelen = 0;
        }
        k = io_wait(&io);
        e = errno;
        if (k == IO_FAILED) break;
    }
    free(rest);
    errno = e;
    return done || r >= 0 ? (ssize_t)done : -1;
}
static int h_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags) {
    if (!on_runtime() || flags & MSG_DONTWAIT) return sendmmsg(fd, m, n, flags);
    unsigned i;
    if (n > UIO_MAXIOV) n = UIO_MAXIOV;
    for (i = 0; i < n; i++) {
        ssize_t r = h_sendmsg(fd, &m[i].msg_hdr, flags);
        if (r < 0) return i ? (int)i : -1;
        m[i].msg_len = r;
        if ((size_t)r < iov_size(m[i].msg_hdr.msg_iov, m[i].msg_hdr.msg_iovlen)) return i + 1;
    }
    return i;
}

/* -- accept ----------------------------------------------------------------------------------------------------------
   There is no MSG_DONTWAIT for it.  Between the look and the call nobody else runs on this thread, so only another process, or a
   native thread, can take the connection meanwhile; that is what io_risky is for. */
static int accept_fresh(int fd) {
    if (fd >= 0) fd_clear_bits(fd, FD_KIND | FD_OPTIONS);
    return fd;
}
static int h_accept4(int fd, struct sockaddr *from, socklen_t *size, int flags) {
    if (!on_runtime()) return accept4(fd, from, size, flags);
    struct io io = IO_FOR(fd, READING);
    while (!io_ready(fd, READING)) {
        int k;
        if (io.state == IO_NEW && !socket_option(fd, SO_ACCEPTCONN)) return accept4(fd, from, size, flags); /* says what it is */
        k = io_wait(&io);
        if (k == IO_FAILED) return -1;
        if (k == IO_BLOCK) return accept_fresh(accept4(fd, from, size, flags));
    }
    io_risky(1);
    int new = accept4(fd, from, size, flags), e = errno;
    io_risky(0);
    errno = e;
    return accept_fresh(new);
}
static int h_accept(int fd, struct sockaddr *from, socklen_t *size) {
    return on_runtime() ? h_accept4(fd, from, size, 0) : accept(fd, from, size);
}

/* -- connect ---------------------------------------------------------------------------------------------------------
   Nor for this.  A negative SO_SNDTIMEO is "do not wait" to the kernel: it is there while the call begins the connection, on a
   socket that is not connected yet, so nobody can be sending on it.  (O_NONBLOCK would be seen by all who share the socket.)
   The call that is made when the connection has come about, or failed, ends the matter as the blocking one would have. */
static int connect_begin(int fd, const struct sockaddr *to, socklen_t size) {
    struct timeval old, never = {-1, 0};
    socklen_t len = sizeof old;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &old, &len) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof never) != 0)
        return connect(fd, to, size);
    int r = connect(fd, to, size), e = errno;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &old, sizeof old);
    errno = e;
    return r;
}
/* Can it block at all?  A stream that is neither connected nor listens. */
static int connect_blocks(int fd, const struct sockaddr *to, socklen_t size) {
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    int flags = fcntl(fd, F_GETFL), type = socket_option(fd, SO_TYPE);
    if (flags < 0 || flags & O_NONBLOCK || (type != SOCK_STREAM && type != SOCK_SEQPACKET)) return 0;
    if (size >= sizeof to->sa_family && to->sa_family == AF_UNSPEC) return 0;
    return getpeername(fd, (struct sockaddr *)&peer, &len) != 0 && errno == ENOTCONN && !socket_option(fd, SO_ACCEPTCONN);
}
static int h_connect(int fd, const struct sockaddr *to, socklen_t size) {
    if (!on_runtime() || !connect_blocks(fd, to, size)) return connect(fd, to, size);
    struct io io = IO_FOR(fd, WRITING);
    int local = socket_option(fd, SO_DOMAIN) == AF_UNIX, late = 0, k;
    for (;;) {
        int r = connect_begin(fd, to, size), e = errno;
        if (r == 0 || (local ? !would_block(e) : e != EINPROGRESS && e != EALREADY)) return r;
        do {
            late = io.state == IO_LATE;
            /* A Unix socket's listener whose backlog is full: nothing tells when it no longer is. */
            k = local ? io_nap(&io) : io_wait(&io);
        } while (k == IO_AGAIN && !local && io.state != IO_LATE && !io_ready(fd, WRITING));
        if (k == IO_BLOCK) return connect(fd, to, size);
        if (k == IO_FAILED) {
            if (late) errno = local ? EAGAIN : EINPROGRESS;
            return -1;
        }
    }
}

/* -- options ---------------------------------------------------------------------------------------------------------
   What is remembered of them is forgotten when they are set. */
static int h_setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
    int r = setsockopt(fd, level, option, value, size);
    if (level == SOL_SOCKET && park_on && getpid() == fd_owner) {
        if (option == SO_RCVLOWAT) fd_lowat = 1;
        if (option == SO_RCVLOWAT || option == SO_RCVTIMEO_OLD || option == SO_RCVTIMEO_NEW || option == SO_SNDTIMEO_OLD ||
            option == SO_SNDTIMEO_NEW)
            fd_options_changed();
    }
    return r;
}

/* -- fortified -------------------------------------------------------------------------------------------------------- */

extern void __chk_fail(void) __attribute__((noreturn));
static ssize_t h_recv_chk(int fd, void *buf, size_t n, size_t room, int flags) {
    if (n > room) __chk_fail();
    return h_recv(fd, buf, n, flags);
}
static ssize_t h_recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *size) {
    if (n > room) __chk_fail();
    return h_recvfrom(fd, buf, n, flags, from, size);
}

static const struct hook sockets_hooks[] = {
    {"recv", h_recv},         {"__recv_chk", h_recv_chk}, {"recvfrom", h_recvfrom}, {"__recvfrom_chk", h_recvfrom_chk},
    {"recvmsg", h_recvmsg},   {"recvmmsg", h_recvmmsg},   {"send", h_send},         {"__send", h_send},
    {"sendto", h_sendto},     {"sendmsg", h_sendmsg},     {"sendmmsg", h_sendmmsg}, {"accept", h_accept},
    {"accept4", h_accept4},   {"connect", h_connect},     {"__connect", h_connect}, {"setsockopt", h_setsockopt},
    {NULL, NULL}};
