/* Sleeping: clock_nanosleep and its kin. */
static int h_clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *left) {
    if (!on_runtime() || clock != CLOCK_MONOTONIC) return clock_nanosleep(clock, flags, t, left);
    int64_t deadline = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + (flags & TIMER_ABSTIME ? 0 : monotonic_ns());
    int k = park_until(deadline);
    if (k == PARK_CANNOT) return clock_nanosleep(clock, flags, t, left);
    return k == PARK_EINTR ? EINTR : 0;
}
static const struct hook sleep_hooks[] = {{"clock_nanosleep", h_clock_nanosleep}, {NULL, NULL}};
