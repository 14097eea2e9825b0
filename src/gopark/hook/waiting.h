/* Waiting for several descriptors: poll, select, epoll_wait and their kin.

   Each asks the real call first, with no time to wait, and only then parks: on the descriptor itself if it is one, in one
   direction; else on an epoll instance that has them all (a poll set), which is as pollable as they are.  Whatever woke it, the
   real call says what is ready.

   What must not live here: how one descriptor is waited for (descriptors.pxi). */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

#define SLICE_NS 10000000 /* between two looks for a signal that only the wait lets in */

/* -- poll sets: epoll instances, kept for the next one ---------------------------------------------------------------- */

struct pollset { struct pollset *next; int ep, busy; };
static struct pollset *pollsets; /* the runtime's thread's */
enum { POLLSETS_KEPT = 4 };

static void pollset_close(struct pollset *s) {
    for (struct pollset **p = &pollsets; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    fd_clear_bits(s->ep, FD_OURS);
    fd_closing(s->ep);
    close(s->ep);
    free(s);
}
/* NULL: out of descriptors or memory. */
static struct pollset *pollset_get(void) {
    struct pollset *s;
    for (s = pollsets; s; s = s->next)
        if (!s->busy) {
            s->busy = 1;
            return s;
        }
    s = malloc(sizeof *s);
    if (!s) return NULL;
    s->ep = epoll_create1(EPOLL_CLOEXEC);
    if (s->ep < 0) {
        free(s);
        return NULL;
    }
    int high = fcntl(s->ep, F_DUPFD_CLOEXEC, 400); /* out of the way of programs that count on the lowest number being free */
    if (high >= 0) {
        close(s->ep);
        s->ep = high;
    }
    fd_clear_bits(s->ep, FD_KIND | FD_OPTIONS);
    fd_set_bits(s->ep, FD_OURS);
    s->busy = 1;
    s->next = pollsets;
    pollsets = s;
    return s;
}
/* Not an empty one goes back: an instance that still has a descriptor in it would go on being ready. */
static void pollset_put(struct pollset *s, int emptied) {
    int kept = 0, e = errno;
    for (struct pollset *t = pollsets; t; t = t->next) kept += !t->busy;
    if (emptied && kept < POLLSETS_KEPT) s->busy = 0;
    else pollset_close(s);
    errno = e;
}
static void pollsets_close(int all) {
    for (struct pollset *s = pollsets, *next; s; s = next) {
        next = s->next;
        if (all || !s->busy) pollset_close(s);
    }
}

static uint32_t poll_to_epoll(short events) {
    return (uint32_t)(events & (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLMSG | POLLRDHUP));
}
/* 0; PARK_READY + 1 means: look again (one was closed meanwhile); -1 the kernel cannot do it. */
static int pollset_add(struct pollset *s, struct pollfd *f, nfds_t i) {
    struct epoll_event ev = {poll_to_epoll(f[i].events), {.fd = f[i].fd}};
    if (epoll_ctl(s->ep, EPOLL_CTL_ADD, f[i].fd, &ev) == 0) return 0;
    if (errno == EEXIST) { /* there twice: for what all want of it */
        for (nfds_t j = 0; j < i; j++)
            if (f[j].fd == f[i].fd) ev.events |= poll_to_epoll(f[j].events);
        if (epoll_ctl(s->ep, EPOLL_CTL_MOD, f[i].fd, &ev) == 0) return 0;
    }
    if (errno == EPERM) return 0; /* a file, which is always ready, but nobody asks whether it is */
    return errno == EBADF ? 1 : -1;
}
/* Park until one of them is ready.  IO_NAP: there is no way to be told. */
enum { WAIT_NAP = 100 };
static int wait_for_set(struct pollfd *f, nfds_t n, int64_t deadline) {
    struct pollset *s = pollset_get();
    nfds_t i, added;
    int k = 0, emptied = 1;
    if (!s) return WAIT_NAP;
    for (i = 0; i < n && k == 0; i++)
        if (f[i].fd >= 0) k = pollset_add(s, f, i);
    added = i;
    k = k == 0 ? park_fd(s->ep, READING, deadline) : k > 0 ? PARK_READY : WAIT_NAP;
    if (n > 16) emptied = 0; /* a new instance is cheaper */
    for (i = 0; i < added && emptied; i++) {
        if (f[i].fd < 0) continue;
        if (epoll_ctl(s->ep, EPOLL_CTL_DEL, f[i].fd, NULL) == 0 || errno == EPERM) continue;
        emptied = 0;
        for (nfds_t j = 0; j < i; j++)
            if (f[j].fd == f[i].fd) emptied = 1; /* there twice: it is out */
    }
    pollset_put(s, emptied);
    return k;
}

/* -- one wait, whatever it is for ------------------------------------------------------------------------------------ */

/* The end of a wait, as a deadline: ns of the monotonic clock; 0: none. */
static int64_t wait_end(const struct timespec *t) {
    int64_t now, ns;
    if (!t) return 0;
    now = monotonic_ns();
    if (t->tv_sec > (INT64_MAX - now) / 1000000000 - 2) return 0;
    ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
    return now + ns;
}
static struct timespec wait_left(int64_t end) {
    int64_t left = end - monotonic_ns();
    if (left < 0) left = 0;
    return (struct timespec){left / 1000000000, left % 1000000000};
}
static struct timespec wait_ms(int ms) { return (struct timespec){ms / 1000, ms % 1000 * 1000000L}; }
static inline int wait_valid(const struct timespec *t) {
    return !t || (t->tv_sec >= 0 && (unsigned long)t->tv_nsec < 1000000000);
}

/* Does the mask let in a signal that is blocked now?  Only then it matters: a goroutine that is parked has no mask of its own,
   and the real call, with no time to wait, lets in what is pending. */
static int mask_opens(const sigset_t *mask) {
    sigset_t now;
    if (!mask || pthread_sigmask(SIG_SETMASK, NULL, &now) != 0) return 0;
    for (int sig = 1; sig < NSIG; sig++)
        if (sigismember(&now, sig) == 1 && sigismember(mask, sig) == 0) return 1;
    return 0;
}

/* Park, for what may be one descriptor and one direction, a set, or nothing but the time. */
static int wait_park(struct pollfd *f, nfds_t n, int64_t deadline, int *naps) {
    nfds_t count = 0, one = 0;
    int k, in, out;
    for (nfds_t i = 0; i < n && count < 2; i++)
        if (f[i].fd >= 0) count++, one = i;
    if (count == 0) {
        k = park_until(deadline ? deadline : INT64_MAX);
        return k == PARK_READY && deadline ? PARK_TIMEOUT : k;
    }
    in = f[one].events & ~(POLLIN | POLLRDNORM);
    out = f[one].events & ~(POLLOUT | POLLWRNORM);
    if (*naps < 3 && count == 1 && f[one].events && (!in || !out)) {
        int64_t began = *naps ? monotonic_ns() : 0;
        k = park_fd(f[one].fd, in ? WRITING : READING, deadline);
        if (k != PARK_READY) return k;
        *naps = began && monotonic_ns() - began > 1000000 ? 1 : *naps + 1;
        return k;
    }
    k = *naps < 3 ? wait_for_set(f, n, deadline) : WAIT_NAP;
    if (k == PARK_READY) ++*naps;
    if (k == WAIT_NAP) { /* no descriptors left, or readiness that comes to nothing */
        int64_t until = monotonic_ns() + 2000000;
        if (deadline && until >= deadline) {
            k = park_until(deadline);
            return k == PARK_READY ? PARK_TIMEOUT : k;
        }
        *naps = 1;
        k = park_until(until);
    }
    return k;
}

/* -- poll ------------------------------------------------------------------------------------------------------------ */

static int poll_until(struct pollfd *f, nfds_t n, int64_t end, const sigset_t *mask) {
    static const struct timespec zero = {0, 0};
    int slices = mask_opens(mask), naps = 0;
    for (;;) {
        int r = slices ? ppoll(f, n, &zero, mask) : poll(f, n, 0), k;
        if (r != 0) return r;
        int64_t deadline = end, slice;
        if (slices && (slice = monotonic_ns() + SLICE_NS, !end || slice < end)) deadline = slice;
        k = wait_park(f, n, deadline, &naps);
        if (k == PARK_CANNOT) {
            struct timespec left = wait_left(end);
            return ppoll(f, n, end ? &left : NULL, mask);
        }
        if (k == PARK_EINTR) {
            errno = EINTR;
            return -1;
        }
        if (k == PARK_TIMEOUT && deadline == end) return slices ? ppoll(f, n, &zero, mask) : poll(f, n, 0);
    }
}
static int h_poll(struct pollfd *f, nfds_t n, int timeout) {
    if (!on_runtime() || timeout == 0) return poll(f, n, timeout);
    int r = poll(f, n, 0);
    if (r != 0) return r;
    struct timespec t = wait_ms(timeout < 0 ? 0 : timeout);
    return poll_until(f, n, wait_end(timeout < 0 ? NULL : &t), NULL);
}
static int h_ppoll(struct pollfd *f, nfds_t n, const struct timespec *t, const sigset_t *mask) {
    if (!on_runtime() || !wait_valid(t) || (t && t->tv_sec == 0 && t->tv_nsec == 0)) return ppoll(f, n, t, mask);
    return poll_until(f, n, wait_end(t), mask);
}

/* -- select ---------------------------------------------------------------------------------------------------------- */

/* Three sets of n bits; the program's may be larger than an fd_set. */
struct sets { fd_set *in[3]; size_t size; char *copy; struct pollfd *f; nfds_t count; };

static int sets_make(struct sets *s, int n, fd_set *r, fd_set *w, fd_set *x) {
    s->in[0] = r;
    s->in[1] = w;
    s->in[2] = x;
    s->size = ((size_t)n + 63) / 64 * 8;
    s->count = 0;
    s->copy = malloc(3 * s->size + (size_t)n * sizeof(struct pollfd) + 1);
    if (!s->copy) return -1;
    s->f = (struct pollfd *)(s->copy + 3 * s->size);
    for (int fd = 0; fd < n; fd++) {
        static const short events[3] = {POLLIN, POLLOUT, POLLPRI};
        short e = 0;
        for (int i = 0; i < 3; i++)
            if (s->in[i] && ((const unsigned long *)s->in[i])[fd / 64] >> fd % 64 & 1) e |= events[i];
        if (e) s->f[s->count++] = (struct pollfd){fd, e, 0};
    }
    return 0;
}
/* The real call, with no time to wait, on copies: the program's sets change only when there is a result. */
static int sets_look(struct sets *s, int n, const sigset_t *mask) {
    static const struct timespec zero = {0, 0};
    fd_set *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = s->in[i] ? (fd_set *)(s->copy + i * s->size) : NULL;
        if (c[i]) memcpy(c[i], s->in[i], s->size);
    }
    return pselect(n, c[0], c[1], c[2], &zero, mask);
}
static int sets_return(struct sets *s, int r) {
    int e = errno;
    for (int i = 0; i < 3 && r >= 0; i++)
        if (s->in[i]) memcpy(s->in[i], s->copy + i * s->size, s->size);
    free(s->copy);
    errno = e;
    return r;
}
static int select_until(int n, fd_set *r, fd_set *w, fd_set *x, int64_t end, const sigset_t *mask) {
    struct sets s;
    struct timespec left;
    int slices = mask_opens(mask), naps = 0, res;
    if (sets_make(&s, n, r, w, x) != 0) return left = wait_left(end), pselect(n, r, w, x, end ? &left : NULL, mask);
    for (;;) {
        int64_t deadline = end, slice;
        int k;
        res = sets_look(&s, n, slices ? mask : NULL);
        if (res != 0) break;
        if (slices && (slice = monotonic_ns() + SLICE_NS, !end || slice < end)) deadline = slice;
        k = wait_park(s.f, s.count, deadline, &naps);
        if (k == PARK_CANNOT) {
            free(s.copy);
            left = wait_left(end);
            return pselect(n, r, w, x, end ? &left : NULL, mask);
        }
        if (k == PARK_EINTR) {
            errno = EINTR;
            res = -1;
            break;
        }
        if (k == PARK_TIMEOUT && deadline == end) {
            res = sets_look(&s, n, slices ? mask : NULL);
            break;
        }
    }
    return sets_return(&s, res);
}
static int h_pselect(int n, fd_set *r, fd_set *w, fd_set *x, const struct timespec *t, const sigset_t *mask) {
    if (!on_runtime() || n < 0 || n > FD_LIMIT || !wait_valid(t) || (t && t->tv_sec == 0 && t->tv_nsec == 0))
        return pselect(n, r, w, x, t, mask);
    return select_until(n, r, w, x, wait_end(t), mask);
}
/* It leaves in the time-out what is left of it. */
static int h_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv) {
    if (!on_runtime() || n < 0 || n > FD_LIMIT || (tv && (tv->tv_sec < 0 || tv->tv_usec < 0 || (tv->tv_sec == 0 && tv->tv_usec == 0))))
        return select(n, r, w, x, tv);
    struct timespec t, left;
    int64_t end = 0;
    if (tv) {
        t.tv_sec = tv->tv_sec + tv->tv_usec / 1000000;
        t.tv_nsec = tv->tv_usec % 1000000 * 1000;
        end = wait_end(&t);
    }
    int res = select_until(n, r, w, x, end, NULL), e = errno;
    if (tv && end) {
        left = wait_left(end);
        tv->tv_sec = left.tv_sec;
        tv->tv_usec = left.tv_nsec / 1000;
    }
    errno = e;
    return res;
}

