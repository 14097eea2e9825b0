/* Sleeping: clock_nanosleep and its kin; waiting for a signal: pause, sigwait, sigwaitinfo, sigtimedwait. */
#include <signal.h>
#include <sys/signalfd.h>

enum { SLEEP_PIECE = 1000000000 }; /* how long a clock that can be set is trusted, ns */

static inline int64_t timespec_ns(const struct timespec *t) {
    return t->tv_sec >= INT64_MAX / 1000000000 ? INT64_MAX : (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* *ns* from now, or "never". */
static inline int64_t after_ns(int64_t ns) {
    int64_t now = monotonic_ns();
    return ns > INT64_MAX - 2 - now ? INT64_MAX - 2 : now + ns;
}

/* Until *deadline* of the monotonic clock: PARK_READY, or how it was not reached. */
static int sleep_until(int64_t deadline) {
    do {
        int k = park_until(deadline);
        if (k == PARK_EINTR || k == PARK_CANNOT) return k;
    } while (monotonic_ns() < deadline);
    return PARK_READY;
}

/* A sleep of *t*; what is left of one that is cut short goes to *left*. */
static int sleep_for(const struct timespec *t, struct timespec *left) {
    int64_t deadline = after_ns(timespec_ns(t));
    int k = sleep_until(deadline);
    if (k == PARK_EINTR && left) {
        int64_t ns = deadline - monotonic_ns();
        if (ns < 0) ns = 0;
        left->tv_sec = ns / 1000000000;
        left->tv_nsec = ns % 1000000000;
    }
    return k;
}

/* Until *clock* says *t*: it may be set meanwhile. */
static int sleep_till(clockid_t clock, const struct timespec *t) {
    for (;;) {
        struct timespec now;
        if (clock_gettime(clock, &now) != 0) return PARK_CANNOT;
        int64_t ns = timespec_ns(t) - timespec_ns(&now);
        int k = park_until(ns <= 0 ? 0 : after_ns(ns < SLEEP_PIECE ? ns : SLEEP_PIECE));
        if (k == PARK_EINTR || k == PARK_CANNOT || ns <= 0) return k;
    }
}

static int h_clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *left) {
    int known = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI, k;
    if (!on_runtime() || !known || t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec > 999999999)
        return clock_nanosleep(clock, flags, t, left);
    if (!(flags & TIMER_ABSTIME)) k = sleep_for(t, left);
    else if (clock == CLOCK_MONOTONIC) k = sleep_until(timespec_ns(t));
    else k = sleep_till(clock, t);
    if (k == PARK_CANNOT) return clock_nanosleep(clock, flags, t, left);
    return k == PARK_EINTR ? EINTR : 0;
}

static int h_nanosleep(const struct timespec *t, struct timespec *left) {
    int k;
    if (!on_runtime() || t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec > 999999999) return nanosleep(t, left);
    k = sleep_for(t, left);
    if (k == PARK_CANNOT) return nanosleep(t, left);
    if (k == PARK_EINTR) errno = EINTR;
    return k == PARK_EINTR ? -1 : 0;
}

static int h_usleep(useconds_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    return h_nanosleep(&t, NULL);
}

static unsigned h_sleep(unsigned seconds) {
    struct timespec t = {seconds, 0}, left = {0, 0};
    return h_nanosleep(&t, &left) == 0 ? 0 : left.tv_sec + (left.tv_nsec >= 500000000);
}

/* A signal whose handler runs in the main goroutine ends its park. */
static int h_pause(void) {
    int k;
    if (!on_runtime()) return pause();
    /* With a timer: nobody is asleep for good while a signal may come. */
    while ((k = park_until(after_ns(3600000000000))) != PARK_EINTR)
        if (k == PARK_CANNOT) return pause();
    errno = EINTR;
    return -1;
}

/* One of *set*, which are blocked, as whoever waits for signals has them: a signalfd can be polled, and the thread that polls is
   the one that they may have been sent to.  0 in *errno* is not set: PARK_TIMEOUT and PARK_EINTR say why there is none. */
static int sigwait_park(const sigset_t *set, siginfo_t *info, int64_t deadline, int *signum) {
    static const struct timespec now = {0, 0};
    int64_t nap = 0;
    for (;;) {
        *signum = sigtimedwait(set, info, &now);
        if (*signum >= 0 || (errno != EAGAIN && errno != EINTR)) return PARK_READY;
        if (deadline && monotonic_ns() >= deadline) return PARK_TIMEOUT;
        int fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK), k;
        if (fd < 0) {
            k = park_nap(&nap);
        } else {
            k = park_fd(fd, 1, deadline);
            h_close(fd);
        }
        if (k == PARK_CANNOT || k == PARK_EINTR) return k;
    }
}

static int h_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout) {
    int signum, k;
    if (!on_runtime() || (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999)) ||
        (timeout && timeout->tv_sec == 0 && timeout->tv_nsec == 0))
        return sigtimedwait(set, info, timeout);
    k = sigwait_park(set, info, timeout ? after_ns(timespec_ns(timeout)) : 0, &signum);
    if (k == PARK_READY) return signum;
    if (k == PARK_CANNOT) return sigtimedwait(set, info, timeout);
    errno = k == PARK_EINTR ? EINTR : EAGAIN;
    return -1;
}
static int h_sigwaitinfo(const sigset_t *set, siginfo_t *info) { return h_sigtimedwait(set, info, NULL); }

/* Never ended by a signal of others: their handlers run when it is over. */
static int h_sigwait(const sigset_t *set, int *signum) {
    int k;
    if (!on_runtime()) return sigwait(set, signum);
    do k = sigwait_park(set, NULL, 0, signum);
    while (k == PARK_EINTR && !park_kept());
    if (k == PARK_CANNOT) return sigwait(set, signum);
    return k == PARK_EINTR ? EINTR : *signum < 0 ? errno : 0;
}

static const struct hook sleep_hooks[] = {
    {"clock_nanosleep", h_clock_nanosleep}, {"nanosleep", h_nanosleep}, {"usleep", h_usleep}, {"sleep", h_sleep}, {"pause", h_pause},
    {"sigwait", h_sigwait}, {"sigwaitinfo", h_sigwaitinfo}, {"sigtimedwait", h_sigtimedwait}, {NULL, NULL}};
