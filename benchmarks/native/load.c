// The load generator: N connections to 127.0.0.1, one outstanding message on each, every byte checked.
//
// Closed loop: a connection sends its next message when the echo of the last one is complete. The
// content differs for each connection and each sequence number, so an answer that is late, doubled,
// cut, or meant for somebody else is an error, not a number.
//
// It has to cost less than the servers that it measures: edge-triggered, one epoll_ctl for a
// connection's whole life, and for a small message one read and one write, no read that ends in EAGAIN.
//
// With --pid it reads the server's CPU clock (all its threads, in nanoseconds) at the very moments at
// which it starts and stops to count messages.
//
// Whatever happens, it prints one JSON line and ends: every wait has a limit, and a reset connection,
// a wrong byte or a missing answer gives errors > 0, error_text and exit status 1.
//
// usage: load --port N [--connections N] [--size BYTES] [--seconds S] [--warmup S] [--timeout S]
//             [--concurrency N] [--pid SERVER] [--idle]
//   --idle: one message on each connection, print {"idle": N}, hold them all until a line (or EOF)
//           comes on stdin, then one more message on each, which shows that all are still alive.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 512, MAX_SIZE = 1 << 20, SUB_BITS = 6, BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS };

enum state { UNUSED, CONNECTING, OPEN, DEAD };

struct conn {
    int fd;
    enum state state;
    bool waiting;      // a message is outstanding
    uint32_t seq;      // of the message that is outstanding
    uint32_t sent;     // bytes of it that are written
    uint32_t got;      // bytes of its echo that came and were right
    uint64_t sent_at;  // ns
    bool answered;     // has had an echo
};

static struct conn *conns;
static int poller;
static uint64_t deadline;  // when to give up, whatever the phase
static bool running;       // an answered connection sends again at once
static bool counting;      // inside the measured window
static uint32_t outstanding, alive;
static uint32_t answered;  // connections that have had an echo
static uint64_t messages, errors;
static char error_text[200];
static uint64_t histogram[BUCKETS], worst;
static uint64_t out[MAX_SIZE / 8 + 2], in[MAX_SIZE / 8 + 2], expected[MAX_SIZE / 8 + 2];

static int port = 0;
static uint32_t connections = 100, size = 64, concurrency = 256;
static double seconds = 3, warmup = 0.5, timeout = 60;
static pid_t server = 0;  // 0: nobody's CPU is measured
static bool idle = false;

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

__attribute__((format(printf, 1, 2))) static void fault(const char *format, ...) {
    if (errors++ == 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(error_text, sizeof error_text, format, args);
        va_end(args);
    }
}

// ---- message content

static uint64_t mix(uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// Fills the words that hold bytes [from, to) of the message that is outstanding on this connection.
static void content(uint64_t *words, const struct conn *c, uint32_t from, uint32_t to) {
    uint64_t seed = mix((uint64_t)(c - conns) << 32 | c->seq);
    for (uint32_t i = from / 8; i < (to + 7) / 8; i++) words[i] = seed + i * 0x9e3779b97f4a7c15u;
}

// ---- latency histogram: 64 steps for each power of two, so within 1.6%

static unsigned bucket(uint64_t v) {
    if (v < 1u << SUB_BITS) return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)((v >> shift) - (1u << SUB_BITS));
}

static double bucket_value(unsigned b) {  // its middle
    if (b < 1u << SUB_BITS) return b;
    unsigned shift = (b >> SUB_BITS) - 1;
    return ((double)((b & ((1u << SUB_BITS) - 1)) + (1u << SUB_BITS)) + 0.5) * (double)(1ull << shift);
}

static double quantile_us(double q) {
    uint64_t rank = (uint64_t)(q * (double)messages), seen = 0;
    if (messages == 0) return 0;
    if (rank >= messages) rank = messages - 1;
    for (unsigned b = 0; b < BUCKETS; b++) {
        seen += histogram[b];
        if (seen > rank) return bucket_value(b) / 1e3;
    }
    return (double)worst / 1e3;
}

// ---- connections

__attribute__((format(printf, 2, 3))) static void drop(struct conn *c, const char *format, ...) {
    char text[120];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fault("connection %u, message %u: %s", (unsigned)(c - conns), c->seq, text);
    if (c->waiting) outstanding--;
    c->waiting = false;
    c->state = DEAD;
    alive--;
    close(c->fd);
}

