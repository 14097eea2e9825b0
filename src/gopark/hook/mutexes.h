/* The mutexes of C libraries, as goroutines hold them.  To a mutex all goroutines are one thread: one that waits for a mutex which
   a parked goroutine holds would wait for ever, and one that enters a recursive mutex would be let in.

   So libraries with mutexes have their calls counted, through their own slots, and by goroutine.  Who wants what another goroutine
   holds parks until it is free.  Beyond that there are two kinds of library:

   counted: nothing parks while its goroutine holds one, the thread blocks instead.  What the mutex guards may be half-way through
   a change, and other code of the process, which is not counted, may lock the same.  This is what a library gets of which no more is known.

   shared: it parks nevertheless, because waiting is what its mutex is for: it is held for a whole query, and who else wants that
   connection waits for it, here, parked.

   All of this is the runtime's thread's alone, with or without the GIL: no lock guards it.  What must not live here: mutexes of Python's
   (locks.h), conditions (they block the thread, and sysmon says so). */
struct held { void *lock, *owner; int depth, shared; struct held *next; };

static struct held *held_table[64];
static long held_counted;   /* locks of the counted kind that goroutines hold, of all together */
static long held_waiting;   /* goroutines that wait for any lock here */
static long held_refused;   /* parks that were refused for that */

/* The runtime's side, mutexes.pxi. */
static void *bridge_current(void);              /* needs no GIL */
static int bridge_lock_wait(void *lock);        /* PARK_READY: look again */
static void bridge_lock_wake(void *lock, int all);

static struct held **held_bucket(void *lock) { return &held_table[((uintptr_t)lock >> 4) % 64]; }

/* The entry of *lock* that is *owner*'s; else any of it, if *any*. */
static struct held *held_find(void *lock, void *owner, int any) {
    struct held *found = NULL;
    for (struct held *h = *held_bucket(lock); h; h = h->next) {
        if (h->lock != lock) continue;
        if (h->owner == owner) return h;
        if (any) found = h;
    }
    return found;
}

static int held_forbid(void) {
    if (held_counted == 0) return 0;
    void *me = bridge_current();
    for (int i = 0; i < 64; i++)
        for (struct held *h = held_table[i]; h; h = h->next)
            if (!h->shared && h->owner == me) {
                held_refused++;
                return 1;
            }
    return 0;
}

static void held_add(void *lock, void *owner, int shared) {
    struct held *h = held_find(lock, owner, 0);
    if (!h) {
        if (!(h = calloc(1, sizeof *h))) Py_FatalError("gopark: no memory to note who holds a library's mutex");
        h->lock = lock, h->owner = owner, h->shared = shared;
        h->next = *held_bucket(lock);
        *held_bucket(lock) = h;
    }
    if (h->depth++ == 0 && !shared) held_counted++;
}

static void held_drop(void *lock, int all) {
    struct held *h = held_find(lock, bridge_current(), 1), **at;
    if (!h || --h->depth > 0) return; /* not through a slot of ours, or before patch() */
    if (!h->shared) held_counted--;
    for (at = held_bucket(lock); *at != h; at = &(*at)->next) {}
    *at = h->next;
    free(h);
    if (held_waiting) {
        struct python p;
        if (!python_enter(&p)) Py_FatalError("gopark: a library's mutex is let go where its waiters cannot be told");
        bridge_lock_wake(lock, all);
        python_leave(&p);
    }
}

/* Wait until the goroutine that holds it has let go. */
static void held_wait(void *lock) {
    struct python p;
    int r = PARK_CANNOT;
    if (python_enter(&p)) {
        held_waiting++;
        r = bridge_lock_wait(lock);
        held_waiting--;
        python_leave(&p);
    }
    if (r == PARK_CANNOT) Py_FatalError("gopark: deadlock: a mutex of a library is wanted where nobody can park, and a parked goroutine holds it");
}

typedef int lock_call(void *lock);

/* *try* it without waiting, *block* for it.  By a goroutine. */
static int held_take(void *lock, lock_call *try, lock_call *block, int shared, int read) {
    void *me = bridge_current();
    int64_t nap = 50000;
    for (;;) {
        struct held *h = held_find(lock, me, 1);
        int err = 0;
        if (!h || h->owner == me || read) {
            err = try(lock);
            if (err == 0 || err == EOWNERDEAD) {
                held_add(lock, me, shared);
                return err;
            }
            if (err != EBUSY) return err;
        }
        if (h && h->owner != me) {
            held_wait(lock);
            continue;
        }
        /* A thread has it, which nobody can tell us of.  A shared one may be held for long. */
        if (!shared || h || park_until(monotonic_ns() + nap) == PARK_CANNOT) {
            err = block(lock);
            if (err == 0 || err == EOWNERDEAD) held_add(lock, me, shared);
            return err;
        }
        if (nap < 5000000) nap *= 2;
    }
}

