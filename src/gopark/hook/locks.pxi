# Who waits for which semaphore.  How nobody is forgotten is told in locks.h.
cimport cython

cdef extern from "rooms.h" nogil:
    ctypedef struct sem_t:
        pass
    int SEMAPHORES
    int *semaphores_parked
    unsigned *semaphores_posted
    unsigned semaphores_notes
    int semaphores_break
    unsigned semaphore_list(const void *s)
    int semaphores_start(int *attention, Py_ssize_t *external)
    void lot_forked()
    int sem_trywait(sem_t *s)
    int __atomic_add_fetch(int *p, int n, int order)
    unsigned __atomic_exchange_n(unsigned *p, unsigned n, int order)
    int __ATOMIC_SEQ_CST

# Goroutine.waitval while it waits here: the semaphore's address (which is a multiple of 8); 0: it has been given it.
cdef int LOST = 1  # the mode of a park: it was woken, and another one was faster


@cython.final
cdef class Semaphores(WaitQ):
    """Everybody who waits for a semaphore of this list, in the order of their coming, whichever semaphore it is."""
    cdef int n

    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1:  # atomic
        __atomic_add_fetch(&semaphores_parked[self.n], 1, __ATOMIC_SEQ_CST)
        if sem_trywait(<sem_t *><uintptr_t>gp.waitval) == 0:
            gp.waitval = 0
            semaphores_parked[self.n] -= 1
            return False
        if mode == LOST and self.head is not None:
            gp.link = self.head
            self.head.waitprev = gp
            self.head = gp
            self.size += 1
            return True
        return WaitQ.parkcommit(self, gp, mode)

    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1:  # atomic
        if not WaitQ.parkcancel(self, gp, mode):
            return False
        semaphores_parked[self.n] -= 1
        return True

    cpdef object after_fork(self):  # atomic
        WaitQ.after_fork(self)
        semaphores_parked[self.n] = 0

    cdef int wake(self, Goroutine gp) except -1:  # atomic
        self.unlink(gp)
        semaphores_parked[self.n] -= 1
        proc.goready(gp)
        return 0

    cdef int posted(self, int64_t s) except -1:  # atomic
        """*s* has been posted on this thread: wake the first who waits for it, and if it has lost once, give it to it."""
        cdef Goroutine gp = self.head
        while gp is not None and gp.waitval != s:
            gp = gp.link
        if gp is None:
            return 0
        if gp.parkmode == LOST:
            if sem_trywait(<sem_t *><uintptr_t>s) != 0:
                return 0  # another thread has been faster: it will post
            gp.waitval = 0
        return self.wake(gp)

    cdef int give(self) except -1:  # atomic
        """Other threads have posted some of these: give them to the first who wait for them."""
        cdef Goroutine gp = self.head
        cdef Goroutine following
        cdef int64_t taken = 0
        while gp is not None:
            following = gp.link
            if gp.waitval != taken:
                if sem_trywait(<sem_t *><uintptr_t>gp.waitval) == 0:
                    gp.waitval = 0
                    self.wake(gp)
                else:
                    taken = gp.waitval
            gp = following
        return 0

    def describe(self, mode):
        return ""


cdef list lists = []


cdef int bridge_sem "bridge_sem" (sem_t *s, int64_t deadline) noexcept:
    """Park until the semaphore has been taken for the caller."""
    global semaphores_break
    cdef Goroutine gp = _p.curg
    cdef Semaphores queue
    cdef int mode = 0
    if not can_park():
        return PARK_CANNOT
    try:
        queue = <Semaphores>lists[semaphore_list(s)]
        while True:
            semaphores_break = _p.poller.netpollbreaker()  # another one in a forked child
            gp.waitval = <int64_t>s
            if deadline == 0:
                proc.gopark(queue, mode, "lock")
            elif not proc.gopark_until(queue, mode, "lock", deadline):
                resumed()
                return PARK_TIMEOUT
            if gp.waitval == 0 or sem_trywait(s) == 0:
                resumed()
                return PARK_READY
            if not park_on:
                return PARK_CANNOT
            mode = LOST
    except BaseException as e:
        return keep(e)


cdef int bridge_can_park "bridge_can_park" () noexcept:
    return can_park()


cdef void bridge_postpone "bridge_postpone" () noexcept:
    """What has ended the last park came too late, the call has succeeded: it is raised at the goroutine's next park."""
    cdef Goroutine gp = _p.curg
    exc = kept.pop(gp, None)
    if exc is not None and gp.pending is None:
        gp.pending = exc


cdef void bridge_posted "bridge_posted" (sem_t *s) noexcept:
    try:
        (<Semaphores>lists[semaphore_list(s)]).posted(<int64_t>s)
    except BaseException as e:
        complain(e)


cdef void semaphores_attend() noexcept:
    """Other threads may have posted."""
    cdef int n
    if semaphores_notes == 0:
        return
    __atomic_exchange_n(&semaphores_notes, 0, __ATOMIC_SEQ_CST)
    try:
        for n in range(SEMAPHORES):
            if semaphores_posted[n] != 0:
                __atomic_exchange_n(&semaphores_posted[n], 0, __ATOMIC_SEQ_CST)
                (<Semaphores>lists[n]).give()
    except BaseException as e:
        complain(e)


def locks_start() -> None:
    """Waiting for semaphores parks from now on.  RuntimeError if they are not known."""
    cdef Semaphores queue
    while len(lists) < SEMAPHORES:
        queue = Semaphores()
        queue.n = len(lists)
        lists.append(queue)
    if semaphores_start(<int *>&_p.attention, &_p.external) != 0:
        raise RuntimeError("gopark.patch: this C library's semaphores are not glibc's as they are known: which release is it?")


def locks_stop() -> None:
    """The slots are the program's again: who waits here is not told of a post any more, and waits with its thread."""
    for queue in lists:
        while (<Semaphores>queue).head is not None:
            (<Semaphores>queue).wake((<Semaphores>queue).head)


def locks_waiting() -> int:
    """How many goroutines wait for semaphores."""
    return sum((<Semaphores>queue).size for queue in lists)
