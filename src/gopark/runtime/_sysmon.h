/* sysmon's thread: watches the scheduler without ever taking the GIL.  After sysmon in Go's runtime/proc.go.

   What it does: when one goroutine has run for a time slice, it asks for preemption (SIGURG to the runtime's thread); when
   the network was not polled for that long, it asks for a poll.  With one P a goroutine that the network made ready cannot
   run before that P schedules, and the P polls then: so asking is all that a poll from here could achieve, and nothing
   of the scheduler's state is touched from two threads.

   Who writes what: tick, polled and running are the P's; waiting is set here and cleared by the P; requested is set here and
   cleared by the signal's handler; everything else is this thread's.  All are plain machine words, read and written with
   __atomic builtins: a value that is one round old does no harm, except running and waiting, which need an order between
   them (see gopark_sysmon_resumed).

   How it asks depends on what the thread does at that moment (the kernel says: /proc/self/task/TID/syscall).

   It runs: the signal is sent.  It sits in a system call: no signal, only Python's own mark that one has come, which is seen
   when the call is over.  Many calls (poll, nanosleep, pause, ...) are never restarted after a handler, and C code is not
   prepared for EINTR every 10 ms.  From CPython 3.13 on the mark alone will do in both cases; before, a thread that runs
   only sees a mark that was made on it.

   It is blocked in a lock (threading.Lock, which another goroutine may hold: the thread would wait for ever): the signal is
   sent without SA_RESTART, which would send it back into the lock before Python can run the handler.  Python's lock runs
   the handler, and goes on waiting after it.  Only lock waits are cut like that, and those are prepared for it.  A wait for
   the GIL is a futex, too, but not one that another goroutine could end: it is told by its address, which lies in the
   interpreter's own state. */
#ifndef GOPARK_SYSMON_H
#define GOPARK_SYSMON_H
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    uint64_t tick;      /* scheduling decisions: unchanged means the same goroutine still runs */
    int64_t polled;     /* coarse clock at the last netpoll, ns */
    int running;        /* the P runs goroutines: it is not blocked in netpoll */
    int waiting;        /* sysmon sleeps deeply, until the P wakes it */
    int requested;      /* a preemption was requested and not yet handled: GOPARK_RUNS, or GOPARK_BLOCKED in a lock */
    int preempt;        /* preemption is on */
    int stop;
    int64_t slice;      /* ns that a goroutine may run */
    uint64_t rounds;    /* for statistics: times it woke, preemptions it asked for */
    uint64_t requests;
    pthread_t target;   /* the runtime's thread */
    int status;         /* descriptor: the kernel tells which system call it is in; -1: it does not tell */
    int postponed;      /* gopark_preempt_again is in Python's list of pending calls; the runtime's thread's */
    int risky;          /* the runtime's thread, in a hook (GOPARK_RISK_*): a call that may block although it should not */
    int collecting;     /* the garbage collector runs; whoever holds the GIL */
    uintptr_t runtime, runtime_end; /* where the interpreter's own state lies */
    void (*handler)(int); /* Python's handler of SIGURG */
    pthread_t thread;
    int started;
} gopark_sysmon_t;

#define GOPARK_RUNS 1
#define GOPARK_BLOCKED 2

enum { GOPARK_RISK_NONE, GOPARK_RISK_TAKEN, GOPARK_RISK_CUTTING, GOPARK_RISK_CUT };

static gopark_sysmon_t gopark_sysmon = {.slice = 10000000, .status = -1};

#define GOPARK_LOAD(x) __atomic_load_n(&gopark_sysmon.x, __ATOMIC_RELAXED)
#define GOPARK_STORE(x, v) __atomic_store_n(&gopark_sysmon.x, (v), __ATOMIC_RELAXED)

static int64_t gopark_sysmon_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

enum { GOPARK_THREAD_RUNS, GOPARK_THREAD_SITS, GOPARK_THREAD_IN_LOCK };

/* What does the runtime's thread do?  A kernel that does not tell: it runs. */
static int gopark_sysmon_look(void) {
    char text[64], *rest;
    int n = (int)pread(gopark_sysmon.status, text, sizeof(text) - 1, 0);
    uintptr_t address;
    if (n <= 0 || text[0] < '0' || text[0] > '9') return GOPARK_THREAD_RUNS; /* "running", or -1: a page fault */
    text[n] = 0;
    if (strtol(text, &rest, 10) != SYS_futex || gopark_sysmon.runtime == 0) return GOPARK_THREAD_SITS;
    address = (uintptr_t)strtoull(rest, NULL, 16);
    return address < gopark_sysmon.runtime || address >= gopark_sysmon.runtime_end ? GOPARK_THREAD_IN_LOCK
                                                                                   : GOPARK_THREAD_SITS;
}

#include "_blocked.h"

