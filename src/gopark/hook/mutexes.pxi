# The runtime's side of mutexes.h: goroutines that wait for a library's mutex, by its address.
cdef extern from "rooms.h" nogil:
    long held_refused

cdef dict mutex_waiters = {}


cdef void *bridge_current "bridge_current" () noexcept:
    # Called without the GIL, too, on the runtime's thread, which alone changes it: one load, and nothing is counted.
    return <void *>_p.curg


cdef int bridge_lock_wait "bridge_lock_wait" (void *lock) noexcept:
    cdef WaitQ q
    cdef Goroutine gp = _p.curg
    if not can_park():
        return PARK_CANNOT
    try:
        q = mutex_waiters.get(<uintptr_t>lock)
        if q is None:
            q = mutex_waiters[<uintptr_t>lock] = WaitQ()
        gp.shield += 1  # pthread_mutex_lock has no way to say that it was interrupted
        try:
            q.park("mutex of a C library")
        finally:
            gp.shield -= 1
        resumed()
        return PARK_READY
    except BaseException as e:
        complain(e)
        return PARK_CANNOT


cdef void bridge_lock_wake "bridge_lock_wake" (void *lock, int all) noexcept:
    # One: it will have the lock, or wait again behind whoever was quicker, who then wakes the next one.  Readers share a lock: all.
    cdef WaitQ q
    try:
        q = mutex_waiters.get(<uintptr_t>lock)
        if q is not None:
            q.wake_one()
            if all:
                q.wake_all()
            if q.size == 0:
                del mutex_waiters[<uintptr_t>lock]
    except BaseException as e:
        complain(e)