static int held_try(void *lock, lock_call *try, int shared, int read) {
    void *me = bridge_current();
    struct held *h = held_find(lock, me, 1);
    if (h && h->owner != me && !read) return EBUSY; /* a recursive one would let us in */
    int err = try(lock);
    if (err == 0 || err == EOWNERDEAD) held_add(lock, me, shared);
    return err;
}

#define MUTEX(x) ((lock_call *)(void *)pthread_mutex_##x)
#define RWLOCK(x) ((lock_call *)(void *)pthread_rwlock_##x)
#define LOCKS(KIND, SHARED)                                                                                                      \
    static int h_mutex_lock_##KIND(pthread_mutex_t *m) {                                                                             \
        return on_runtime() ? held_take(m, MUTEX(trylock), MUTEX(lock), SHARED, 0) : pthread_mutex_lock(m);                          \
    }                                                                                                                                \
    static int h_mutex_trylock_##KIND(pthread_mutex_t *m) {                                                                          \
        return on_runtime() ? held_try(m, MUTEX(trylock), SHARED, 0) : pthread_mutex_trylock(m);                                     \
    }                                                                                                                                \
    static int h_rwlock_rdlock_##KIND(pthread_rwlock_t *l) {                                                                         \
        return on_runtime() ? held_take(l, RWLOCK(tryrdlock), RWLOCK(rdlock), SHARED, 1) : pthread_rwlock_rdlock(l);                 \
    }                                                                                                                                \
    static int h_rwlock_tryrdlock_##KIND(pthread_rwlock_t *l) {                                                                      \
        return on_runtime() ? held_try(l, RWLOCK(tryrdlock), SHARED, 1) : pthread_rwlock_tryrdlock(l);                               \
    }                                                                                                                                \
    static int h_rwlock_wrlock_##KIND(pthread_rwlock_t *l) {                                                                         \
        return on_runtime() ? held_take(l, RWLOCK(trywrlock), RWLOCK(wrlock), SHARED, 0) : pthread_rwlock_wrlock(l);                 \
    }                                                                                                                                \
    static int h_rwlock_trywrlock_##KIND(pthread_rwlock_t *l) {                                                                      \
        return on_runtime() ? held_try(l, RWLOCK(trywrlock), SHARED, 0) : pthread_rwlock_trywrlock(l);                               \
    }
LOCKS(counted, 0)
LOCKS(shared, 1)

static int h_mutex_unlock(pthread_mutex_t *m) {
    int err = pthread_mutex_unlock(m);
    if (err == 0 && on_runtime()) held_drop(m, 0);
    return err;
}
static int h_rwlock_unlock(pthread_rwlock_t *l) {
    int err = pthread_rwlock_unlock(l);
    if (err == 0 && on_runtime()) held_drop(l, 1);
    return err;
}

#define LOCK_HOOKS(KIND)                                                                                                             \
    {"pthread_mutex_lock", h_mutex_lock_##KIND}, {"pthread_mutex_trylock", h_mutex_trylock_##KIND},                                  \
        {"pthread_rwlock_rdlock", h_rwlock_rdlock_##KIND}, {"pthread_rwlock_tryrdlock", h_rwlock_tryrdlock_##KIND},                  \
        {"pthread_rwlock_wrlock", h_rwlock_wrlock_##KIND}, {"pthread_rwlock_trywrlock", h_rwlock_trywrlock_##KIND},                  \
        {"pthread_mutex_unlock", h_mutex_unlock}, {"pthread_rwlock_unlock", h_rwlock_unlock}, {NULL, NULL}
static const struct hook mutexes_counted_hooks[] = {LOCK_HOOKS(counted)};
static const struct hook mutexes_shared_hooks[] = {LOCK_HOOKS(shared)};

static const struct hook *slots_mutexes(int kind) {
    return kind == SLOTS_SHARED ? mutexes_shared_hooks : kind == SLOTS_COUNTED ? mutexes_counted_hooks : NULL;
}
