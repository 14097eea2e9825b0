/* What waits for others and cannot be polled: name look-ups (on the pool), locks on files (asked for again and again).

   A look-up is on the heap, with copies of its arguments: whoever waits for it may be gone before it ends.  Who lets go of it last
   frees it, and the result that nobody has taken.

   A lock is not waited for on the pool, because that wait could not be ended: a lock that is got for a goroutine that has been
   cancelled meanwhile would stay locked, and giving it back could take it from who has locked the same file in the same
   process since.  So there is no queue: who asks at the right moment has it.  Nor does the kernel see that two processes wait for
   one another (EDEADLK). */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/socket.h>

/* -- look-ups ------------------------------------------------------------------------------------------------------------------ */

struct lookup {
    int owners;
    int result, error, herror, flags; /* error: errno; herror: h_errno; flags: or an address family */
    void (*run)(struct lookup *);
    char *node, *service; /* NULL: none.  service: or the room for one */
    struct addrinfo hints, *found;
    int hinted;
    struct sockaddr_storage address;
    socklen_t length, node_room, service_room;
    struct hostent host, *hosts;
    char *buffer; /* gethostby*_r's, from skew on */
    size_t skew, room;
};

static int bridge_lookup(struct lookup *l); /* names.pxi */

static void lookup_drop(struct lookup *l) {
    if (__atomic_sub_fetch(&l->owners, 1, __ATOMIC_ACQ_REL) > 0) return;
    if (l->found) freeaddrinfo(l->found);
    free(l->node);
    free(l->service);
    free(l->buffer);
    free(l);
}

static struct lookup *lookup_new(void (*run)(struct lookup *)) {
    struct lookup *l = calloc(1, sizeof *l);
    if (l) {
        l->owners = 1;
        l->run = run;
    }
    return l;
}

/* Park until it has run.  The caller, if it is told PARK_READY, has it alone. */
static int park_lookup(struct lookup *l) { PARK(bridge_lookup(l)) }

/* Texts of which there can be no look-up. */
static int is_numeric(const char *node) {
    struct in_addr address;
    return strchr(node, ':') || inet_aton(node, &address);
}

static void run_getaddrinfo(struct lookup *l) {
    l->result = getaddrinfo(l->node, l->service, l->hinted ? &l->hints : NULL, &l->found);
    l->error = errno;
    if (l->result) l->found = NULL;
}

static int h_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (!on_runtime() || !node || (hints && hints->ai_flags & AI_NUMERICHOST) || is_numeric(node))
        return getaddrinfo(node, service, hints, found);
    struct lookup *l = lookup_new(run_getaddrinfo);
    if (!l) return EAI_MEMORY;
    l->node = strdup(node);
    l->service = service ? strdup(service) : NULL;
    if (hints) {
        l->hinted = 1;
        l->hints = *hints;
        l->hints.ai_next = NULL;
    }
    int k = l->node && (!service || l->service) ? park_lookup(l) : PARK_CANNOT, result = l->result, error = l->error;
    if (k == PARK_READY && result == 0) {
        *found = l->found;
        l->found = NULL;
    }
    lookup_drop(l);
    if (k == PARK_CANNOT) return getaddrinfo(node, service, hints, found);
    errno = k == PARK_EINTR ? EINTR : error;
    return k == PARK_EINTR ? EAI_SYSTEM : result; /* CPython looks at errno then, and raises what ended it */
}

static void run_getnameinfo(struct lookup *l) {
    l->result = getnameinfo((struct sockaddr *)&l->address, l->length, l->node, l->node_room, l->service, l->service_room, l->flags);
    l->error = errno;
}

static int h_getnameinfo(const struct sockaddr *address, socklen_t length, char *node, socklen_t node_room, char *service,
                         socklen_t service_room, int flags) {
    if (!on_runtime() || flags & NI_NUMERICHOST || !node || node_room == 0 || length > sizeof(struct sockaddr_storage))
        return getnameinfo(address, length, node, node_room, service, service_room, flags);
    struct lookup *l = lookup_new(run_getnameinfo);
    if (!l) return EAI_MEMORY;
    memcpy(&l->address, address, length);
    l->length = length;
    l->node_room = node_room;
    l->service_room = service ? service_room : 0;
    l->flags = flags;
    l->node = calloc(1, node_room);
    l->service = l->service_room ? calloc(1, l->service_room) : NULL;
    int k = l->node && (!l->service_room || l->service) ? park_lookup(l) : PARK_CANNOT, result = l->result, error = l->error;
    if (k == PARK_READY && result == 0) {
        memcpy(node, l->node, node_room);
        if (l->service) memcpy(service, l->service, l->service_room);
    }
    lookup_drop(l);
    if (k == PARK_CANNOT) return getnameinfo(address, length, node, node_room, service, service_room, flags);
    errno = k == PARK_EINTR ? EINTR : error;
    return k == PARK_EINTR ? EAI_SYSTEM : result;
}

/* gethostby*_r put everything into the caller's buffer: made in one of ours, moved there, and the pointers with it. */
enum { ALIGNED = 16 };

static char *host_move(struct lookup *l, char *p, char *buffer) {
    return p && p >= l->buffer && p < l->buffer + l->room + ALIGNED ? buffer + (p - (l->buffer + l->skew)) : p;
}

static void host_move_all(struct lookup *l, char **list, char *buffer) {
    for (; list && *list; list++) *list = host_move(l, *list, buffer);
}