static void push(struct conn *c) {  // writes what is left; a full buffer brings an EPOLLOUT edge
    while (c->sent < size) {
        ssize_t n = send(c->fd, (char *)out + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n >= 0) {
            c->sent += (uint32_t)n;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            drop(c, "send: %s", strerror(errno));
            return;
        }
    }
}

static void start_message(struct conn *c, uint64_t now) {
    c->seq++;
    c->sent = c->got = 0;
    c->sent_at = now;
    c->waiting = true;
    outstanding++;
    content(out, c, 0, size);
    push(c);
}

static void message_done(struct conn *c) {
    uint64_t now = now_ns();
    c->waiting = false;
    outstanding--;
    if (!c->answered) {
        c->answered = true;
        answered++;
    }
    if (counting) {
        uint64_t latency = now - c->sent_at;
        messages++;
        histogram[bucket(latency)]++;
        if (latency > worst) worst = latency;
    }
    if (running) start_message(c, now);
}

static void pull(struct conn *c) {
    // Never asks for more than the rest of the message: what a short read leaves unread brings its own edge.
    uint32_t want = c->waiting ? size - c->got : 1;
    ssize_t n = recv(c->fd, (char *)in + c->got, want, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) drop(c, "recv: %s", strerror(errno));
    } else if (n == 0) {
        drop(c, "closed by the server");
    } else if (!c->waiting) {
        drop(c, "bytes that nobody asked for");
    } else {
        content(expected, c, c->got, c->got + (uint32_t)n);
        if (memcmp((char *)in + c->got, (char *)expected + c->got, (size_t)n) != 0) {
            drop(c, "wrong content in bytes %u to %u", c->got, c->got + (uint32_t)n);
            return;
        }
        c->got += (uint32_t)n;
        if (c->got == size) message_done(c);
    }
}

static void connect_one(struct conn *c) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    // The reset on close leaves no TIME_WAIT behind: runs with 10,000 connections follow each other.
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        fault("socket: %s", strerror(errno));
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    c->state = CONNECTING;
    alive++;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        drop(c, "connect: %s", strerror(errno));
        return;
    }
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)(c - conns)};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &ev) < 0) drop(c, "epoll_ctl: %s", strerror(errno));
}

static void connected(struct conn *c) {
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        drop(c, "connect: %s", strerror(error));
        return;
    }
    c->state = OPEN;
    start_message(c, now_ns());
}

static void handle(struct conn *c, uint32_t events) {
    if (c->state == CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        connected(c);
        return;
    }
    if (c->state == OPEN && c->waiting && c->sent < size && events & EPOLLOUT) {
        content(out, c, c->sent, size);
        push(c);
    }
    if (c->state == OPEN && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) pull(c);
}

static void pump(int timeout_ms) {
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(poller, events, MAX_EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) handle(&conns[events[i].data.u32], events[i].events);
}

// ---- phases

// Lets the outstanding messages come home; those that never do are errors.
static void settle(const char *phase) {
    while (outstanding > 0 && now_ns() < deadline) pump(100);
    if (outstanding > 0) {
        fault("%s: %u of %u connections got no answer", phase, outstanding, connections);
        errors += outstanding - 1;
    }
}

// Connects with at most `concurrency` connections on their way; each exchanges one message.
static void open_all(void) {
    uint32_t begun = 0;
    while (errors == 0 && answered < connections) {
        if (now_ns() >= deadline) {
            fault("connecting: timed out with %u of %u answered", answered, connections);
            return;
        }
        while (errors == 0 && begun < connections && begun - answered < concurrency) connect_one(&conns[begun++]);
        pump(100);
    }
}

static void send_everywhere(void) {
    for (uint32_t i = 0; i < connections; i++)
        if (conns[i].state == OPEN && !conns[i].waiting) start_message(&conns[i], now_ns());
}

static void hold_idle(void) {
    printf("{\"idle\": %u}\n", answered);
    fflush(stdout);
    uint64_t now = now_ns();
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&p, 1, now < deadline ? (int)((deadline - now) / 1000000) : 0) == 0) {
        fault("holding: nobody said to go on");
        return;
    }
    send_everywhere();
    settle("after holding");
}

