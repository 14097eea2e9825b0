# Which descriptors goroutines wait for in hooked calls, and the waiting.
#
# A descriptor is registered at the first park, and looked at again (netpollrearm) at each later one: it may have been closed, or
# given to another file, behind our back.
from gopark.runtime cimport netpoll
from gopark.runtime.polldesc cimport PollDesc
from gopark.runtime.sema cimport WaitQ

cdef class Entry:
    cdef PollDesc pd
    cdef WaitQ rq
    cdef WaitQ wq
    cdef bint rbusy
    cdef bint wbusy

cdef dict entries = {}


cdef Entry entry_of(int fd):
    cdef Entry e = entries.get(fd)
    if e is not None:
        if _p.poller.netpollrearm(fd, e.pd) == 0:
            return e
        forget(fd)
    e = Entry()
    e.pd = netpoll.poll_open(fd)
    e.rq = WaitQ()
    e.wq = WaitQ()
    entries[fd] = e
    return e


cdef object descriptors_forked():
    """In a forked child: whoever waited does not exist."""
    cdef Entry e
    for e in entries.values():
        e.rbusy = e.wbusy = False


cdef object forget(int fd):
    cdef Entry e = entries.pop(fd, None)
    if e is not None:
        netpoll.poll_unblock(e.pd)
        if not e.rbusy and not e.wbusy:
            netpoll.poll_close(e.pd)
        e.rq.wake_all()
        e.wq.wake_all()


cdef int wait_for(int fd, int mode, int64_t deadline) except? -100:
    cdef Entry e = entry_of(fd)
    cdef WaitQ q = e.rq if mode == 1 else e.wq
    cdef int code
    if e.rbusy if mode == 1 else e.wbusy:
        # Another goroutine waits on this side: who comes later looks again when that one has been woken.
        if deadline == 0:
            q.park("IO wait")
        elif not q.park_until("IO wait", deadline):
            return PARK_TIMEOUT
        return PARK_READY
    if mode == 1:
        e.rbusy = True
    else:
        e.wbusy = True
    try:
        netpoll.poll_set_deadline(e.pd, deadline, mode)
        code = netpoll.poll_wait(e.pd, mode)
    finally:
        if mode == 1:
            e.rbusy = False
        else:
            e.wbusy = False
        if e.pd.closing and not e.rbusy and not e.wbusy:
            netpoll.poll_close(e.pd)
        q.wake_all()
    return PARK_TIMEOUT if code == 2 else PARK_READY


cdef int bridge_fd "bridge_fd" (int fd, int mode, int64_t deadline) noexcept:
    if not can_park():
        return PARK_CANNOT
    try:
        code = wait_for(fd, mode, deadline)
        resumed()
        return code
    except OSError:
        return PARK_CANNOT
    except BaseException as e:
        return keep(e)


cdef void descriptor_closing "descriptor_closing" (int fd) noexcept:
    if entries:
        try:
            forget(fd)
        except BaseException as e:
            complain(e)
