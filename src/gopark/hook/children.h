/* Waiting for child processes: wait, waitpid, waitid, wait3, wait4, system.

   A child's end is known by its pidfd, which can be polled.  What has no descriptor (any child, those of a process group, stops) is
   waited for by a thread of ours: in waitid with WNOWAIT, which takes nothing, so that the call itself, made again by whoever
   waits, does.  A thread stays in its waitid also if nobody waits any more, because nothing can end that; so there is at
   most one for each kind of wait, and who comes next has it.

   Where neither can be had (no descriptor, no thread, options that only Linux knows) the call is made again and again, with naps in
   between. */
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static int bridge_kept(void); /* park.pxi */

/* Has the running goroutine been cancelled, or is it the main one at Ctrl-C: something will be raised when this call is over? */
static int park_kept(void) {
    struct python p;
    int r;
    if (!python_enter(&p)) return 0;
    r = bridge_kept();
    python_leave(&p);
    return r;
}

/* A short sleep, each time a longer one. */
static int park_nap(int64_t *nap) {
    *nap = *nap == 0 ? 500000 : *nap < 16000000 ? 2 * *nap : *nap;
    return park_until(monotonic_ns() + *nap);
}

struct watch {
    struct watch *next;
    idtype_t type;
    id_t id;
    int events, ready, users, over; /* ready: an eventfd, written when it is over */
};
static pthread_mutex_t watches_mutex = PTHREAD_MUTEX_INITIALIZER; /* never held while parking */
static struct watch *watches;

static void *watch_main(void *arg) {
    struct watch *w = arg;
    siginfo_t info;
    uint64_t one = 1;
    while (waitid(w->type, w->id, &info, w->events | WNOWAIT) != 0 && errno == EINTR) {}
    pthread_mutex_lock(&watches_mutex);
    w->over = 1; /* from here on it is the runtime's thread's to free */
    if (write(w->ready, &one, sizeof one) != sizeof one) {}
    pthread_mutex_unlock(&watches_mutex);
    return NULL;
}

