/* Semaphores: threading.Lock and all that is made of it, multiprocessing's, C libraries' own.

   The semaphore itself stays what it is: a free one is taken, and one is posted, by libc's own atomic instructions, without a
   goroutine noticing.  Only who finds it taken parks, in a list of ours that is known by the semaphore's address (locks.pxi):
   never in the kernel, and with nothing on its C stack that others write.

   No wake-up is lost.  A goroutine that parks first counts itself (semaphores_parked), then tries once more, then is linked;
   all this on the runtime's thread, with the GIL, and nothing else runs in between (parkcommit).  Who posts, posts first and
   then looks at the count:
   - On the runtime's thread the two are one after the other: either the try finds the post, or the post finds the list.
   - On another thread, perhaps without the GIL or a thread state, perhaps between the count and the try: both sides have a
     full barrier between their write and their look, so one of them sees the other.  That thread leaves a note
     (semaphores_posted), sets P.attention and writes to the poller's break descriptor, in this order.  The scheduler clears
     attention before it takes the notes, and waits in epoll only while attention is not set; a write that comes before that
     wait ends it.
   - Another process's post can be noted by nobody: see shared.h.

   First come, first served, as far as that is free of charge: a post wakes the first who waits, and who runs now may be faster
   and take it once more (a lock would change hands at every release otherwise, and each time that costs a switch).  Who has
   lost so once goes to the list's front, and the next post is given to it and nobody else.

   Not parked on: a semaphore on this thread's C stack (CPython 3.13's parking lot): who posts it writes there, and while
   the goroutine is parked another one's frames are in that place.  The thread blocks then; sysmon sees it. */
#include <semaphore.h>

#define SEMAPHORES 512 /* lists; a semaphore's is told by its address */

static int semaphores_parked[SEMAPHORES];          /* goroutines in the list; the runtime's thread writes it */
static unsigned semaphores_posted[SEMAPHORES];     /* posts by other threads that the scheduler has not seen */
static unsigned semaphores_notes;                  /* how many of those; 0: no list need be looked at */
static int *semaphores_attention;                  /* P.attention */
static Py_ssize_t *semaphores_external;            /* P.external; the runtime's thread's */
static int semaphores_break = -1;                  /* the poller's break descriptor; set by who parks */
static char *semaphores_stack;                     /* where the runtime's thread's C stack begins: its highest address */

static inline unsigned semaphore_list(const void *s) { return ((uintptr_t)s >> 4 ^ (uintptr_t)s >> 13) % SEMAPHORES; }

/* locks.pxi, with the GIL.  bridge_sem: PARK_READY: the caller has it now. */
static int bridge_sem(sem_t *s, int64_t deadline);
static void bridge_posted(sem_t *s);
static void bridge_postpone(void);

/* A wait was interrupted just when it got what it waited for. */
static void sem_postpone(void) {
    struct python p;
    if (!python_enter(&p)) return;
    bridge_postpone();
    python_leave(&p);
}

static int sem_park(sem_t *s, int64_t deadline) {
    char *here = __builtin_frame_address(0);
    if ((char *)s >= here && (char *)s < semaphores_stack) return PARK_CANNOT;
    PARK(bridge_sem(s, deadline))
}

static int h_sem_post(sem_t *s);
#include "shared.h"

/* Park until the caller has it. */
static int sem_wait_parked(sem_t *s, int64_t deadline) { return sem_is_shared(s) ? shared_park(s, deadline) : sem_park(s, deadline); }

static int sem_ended(int k) {
    if (k == PARK_READY) return 0;
    errno = k == PARK_TIMEOUT ? ETIMEDOUT : EINTR;
    return -1;
}

static int h_sem_wait(sem_t *s) {
    if (!on_runtime()) return sem_wait(s);
    if (sem_trywait(s) == 0) return 0;
    if (errno != EAGAIN) return -1;
    int k = sem_wait_parked(s, 0);
    return k == PARK_CANNOT ? sem_wait(s) : sem_ended(k);
}

/* A deadline of that clock as one of ours: ns of CLOCK_MONOTONIC, never 0. */
static int64_t sem_deadline(clockid_t clock, const struct timespec *t) {
    struct timespec now = {0, 0};
    int64_t shift = 0, ns;
    if (clock != CLOCK_MONOTONIC) {
        clock_gettime(clock, &now);
        shift = monotonic_ns() - ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    }
    if (__builtin_mul_overflow((int64_t)t->tv_sec, 1000000000, &ns) || __builtin_add_overflow(ns, t->tv_nsec + shift, &ns))
        return t->tv_sec < 0 ? 1 : 0; /* beyond the clock: at once, or never */
    return ns > 0 ? ns : 1;
}

static int h_sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *t) {
    if (!on_runtime() || t->tv_nsec < 0 || t->tv_nsec >= 1000000000) return sem_clockwait(s, clock, t);
    if (sem_trywait(s) == 0) return 0;
    if (errno != EAGAIN) return -1;
    int k = sem_wait_parked(s, sem_deadline(clock, t));
    return k == PARK_CANNOT ? sem_clockwait(s, clock, t) : sem_ended(k);
}

static int h_sem_timedwait(sem_t *s, const struct timespec *t) { return h_sem_clockwait(s, CLOCK_REALTIME, t); }

/* Goroutines wait in this semaphore's list.  (Apart: h_sem_post, which every release of a lock runs through, stays short.) */
static __attribute__((noinline)) void semaphores_tell(sem_t *s) {
    int e = errno;
    if (on_runtime() && python_state() == PYTHON_HELD) {
        bridge_posted(s);
    } else {
        /* No lock, no allocation: the thread may be anybody's, in the middle of anything. */
        uint64_t one = 1;
        __atomic_fetch_add(&semaphores_posted[semaphore_list(s)], 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&semaphores_notes, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(semaphores_attention, 1, __ATOMIC_SEQ_CST);
        while (write(semaphores_break, &one, 8) < 0 && errno == EINTR)
            ;
    }
    errno = e;
}

static int h_sem_post(sem_t *s) {
    unsigned list = semaphore_list(s); /* *s may be gone when it has been posted */
    int r = sem_post(s);
#ifndef __x86_64__ /* there the post was a locked instruction, which is a full barrier */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
    if (__builtin_expect(__atomic_load_n(&semaphores_parked[list], __ATOMIC_RELAXED) != 0, 0) && r == 0) semaphores_tell(s);
    return r;
}

/* 0, or -1: this libc's semaphores do not look as we know them. */
static int semaphores_start(int *attention, Py_ssize_t *external) {
    sem_t mine, shared;
    sem_init(&mine, 0, 0);
    sem_init(&shared, 1, 0);
    if (sem_is_shared(&mine) || !sem_is_shared(&shared)) return -1;
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;
    semaphores_attention = attention;
    semaphores_external = external;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
    }
    semaphores_stack = (char *)low + size;
    return 0;
}

static const struct hook locks_hooks[] = {{"sem_wait", h_sem_wait},         {"sem_timedwait", h_sem_timedwait},
                                          {"sem_clockwait", h_sem_clockwait}, {"sem_post", h_sem_post},
                                          {NULL, NULL}};