static void host_give(struct lookup *l, struct hostent *host, char *buffer) {
    char *start = l->buffer + l->skew;
    host_move_all(l, l->host.h_aliases, buffer);
    host_move_all(l, l->host.h_addr_list, buffer);
    memcpy(buffer, start, l->room);
    *host = l->host;
    host->h_name = host_move(l, l->host.h_name, buffer);
    host->h_aliases = (char **)host_move(l, (char *)l->host.h_aliases, buffer);
    host->h_addr_list = (char **)host_move(l, (char *)l->host.h_addr_list, buffer);
}

static int host_wait(struct lookup *l, struct hostent *host, char *buffer, struct hostent **found, int *herror) {
    int k = park_lookup(l), result = l->result;
    if (k == PARK_READY) {
        *herror = l->herror;
        *found = NULL;
        if (l->hosts) {
            host_give(l, host, buffer);
            *found = host;
        }
        errno = l->error;
    } else if (k == PARK_EINTR) {
        *found = NULL;
        *herror = NETDB_INTERNAL;
        errno = result = EINTR;
    }
    lookup_drop(l);
    return k == PARK_CANNOT ? -1 : result;
}

/* A look-up whose buffer is aligned as the caller's is. */
static struct lookup *host_lookup(void (*run)(struct lookup *), char *buffer, size_t room) {
    struct lookup *l = lookup_new(run);
    if (!l || !(l->buffer = malloc(room + 2 * ALIGNED))) {
        free(l);
        return NULL;
    }
    l->room = room;
    l->skew = ((uintptr_t)buffer - (uintptr_t)l->buffer) % ALIGNED;
    return l;
}

static void run_hostbyname(struct lookup *l) {
    l->result = gethostbyname_r(l->node, &l->host, l->buffer + l->skew, l->room, &l->hosts, &l->herror);
    l->error = errno;
}

static int h_gethostbyname_r(const char *name, struct hostent *host, char *buffer, size_t room, struct hostent **found, int *herror) {
    struct lookup *l;
    if (!on_runtime() || is_numeric(name) || !(l = host_lookup(run_hostbyname, buffer, room)))
        return gethostbyname_r(name, host, buffer, room, found, herror);
    int r = (l->node = strdup(name)) ? host_wait(l, host, buffer, found, herror) : -1;
    return r < 0 ? gethostbyname_r(name, host, buffer, room, found, herror) : r;
}

static void run_hostbyaddr(struct lookup *l) {
    l->result = gethostbyaddr_r(&l->address, l->length, l->flags, &l->host, l->buffer + l->skew, l->room, &l->hosts, &l->herror);
    l->error = errno;
}

static int h_gethostbyaddr_r(const void *address, socklen_t length, int family, struct hostent *host, char *buffer, size_t room,
                             struct hostent **found, int *herror) {
    struct lookup *l;
    if (!on_runtime() || length > sizeof l->address || !(l = host_lookup(run_hostbyaddr, buffer, room)))
        return gethostbyaddr_r(address, length, family, host, buffer, room, found, herror);
    memcpy(&l->address, address, length);
    l->length = length;
    l->flags = family;
    int r = host_wait(l, host, buffer, found, herror);
    return r < 0 ? gethostbyaddr_r(address, length, family, host, buffer, room, found, herror) : r;
}

/* -- locks on files ------------------------------------------------------------------------------------------------------------ */

/* Has it failed because another has the lock?  Then a nap: PARK_READY: ask again. */
static int lock_wait(int failed, int64_t *nap) {
    if (!failed || (errno != EAGAIN && errno != EACCES && errno != EINTR)) return PARK_TIMEOUT;
    int k = park_nap(nap);
    if (k == PARK_EINTR) errno = EINTR;
    return k;
}

static int h_flock(int fd, int operation) {
    int64_t nap = 0;
    int r, k;
    if (!on_runtime() || operation & (LOCK_NB | LOCK_UN)) return flock(fd, operation);
    do r = flock(fd, operation | LOCK_NB);
    while ((k = lock_wait(r != 0, &nap)) == PARK_READY);
    return k == PARK_CANNOT ? flock(fd, operation) : r;
}

static int h_lockf(int fd, int command, off_t length) {
    int64_t nap = 0;
    int r, k;
    if (!on_runtime() || command != F_LOCK) return lockf(fd, command, length);
    do r = lockf(fd, F_TLOCK, length);
    while ((k = lock_wait(r != 0, &nap)) == PARK_READY);
    return k == PARK_CANNOT ? lockf(fd, command, length) : r;
}

static int lock_fcntl(int fd, int command, void *lock) {
    int64_t nap = 0;
    int r, k;
    do r = fcntl(fd, command == F_SETLKW ? F_SETLK : F_OFD_SETLK, lock);
    while ((k = lock_wait(r != 0, &nap)) == PARK_READY);
    return k == PARK_CANNOT ? fcntl(fd, command, lock) : r;
}

static int h_fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *); /* or a number, or none: as libc takes it */
    va_end(args);
    if ((command == F_SETLKW || command == F_OFD_SETLKW) && on_runtime()) return lock_fcntl(fd, command, arg);
    return fcntl(fd, command, arg);
}

static const struct hook names_hooks[] = {
    {"getaddrinfo", h_getaddrinfo}, {"getnameinfo", h_getnameinfo}, {"gethostbyname_r", h_gethostbyname_r},
    {"gethostbyaddr_r", h_gethostbyaddr_r}, {"flock", h_flock}, {"lockf", h_lockf}, {"lockf64", h_lockf}, {"fcntl", h_fcntl}, {"fcntl64", h_fcntl}, {NULL, NULL}};