/* -- epoll ----------------------------------------------------------------------------------------------------------- */

static int epoll_real(int ep, struct epoll_event *ev, int max, int64_t end, const sigset_t *mask) {
    struct timespec left = wait_left(end);
    int r = (int)syscall(SYS_epoll_pwait2, ep, ev, max, end ? &left : NULL, mask, sizeof(uint64_t));
    if (r >= 0 || errno != ENOSYS) return r;
    int64_t ms = left.tv_sec * 1000 + (left.tv_nsec + 999999) / 1000000;
    return epoll_pwait(ep, ev, max, end ? (int)(ms > INT_MAX ? INT_MAX : ms) : -1, mask);
}
static int epoll_until(int ep, struct epoll_event *ev, int max, int64_t end, const sigset_t *mask) {
    struct pollfd f = {ep, POLLIN, 0};
    int slices = mask_opens(mask), naps = 0;
    for (;;) {
        int r = epoll_pwait(ep, ev, max, 0, slices ? mask : NULL), k;
        if (r != 0) return r;
        int64_t deadline = end, slice;
        if (slices && (slice = monotonic_ns() + SLICE_NS, !end || slice < end)) deadline = slice;
        k = wait_park(&f, 1, deadline, &naps);
        if (k == PARK_CANNOT) return epoll_real(ep, ev, max, end, mask);
        if (k == PARK_EINTR) {
            errno = EINTR;
            return -1;
        }
        if (k == PARK_TIMEOUT && deadline == end) return epoll_pwait(ep, ev, max, 0, slices ? mask : NULL);
    }
}
static int h_epoll_pwait(int ep, struct epoll_event *ev, int max, int timeout, const sigset_t *mask) {
    if (!on_runtime() || timeout == 0) return epoll_pwait(ep, ev, max, timeout, mask);
    struct timespec t = wait_ms(timeout < 0 ? 0 : timeout);
    return epoll_until(ep, ev, max, wait_end(timeout < 0 ? NULL : &t), mask);
}
static int h_epoll_wait(int ep, struct epoll_event *ev, int max, int timeout) {
    if (!on_runtime() || timeout == 0) return epoll_wait(ep, ev, max, timeout);
    int r = epoll_wait(ep, ev, max, 0);
    return r != 0 ? r : h_epoll_pwait(ep, ev, max, timeout, NULL);
}
static int h_epoll_pwait2(int ep, struct epoll_event *ev, int max, const struct timespec *t, const sigset_t *mask) {
    if (!on_runtime() || !wait_valid(t) || (t && t->tv_sec == 0 && t->tv_nsec == 0))
        return (int)syscall(SYS_epoll_pwait2, ep, ev, max, t, mask, sizeof(uint64_t));
    return epoll_until(ep, ev, max, wait_end(t), mask);
}

/* -- fortified -------------------------------------------------------------------------------------------------------- */

static int h_poll_chk(struct pollfd *f, nfds_t n, int timeout, size_t room) {
    if (room / sizeof *f < n) __chk_fail();
    return h_poll(f, n, timeout);
}
static int h_ppoll_chk(struct pollfd *f, nfds_t n, const struct timespec *t, const sigset_t *mask, size_t room) {
    if (room / sizeof *f < n) __chk_fail();
    return h_ppoll(f, n, t, mask);
}

static const struct hook waiting_hooks[] = {
    {"poll", h_poll},       {"__poll", h_poll},         {"__poll_chk", h_poll_chk},       {"ppoll", h_ppoll},
    {"__ppoll_chk", h_ppoll_chk}, {"select", h_select}, {"__select", h_select},           {"pselect", h_pselect},
    {"epoll_wait", h_epoll_wait}, {"epoll_pwait", h_epoll_pwait}, {"epoll_pwait2", h_epoll_pwait2}, {NULL, NULL}};