static int watch_start(struct watch *w) {
    sigset_t all, old;
    pthread_attr_t attributes;
    pthread_t thread;
    int err;
    if ((w->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) return errno;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 64 * 1024 < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : 64 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no signal is ever delivered to it */
    err = pthread_create(&thread, &attributes, watch_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (err) h_close(w->ready);
    return err;
}

/* The first of those that are over and that nobody uses, taken out of the list. */
static struct watch *watch_take_over(void) {
    struct watch *found = NULL;
    pthread_mutex_lock(&watches_mutex);
    for (struct watch **at = &watches; *at && !found;)
        if ((*at)->over && (*at)->users == 0) {
            found = *at;
            *at = found->next;
        } else {
            at = &(*at)->next;
        }
    pthread_mutex_unlock(&watches_mutex);
    return found;
}

static void watch_sweep(void) {
    struct watch *w;
    while ((w = watch_take_over())) {
        h_close(w->ready);
        free(w);
    }
}

/* A watch that is under way, or a new one; NULL: none can be had. */
static struct watch *watch_join(idtype_t type, id_t id, int events) {
    struct watch *w;
    watch_sweep();
    pthread_mutex_lock(&watches_mutex);
    for (w = watches; w; w = w->next)
        if (!w->over && w->type == type && w->id == id && w->events == events) break;
    if (!w && (w = calloc(1, sizeof *w))) {
        w->type = type;
        w->id = id;
        w->events = events;
        if (watch_start(w) != 0) {
            free(w);
            w = NULL;
        } else {
            w->next = watches;
            watches = w;
        }
    }
    if (w) w->users++;
    pthread_mutex_unlock(&watches_mutex);
    return w;
}

static void watch_leave(struct watch *w) {
    pthread_mutex_lock(&watches_mutex);
    w->users--;
    pthread_mutex_unlock(&watches_mutex);
    watch_sweep();
}

/* In a forked child: the threads do not exist, and the descriptors are the parent's, too. */
static void children_forked(void) {
    pthread_mutex_init(&watches_mutex, NULL);
    for (struct watch *w = watches, *next; w; w = next) {
        next = w->next;
        close(w->ready);
        free(w);
    }
    watches = NULL;
}

/* Park until one of *events* (WEXITED, WSTOPPED, WCONTINUED) may be had of such a child. */
static int park_child(idtype_t type, id_t id, int events, int64_t *nap) {
    int k = PARK_CANNOT, fd = -1;
    struct watch *w;
    if (type == P_PIDFD && events == WEXITED) return park_fd(id, 1, 0);
    if (type == P_PID && events == WEXITED && (fd = syscall(SYS_pidfd_open, (pid_t)id, 0)) >= 0) {
        k = park_fd(fd, 1, 0);
        h_close(fd);
        if (k != PARK_CANNOT) return k;
    } else if ((events & ~(WEXITED | WSTOPPED | WCONTINUED)) == 0 && events != 0 && (w = watch_join(type, id, events))) {
        k = park_fd(w->ready, 1, 0);
        watch_leave(w);
        if (k != PARK_CANNOT) return k;
    }
    return park_nap(nap);
}

static pid_t h_wait4(pid_t pid, int *status, int options, struct rusage *usage) {
    idtype_t type = pid > 0 ? P_PID : pid == -1 ? P_ALL : P_PGID;
    int events = WEXITED | (options & WUNTRACED ? WSTOPPED : 0) | (options & ~WUNTRACED); /* WCONTINUED is the same */
    id_t id = pid > 0 ? pid : pid == -1 ? 0 : pid == 0 ? getpgrp() : -(id_t)pid;
    int64_t nap = 0;
    if (!on_runtime() || options & WNOHANG) return wait4(pid, status, options, usage);
    for (;;) {
        pid_t r = wait4(pid, status, options | WNOHANG, usage);
        if (r != 0) return r;
        int k = park_child(type, id, events, &nap);
        if (k == PARK_CANNOT) return wait4(pid, status, options, usage);
        if (k == PARK_EINTR) {
            errno = EINTR;
            return -1;
        }
    }
}
static pid_t h_waitpid(pid_t pid, int *status, int options) { return h_wait4(pid, status, options, NULL); }
static pid_t h_wait3(int *status, int options, struct rusage *usage) { return h_wait4(-1, status, options, usage); }
static pid_t h_wait(int *status) { return h_wait4(-1, status, 0, NULL); }

static int h_waitid(idtype_t type, id_t id, siginfo_t *info, int options) {
    siginfo_t own;
    int64_t nap = 0;
    if (!on_runtime() || options & WNOHANG) return waitid(type, id, info, options);
    for (;;) {
        siginfo_t *found = info ? info : &own;
        found->si_pid = 0;
        int r = waitid(type, id, found, options | WNOHANG);
        if (r != 0 || found->si_pid != 0) return r;
        int k = park_child(type, type == P_PGID && id == 0 ? (id_t)getpgrp() : id, options & ~WNOWAIT, &nap);
        if (k == PARK_CANNOT) return waitid(type, id, info, options);
        if (k == PARK_EINTR) {
            errno = EINTR;
            return -1;
        }
    }
}

/* libc's system() waits inside libc, where no slot leads.  Like it, this one ignores SIGINT and SIGQUIT until the last command has
   ended, cannot be interrupted, and kills the command if whoever waits for it is cancelled. */
static int systems;
static struct sigaction system_int, system_quit;

static void system_enter(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (systems++ > 0) return;
    sigaction(SIGINT, &ignore, &system_int);
    sigaction(SIGQUIT, &ignore, &system_quit);
}

static void system_leave(void) {
    if (--systems > 0) return;
    sigaction(SIGINT, &system_int, NULL);
    sigaction(SIGQUIT, &system_quit, NULL);
}

static int system_spawn(const char *command, pid_t *pid) {
    char *argv[] = {"sh", "-c", "--", (char *)command, NULL};
    posix_spawnattr_t attributes;
    sigset_t defaults, mask;
    sigemptyset(&defaults);
    if (system_int.sa_handler != SIG_IGN) sigaddset(&defaults, SIGINT);
    if (system_quit.sa_handler != SIG_IGN) sigaddset(&defaults, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int err = posix_spawn(pid, "/bin/sh", NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    return err;
}

static int h_system(const char *command) {
    int status = 127 << 8, err;
    pid_t pid = 0, r;
    if (!on_runtime() || !command) return system(command);
    system_enter();
    err = system_spawn(command, &pid);
    if (err == 0) {
        while ((r = h_wait4(pid, &status, 0, NULL)) < 0 && errno == EINTR && !park_kept()) {}
        if (r < 0 && errno == EINTR) {
            kill(pid, SIGKILL);
            while ((r = wait4(pid, &status, 0, NULL)) < 0 && errno == EINTR) {}
            errno = EINTR;
        }
        if (r < 0) status = -1;
    } else if (err == ENOMEM || err == EAGAIN) {
        status = -1;
        errno = err;
    }
    err = errno;
    system_leave();
    errno = err;
    return status;
}

static const struct hook children_hooks[] = {
    {"wait4", h_wait4}, {"waitpid", h_waitpid}, {"__waitpid", h_waitpid}, {"wait3", h_wait3}, {"wait", h_wait},
    {"waitid", h_waitid}, {"system", h_system}, {NULL, NULL}};
