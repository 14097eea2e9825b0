/* Waiting for several descriptors: poll, select, epoll_wait and their kin. */
#include <poll.h>

static int h_poll(struct pollfd *f, nfds_t n, int timeout) {
    if (!on_runtime() || timeout == 0) return poll(f, n, timeout);
    int r = poll(f, n, 0);
    if (r != 0 || n != 1 || f[0].fd < 0 || (f[0].events != POLLIN && f[0].events != POLLOUT)) return r ? r : poll(f, n, timeout);
    int64_t deadline = timeout < 0 ? 0 : monotonic_ns() + (int64_t)timeout * 1000000;
    for (;;) {
        int k = park_fd(f[0].fd, f[0].events == POLLIN ? 1 : 2, deadline);
        if (k == PARK_CANNOT) return poll(f, n, timeout);
        if (k == PARK_EINTR) { errno = EINTR; return -1; }
        r = poll(f, n, 0);
        if (r != 0 || k == PARK_TIMEOUT) return r;
    }
}
static const struct hook waiting_hooks[] = {{"poll", h_poll}, {NULL, NULL}};