struct window {
    uint64_t wall, own_cpu, server_cpu;
};

static struct window snapshot(clockid_t server_clock) {
    return (struct window){now_ns(), clock_ns(CLOCK_PROCESS_CPUTIME_ID), server ? clock_ns(server_clock) : 0};
}

static void steady_load(struct window *first, struct window *last, clockid_t server_clock) {
    uint64_t start = now_ns() + (uint64_t)(warmup * 1e9), length = (uint64_t)(seconds * 1e9);
    running = true;
    send_everywhere();
    while (alive > 0 && !counting) {
        pump(10);
        counting = now_ns() >= start;
    }
    *first = snapshot(server_clock);
    while (alive > 0 && now_ns() < first->wall + length && now_ns() < deadline) pump(10);
    *last = snapshot(server_clock);
    running = counting = false;
    settle("at the end");
}

static double per_message_us(uint64_t ns) { return messages ? (double)ns / 1e3 / (double)messages : 0; }

static int report(const struct window *first, const struct window *last) {
    double wall = (double)(last->wall - first->wall) / 1e9;
    printf("{\"connections\": %u, \"size\": %u, \"messages\": %llu, \"seconds\": %.6f, \"messages_per_s\": %.1f, ",
           connections, size, (unsigned long long)messages, wall, wall > 0 ? (double)messages / wall : 0);
    printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f, ", quantile_us(0.5),
           quantile_us(0.99), quantile_us(0.999), (double)worst / 1e3);
    printf("\"load_cpu_us\": %.4f, ", per_message_us(last->own_cpu - first->own_cpu));
    if (server && last->server_cpu > first->server_cpu)  // a server that died has no clock any more
        printf("\"server_cpu_us\": %.4f, \"server_cpu_share\": %.4f, ",
               per_message_us(last->server_cpu - first->server_cpu),
               wall > 0 ? (double)(last->server_cpu - first->server_cpu) / 1e9 / wall : 0);
    printf("\"errors\": %llu, \"error_text\": \"", (unsigned long long)errors);
    for (const char *p = error_text; *p; p++)
        if (*p != '"' && *p != '\\' && (unsigned char)*p >= ' ') putchar(*p);
    printf("\"}\n");
    return errors ? 1 : 0;
}

static void parse(int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'},    {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'},        {"seconds", 1, 0, 't'},
        {"warmup", 1, 0, 'w'},  {"timeout", 1, 0, 'o'},     {"concurrency", 1, 0, 'n'}, {"pid", 1, 0, 'P'},
        {"idle", 0, 0, 'i'},    {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
            case 'p': port = atoi(optarg); break;
            case 'c': connections = (uint32_t)atoi(optarg); break;
            case 's': size = (uint32_t)atoi(optarg); break;
            case 't': seconds = atof(optarg); break;
            case 'w': warmup = atof(optarg); break;
            case 'o': timeout = atof(optarg); break;
            case 'n': concurrency = (uint32_t)atoi(optarg); break;
            case 'P': server = atoi(optarg); break;
            case 'i': idle = true; break;
            default: exit(2);
        }
    }
    if (port <= 0 || connections == 0 || size == 0 || size > MAX_SIZE || concurrency == 0 || optind < argc) {
        fprintf(stderr, "load: bad arguments (--port is needed, --size at most %d)\n", MAX_SIZE);
        exit(2);
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    deadline = now_ns() + (uint64_t)(timeout * 1e9);
    conns = calloc(connections, sizeof *conns);
    poller = epoll_create1(EPOLL_CLOEXEC);
    clockid_t server_clock = 0;
    int clock_error = server ? clock_getcpuclockid(server, &server_clock) : 0;
    struct window first = {0}, last = {0};

    if (conns == NULL || poller < 0)
        fault("no memory or no epoll");
    else if (clock_error)
        fault("no CPU clock of process %d: %s", (int)server, strerror(clock_error));
    else if (connections + 16 > limit.rlim_cur)
        fault("%u connections need a higher limit on open files than %llu", connections,
              (unsigned long long)limit.rlim_cur);
    else
        open_all();

    if (errors == 0) {
        if (idle)
            hold_idle();
        else
            steady_load(&first, &last, server_clock);
    }
    return report(&first, &last);
}