/* What gopark_sysmon_look needs; without it no wait is ever cut. */
static void gopark_sysmon_prepare(void) {
    char path[48];
    int fd, high;
#ifdef __GLIBC__ /* others have no dladdr1 */
    Dl_info info;
    ElfW(Sym) *symbol = NULL;
    void *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    if (runtime != NULL && dladdr1(runtime, &info, (void **)&symbol, RTLD_DL_SYMENT) != 0 && symbol != NULL) {
        gopark_sysmon.runtime = (uintptr_t)runtime;
        gopark_sysmon.runtime_end = (uintptr_t)runtime + symbol->st_size;
    }
#endif
    snprintf(path, sizeof(path), "/proc/self/task/%ld/syscall", (long)syscall(SYS_gettid));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    /* Out of the way of programs that count on the lowest number being free. */
    high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 500);
    if (fd >= 0 && high < 0) high = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* never the number of a standard stream */
    if (fd >= 0) close(fd);
    gopark_sysmon.status = high;
}

/* The next SIGURG cuts a system call.  The handler, on the runtime's thread, puts SA_RESTART back; that thread is blocked
   now, so nobody else changes the handler meanwhile. */
static void gopark_sysmon_cut(void) {
    struct sigaction act;
    if (sigaction(SIGURG, NULL, &act) == 0 && act.sa_handler == gopark_sysmon.handler) {
        act.sa_flags &= ~SA_RESTART;
        sigaction(SIGURG, &act, NULL);
    }
}

/* The thread sits in a call that a hook had made sure would not block, and another process was faster (accept): the call is
   cut, and the hook looks again.  True: it has been. */
