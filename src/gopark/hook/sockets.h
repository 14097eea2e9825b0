/* Sockets: a call that would block parks instead.  MSG_DONTWAIT a call; the descriptor's own flags are never touched. */
#include <fcntl.h>
#include <sys/socket.h>

static ssize_t h_recv(int fd, void *buf, size_t n, int flags) {
    if (!on_runtime() || (flags & MSG_DONTWAIT)) return recv(fd, buf, n, flags);
    for (;;) {
        ssize_t r = recv(fd, buf, n, flags | MSG_DONTWAIT);
        if (r >= 0 || errno != EAGAIN) return r;
        int fl = fcntl(fd, F_GETFL);
        if (fl < 0 || (fl & O_NONBLOCK)) { errno = EAGAIN; return -1; }
        int k = park_fd(fd, 1, 0);
        if (k == PARK_CANNOT) return recv(fd, buf, n, flags);
        if (k == PARK_EINTR) { errno = EINTR; return -1; }
    }
}
static const struct hook sockets_hooks[] = {{"recv", h_recv}, {NULL, NULL}};
