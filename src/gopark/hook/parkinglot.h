/* CPython 3.13's parking lot, as _queue (SimpleQueue) sees it, and the interpreter's own mutexes and events where its calls go
   through slots.

   The interpreter's parking lot keeps its entry on the waiter's C stack, and who unparks it writes there: the semaphore, the
   links of the list, the item that is handed over.  Those frames are another goroutine's meanwhile.  So a goroutine waits in a
   lot of ours, whose entries are on the heap, each with its semaphore (locks.h does the parking and the waking).  Threads that
   gopark does not run on use the interpreter's.  Who unparks looks into ours first, and says "there may be more" in any case:
   that is a hint which costs the next one a look at worst.

   One lock guards the list, and is held while the interpreter's lot is looked at after it: between the two looks a goroutine
   could come to wait for what the second finds nobody to wait for. */
#if PY_VERSION_HEX >= 0x030D0000
typedef void lot_unparked(void *arg, void *park_arg, int has_more_waiters);
extern int _PyParkingLot_Park(const void *, const void *, size_t, int64_t, void *, int);
extern void _PyParkingLot_Unpark(const void *, lot_unparked *, void *);
extern void _PyParkingLot_UnparkAll(const void *);

enum { LOT_OK = 0, LOT_AGAIN = -1, LOT_TIMEOUT = -2, LOT_INTR = -3 };
#define LOT_ARG 16 /* what a waiter's argument may point to: _queue's is an object, a mutex's a time and a flag */

struct lot_entry {
    const void *address;
    struct lot_entry *next;
    int unparked;
    sem_t sem;
    char arg[LOT_ARG];
};
static struct lot_entry *lot_entries; /* in the order of their coming */
static pthread_mutex_t lot_mutex = PTHREAD_MUTEX_INITIALIZER;

static int bridge_can_park(void); /* locks.pxi, with the GIL */

static void lot_unlink(struct lot_entry *e) {
    struct lot_entry **at = &lot_entries;
    while (*at != e) at = &(*at)->next;
    *at = e->next;
}

static int lot_wait(struct lot_entry *e, int64_t timeout) {
    int r, e0;
    PyThreadState *ts = PyEval_SaveThread(); /* the thread may have to block, if it is unpatched meanwhile */
    if (timeout < 0) {
        r = h_sem_wait(&e->sem);
    } else {
        int64_t when;
        if (__builtin_add_overflow(monotonic_ns(), timeout, &when)) when = INT64_MAX;
        struct timespec t = {when / 1000000000, when % 1000000000};
        r = h_sem_clockwait(&e->sem, CLOCK_MONOTONIC, &t);
    }
    e0 = errno;
    PyEval_RestoreThread(ts);
    return r == 0 ? LOT_OK : e0 == ETIMEDOUT ? LOT_TIMEOUT : LOT_INTR;
}

/* The sizes are _PyParkingLot_Park's: the value is of `size` bytes, the argument of `argsize`. */
static int lot_park(const void *address, const void *expected, size_t size, int64_t timeout, void *arg, size_t argsize, int detach) {
    /* Without detach the caller keeps the GIL: nobody else is to run. */
    if (!on_runtime() || !detach || python_state() != PYTHON_HELD || !bridge_can_park())
        return _PyParkingLot_Park(address, expected, size, timeout, arg, detach);
    struct lot_entry *e = calloc(1, sizeof *e), **end = &lot_entries;
    if (!e) return _PyParkingLot_Park(address, expected, size, timeout, arg, detach);
    e->address = address;
    if (arg) memcpy(e->arg, arg, argsize);
    sem_init(&e->sem, 0, 0);
    pthread_mutex_lock(&lot_mutex);
    int same = memcmp(address, expected, size) == 0;
    if (same) {
        while (*end) end = &(*end)->next;
        *end = e;
    }
    pthread_mutex_unlock(&lot_mutex);
    if (!same) {
        sem_destroy(&e->sem);
        free(e);
        return LOT_AGAIN;
    }
    int r = lot_wait(e, timeout);
    if (r != LOT_OK) {
        pthread_mutex_lock(&lot_mutex);
        int unparked = e->unparked;
        if (!unparked) lot_unlink(e);
        pthread_mutex_unlock(&lot_mutex);
        if (unparked) { /* the post is on its way: it is as if it had come in time */
            while (sem_wait(&e->sem) != 0)
                ;
            if (r == LOT_INTR) sem_postpone();
            r = LOT_OK;
        }
    }
    if (arg && r == LOT_OK) memcpy(arg, e->arg, argsize);
    sem_destroy(&e->sem);
    free(e);
    return r;
}

static int h_lot_park_queue(const void *address, const void *expected, size_t size, int64_t timeout, void *arg, int detach) {
    return lot_park(address, expected, size, timeout, arg, sizeof(void *), detach);
}
static int h_lot_park(const void *address, const void *expected, size_t size, int64_t timeout, void *arg, int detach) {
    return lot_park(address, expected, size, timeout, arg, LOT_ARG, detach);
}

static struct lot_entry *lot_find(const void *address) {
    struct lot_entry *e = lot_entries;
    while (e && e->address != address) e = e->next;
    if (e) {
        lot_unlink(e);
        e->unparked = 1;
    }
    return e;
}

static void h_lot_unpark(const void *address, lot_unparked *fn, void *arg) {
    pthread_mutex_lock(&lot_mutex);
    struct lot_entry *e = lot_find(address);
    if (e) fn(arg, e->arg, 1);
    else _PyParkingLot_Unpark(address, fn, arg);
    if (e) h_sem_post(&e->sem); /* under the lock: when it has been posted, its owner may free it */
    pthread_mutex_unlock(&lot_mutex);
}

static void h_lot_unpark_all(const void *address) {
    struct lot_entry *e;
    pthread_mutex_lock(&lot_mutex);
    while ((e = lot_find(address))) h_sem_post(&e->sem);
    _PyParkingLot_UnparkAll(address);
    pthread_mutex_unlock(&lot_mutex);
}

static void lot_forked(void) {
    pthread_mutex_init(&lot_mutex, NULL);
    lot_entries = NULL;
}

static const struct hook lot_hooks[] = {{"_PyParkingLot_Park", h_lot_park_queue, "_queue."},
                                        {"_PyParkingLot_Park", h_lot_park, SLOTS_INTERPRETER},
                                        {"_PyParkingLot_Unpark", h_lot_unpark},
                                        {"_PyParkingLot_UnparkAll", h_lot_unpark_all},
                                        {NULL, NULL}};
#else
static void lot_forked(void) {}
static const struct hook lot_hooks[] = {{NULL, NULL}};
#endif