static int gopark_sysmon_cut_risk(void) {
    int taken = GOPARK_RISK_TAKEN;
    if (!__atomic_compare_exchange_n(&gopark_sysmon.risky, &taken, GOPARK_RISK_CUTTING, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return 0;
    gopark_sysmon_cut();
    GOPARK_STORE(requested, GOPARK_RUNS);
    pthread_kill(gopark_sysmon.target, SIGURG);
    __atomic_store_n(&gopark_sysmon.risky, GOPARK_RISK_CUT, __ATOMIC_RELEASE);
    return 1;
}
/* The call is over.  SA_RESTART is put back here, because the signal's handler runs only later. */
static void gopark_sysmon_risk_over(void) {
    struct sigaction act;
    int taken = GOPARK_RISK_TAKEN;
    if (__atomic_compare_exchange_n(&gopark_sysmon.risky, &taken, GOPARK_RISK_NONE, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return;
    while (__atomic_load_n(&gopark_sysmon.risky, __ATOMIC_ACQUIRE) == GOPARK_RISK_CUTTING) {}
    __atomic_store_n(&gopark_sysmon.risky, GOPARK_RISK_NONE, __ATOMIC_RELEASE);
    if (sigaction(SIGURG, NULL, &act) == 0 && act.sa_handler == gopark_sysmon.handler) {
        act.sa_flags |= SA_RESTART;
        sigaction(SIGURG, &act, NULL);
    }
}
static void gopark_sysmon_risk(int begins) {
    int e = errno;
    if (begins) __atomic_store_n(&gopark_sysmon.risky, GOPARK_RISK_TAKEN, __ATOMIC_RELEASE);
    else gopark_sysmon_risk_over();
    errno = e;
}

/* The goroutine that runs has had its time. */
static void gopark_sysmon_ask(void) {
    int look = gopark_sysmon_look();
    if (look == GOPARK_THREAD_SITS && gopark_sysmon_cut_risk()) return;
    if (look == GOPARK_THREAD_SITS && GOPARK_LOAD(requested) != 0) return; /* it cannot have looked yet */
    if (gopark_blocked.wanted) gopark_blocked_ask(gopark_sysmon_now());
    if (look == GOPARK_THREAD_IN_LOCK) gopark_sysmon_cut();
    GOPARK_STORE(requested, look == GOPARK_THREAD_IN_LOCK ? GOPARK_BLOCKED : GOPARK_RUNS);
    __atomic_fetch_add(&gopark_sysmon.requests, 1, __ATOMIC_RELAXED);
    if (look == GOPARK_THREAD_SITS || (look == GOPARK_THREAD_RUNS && PY_VERSION_HEX >= 0x030d0000)) {
        if (Py_IsInitialized()) PyErr_SetInterruptEx(SIGURG); /* needs neither the GIL nor a thread state */
    } else {
        pthread_kill(gopark_sysmon.target, SIGURG);
    }
}

static void *gopark_sysmon_main(void *unused) {
    int64_t delay = 20000, since = gopark_sysmon_now();
    uint64_t tick = GOPARK_LOAD(tick);
    int idle = 0, asleep = 0;
    (void)unused;
    while (!GOPARK_LOAD(stop)) {
        /* 20 us; after 50 rounds without work twice as long each time, up to 10 ms. */
        if (idle < 50) delay = 20000;
        else if (delay < 10000000) delay = delay * 2 > 10000000 ? 10000000 : delay * 2;
        int64_t now = gopark_sysmon_now(), left = since + GOPARK_LOAD(slice) - now, nap = delay;
        /* Not past the end of the slice of the one that runs: with doubled naps it would get up to twice its time. */
        if (GOPARK_LOAD(running) && left > 0 && left < nap) nap = left;
        struct timespec ts = {nap / 1000000000, nap % 1000000000};
        nanosleep(&ts, NULL);
        __atomic_fetch_add(&gopark_sysmon.rounds, 1, __ATOMIC_RELAXED);
        idle++;
        now = gopark_sysmon_now();
        if (!GOPARK_LOAD(running)) {
            since = now;
            tick = GOPARK_LOAD(tick);
            /* Everything is idle, twice in a row at the longest nap: sleep until the P runs again. */
            if (delay < 10000000 || ++asleep < 2) continue;
            asleep = 0;
            __atomic_store_n(&gopark_sysmon.waiting, 1, __ATOMIC_SEQ_CST);
            while (!__atomic_load_n(&gopark_sysmon.running, __ATOMIC_SEQ_CST) && GOPARK_LOAD(waiting) &&
                   !GOPARK_LOAD(stop))
                syscall(SYS_futex, &gopark_sysmon.waiting, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
            GOPARK_STORE(waiting, 0);
            since = gopark_sysmon_now();
            tick = GOPARK_LOAD(tick);
            continue;
        }
        asleep = 0;
        if (gopark_blocked.wanted && gopark_sysmon.status >= 0) gopark_blocked_look(now);
        if (GOPARK_LOAD(tick) != tick) {
            tick = GOPARK_LOAD(tick);
            since = now;
        } else if (now - since >= GOPARK_LOAD(slice)) {
            if (GOPARK_LOAD(preempt)) gopark_sysmon_ask();
            since = now; /* asked once a slice, not in every round: it may be in C code that cannot answer yet */
            idle = 0;
        }
    }
    return NULL;
}

/* The P goes on after a blocking netpoll.  It stores running and then looks at waiting; sysmon stores waiting and then looks
   at running; sequentially consistent, so one of the two sees the other, and no wake-up is lost. */
static inline void gopark_sysmon_resumed(void) {
    __atomic_store_n(&gopark_sysmon.running, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&gopark_sysmon.waiting, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&gopark_sysmon.waiting, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &gopark_sysmon.waiting, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
}

static int gopark_sysmon_start(void) {
    sigset_t all, old;
    struct sigaction act;
    pthread_attr_t attr;
    int err;
    if (gopark_sysmon.started) return 0;
    gopark_sysmon.stop = 0;
    gopark_sysmon.waiting = 0;
    gopark_sysmon.requested = 0;
    gopark_sysmon.running = 1;
    gopark_sysmon.target = pthread_self();
    gopark_sysmon_prepare();
    gopark_sysmon.handler = sigaction(SIGURG, NULL, &act) == 0 ? act.sa_handler : NULL;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * 1024 < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : 64 * 1024);
    /* No signal is ever delivered to this thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&gopark_sysmon.thread, &attr, gopark_sysmon_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (err == 0) {
        gopark_sysmon.started = 1;
    } else if (gopark_sysmon.status >= 0) {
        close(gopark_sysmon.status);
        gopark_sysmon.status = -1;
    }
    return err;
}

/* Waits for the thread: at most one nap (10 ms), and it needs nothing from us.  Call it without the GIL. */
static void gopark_sysmon_stop(void) {
    if (!gopark_sysmon.started) return;
    GOPARK_STORE(stop, 1);
    gopark_sysmon_resumed();
    pthread_join(gopark_sysmon.thread, NULL);
    gopark_sysmon.collecting = 0;
    gopark_sysmon.requested = 0; /* else the handler, called once more while it is taken away, would want to be called again */
    if (gopark_sysmon.status >= 0) close(gopark_sysmon.status);
    gopark_sysmon.status = -1;
    gopark_sysmon.started = 0;
    gopark_sysmon.requested = 0; /* a request that is postponed must not be once more: the handler is about to go */
}

static void gopark_sysmon_forked(void) {
    if (gopark_sysmon.status >= 0) close(gopark_sysmon.status);
    gopark_sysmon.status = -1;
    gopark_sysmon.started = 0;
    gopark_sysmon.waiting = 0;
    gopark_sysmon.requested = 0;
}

/* Between two bytecodes: a request that was postponed is looked at once more, at the next place where Python does so.  (Not
   here: while a pending call lasts, Python makes no other, and a goroutine that is switched away from may be long.) */
static int gopark_preempt_again(void *unused) {
    (void)unused;
    gopark_sysmon.postponed = 0;
    if (gopark_sysmon.requested != 0) PyErr_SetInterruptEx(SIGURG);
    return 0;
}

/* In the handler: not here.  Either a pending call: those are made by the interpreter between two bytecodes and, unlike signals'
   handlers, never in the middle of C code, which may look for signals a thousand times.  Or the next place at once.  Which
   of the two, chance decides: how soon a pending call is made depends on the version, and with a fixed step a loop could
   be looked at in the same bad place each time that it goes round. */
static void gopark_preempt_postpone(void) {
    static uint32_t random = 2463534242u;
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    if (gopark_sysmon.postponed) return;
    if (random & 1 || Py_AddPendingCall(gopark_preempt_again, NULL) != 0) PyErr_SetInterruptEx(SIGURG);
    else gopark_sysmon.postponed = 1;
}
#endif
