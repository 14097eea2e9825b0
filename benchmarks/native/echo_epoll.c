// The yardstick: an echo server that is nothing but epoll_wait, read and write.
//
// One thread, level-triggered, one read and one write a message. It has no buffers, timers or
// bookkeeping per connection, so its CPU per message is what the kernel charges for an echo;
// whatever another server costs above that is its own.
//
// usage: echo_epoll [--port N]     prints "LISTENING <port>" once it accepts connections

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_EVENTS = 256, BACKLOG = 4096, BUFFER = 64 * 1024 };

static char buffer[BUFFER];

static void die(const char *what) {
    fprintf(stderr, "echo_epoll: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int poller, int fd) {
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev) < 0) die("epoll_ctl");
}

static void accept_all(int poller, int listener) {
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno == EAGAIN) return;
            die("accept4");
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(poller, fd);
    }
}

// Returns 0 when the connection is broken. A full send buffer does not occur in a closed loop of
// small messages; when it does, waiting for this one peer keeps the usual path free of state.
static int write_all(int fd, const char *data, size_t left) {
    while (left > 0) {
        ssize_t n = write(fd, data, left);
        if (n >= 0) {
            data += n;
            left -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t addr_len = sizeof addr;
    if (argc == 3 && strcmp(argv[1], "--port") == 0) addr.sin_port = htons((uint16_t)atoi(argv[2]));

    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0) die("bind");
    if (listen(listener, BACKLOG) < 0) die("listen");
    if (getsockname(listener, (struct sockaddr *)&addr, &addr_len) < 0) die("getsockname");

    int poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("epoll_create1");
    watch(poller, listener);
    printf("LISTENING %d\n", ntohs(addr.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int ready = epoll_wait(poller, events, MAX_EVENTS, -1);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(poller, listener);
                continue;
            }
            ssize_t n = read(fd, buffer, sizeof buffer);
            if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (n <= 0 || !write_all(fd, buffer, (size_t)n)) close(fd);
        }
    }
}
