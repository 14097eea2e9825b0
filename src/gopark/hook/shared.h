/* Semaphores that other processes post (multiprocessing's): nobody can note their posts.  So a small native thread waits in the
   goroutine's place, and posts a semaphore that is ours when it has got what it waited for.

   A goroutine that gives up (its time is up, it is cancelled) cancels the thread, which libc lets end in sem_wait either with
   the semaphore or without; one that was woken in the kernel and cancelled before it could take it has kept the wake-up from
   somebody else, who is woken once more. */
#include <limits.h>

struct shared_wait { sem_t *sem; sem_t done; int taken; };

/* A field of glibc's, which semaphores_start verifies. */
static inline int sem_is_shared(const sem_t *s) { return ((const int *)s)[2] != 0; }

static void *shared_main(void *arg) {
    struct shared_wait *w = arg;
    int r, old;
    while ((r = sem_wait(w->sem)) != 0 && errno == EINTR)
        ;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    w->taken = r == 0;
    h_sem_post(&w->done);
    return NULL;
}

static int shared_thread(pthread_t *thread, struct shared_wait *w) {
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * 1024 < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : 64 * 1024);
    sigfillset(&all); /* no signal of the program's is delivered there */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(thread, &attr, shared_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return err;
}

/* sem_park for such a one. */
static int shared_park(sem_t *s, int64_t deadline) {
    pthread_t thread;
    struct shared_wait *w = calloc(1, sizeof *w);
    if (!w) return PARK_CANNOT;
    w->sem = s;
    sem_init(&w->done, 0, 0);
    if (shared_thread(&thread, w) != 0) {
        free(w);
        return PARK_CANNOT;
    }
    ++*semaphores_external; /* another process will wake it: this is no deadlock */
    int k = sem_park(&w->done, deadline);
    if (k != PARK_READY) pthread_cancel(thread);
    pthread_join(thread, NULL);
    --*semaphores_external;
    if (w->taken && k == PARK_EINTR) sem_postpone();
    if (w->taken) k = PARK_READY;
    else if (k == PARK_READY) k = PARK_CANNOT; /* it is no semaphore: the real call says so */
    else if (sem_trywait(s) == 0) {
        if (k == PARK_TIMEOUT) k = PARK_READY; /* at the last moment */
        else sem_post(s);
    }
    sem_destroy(&w->done);
    free(w);
    return k;
}
