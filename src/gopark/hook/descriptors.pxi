# Which descriptors goroutines wait for in hooked calls, and the waiting.
#
# A descriptor is registered at its first park and stays so until it is closed.  Each park asks the kernel to look at it anew
# (netpollrearm): that says what is ready now, so that no edge can have been missed, and says as well whether the number still
# is the file that was registered; it may have been closed, or given to another, where no hook has seen it.
#
# Several goroutines may wait on one side.  One of them leads: it waits on the poll descriptor, which has room for one.  The others
# queue; when the leader is done, for whatever reason, it wakes the first of the queue, and that one leads: it looks anew before it
# waits.  So while somebody queues, somebody leads or has been woken to lead; whatever is ready after the leader has had its share
# is found by the next one's look; and no event wakes more than one.
#
# What must not live here: what a call does that is not ready (descriptors.h).
from gopark.runtime cimport netpoll, polldesc
from gopark.runtime.polldesc cimport PollDesc
from gopark.runtime.sema cimport WaitQ

import os as _os

from gopark.runtime import interrupts as _interrupts

cdef extern from "rooms.h" nogil:
    int PARK_CLOSED
    int FD_LIMIT, FD_ENTRY, FD_OURS
    int fd_owner
    int fd_high
    int fd_table_make()
    void fd_set_bits(int fd, unsigned bits)
    void fd_clear_bits(int fd, unsigned bits)
    unsigned fd_bits(int fd)
    void pollsets_close(int all)
    _sys.risk_function io_risk

cdef extern from "<unistd.h>" nogil:
    int getpid()

cdef extern from "<errno.h>" nogil:
    int EPERM, EEXIST, EBADF

cdef enum:
    LOOK_AGAIN = 50  # wait_in's: the registration is gone
    NAP_NS = 2000000


cdef class Entry:
    """What the runtime knows of one descriptor."""

    cdef int fd  # the program's number
    cdef int polled  # the number that is registered: another one while somebody else has registered fd itself
    cdef PollDesc pd
    cdef WaitQ rq, wq  # who queues to read, to write
    cdef bint reading, writing  # somebody leads
    cdef bint closed  # the program has closed it, or made it another file
    cdef int users  # goroutines that are waiting, or have been woken and are about to look


cdef list entries = []  # by number; None where there is none


cdef Entry entry_find(int fd):
    return <Entry>entries[fd] if fd < len(entries) else None


cdef object entry_release(Entry e):
    """Nobody looks at it any more, and it is in no list: its poll descriptor is given back."""
    cdef PollDesc pd = e.pd
    if pd is None or e.users != 0:
        return
    e.pd = None
    netpoll.poll_close(pd)


cdef object entry_drop(Entry e, bint closed):
    """The end of a registration; *closed*: also of what waits for it, else that registers again."""
    if entry_find(e.fd) is not e:
        return
    entries[e.fd] = None
    fd_clear_bits(e.fd, FD_ENTRY)
    e.closed = closed
    if not e.pd.closing:
        netpoll.poll_unblock(e.pd)
    # Deregistered here, by the number that it still has; later it may be somebody else's.
    _p.poller.netpollclose(e.polled)
    e.pd.fd = -1
    if e.polled != e.fd:
        _sys.close(e.polled)
    e.rq.wake_all()
    e.wq.wake_all()
    entry_release(e)


cdef Entry entry_make(int fd):
    """Register *fd*.  OSError if the kernel refuses."""
    cdef Entry e = Entry(), before
    cdef int err
    e.fd = e.polled = fd
    e.rq = WaitQ()
    e.wq = WaitQ()
    if fd >= FD_LIMIT:
        raise OSError(EBADF, "too high")
    while len(entries) <= fd:
        entries.append(None)
    try:
        e.pd = netpoll.poll_open(fd)
    except OSError as exc:
        if exc.errno != EEXIST:
            raise
        e.pd = entry_share(e)
    # The program's code may have run meanwhile (a collection), and waited for the same.
    before = entry_find(fd)
    if before is not None:
        entry_drop(before, False)
    entries[fd] = e
    fd_set_bits(fd, FD_ENTRY)
    return e


cdef PollDesc entry_share(Entry e):
    """*fd* is registered, and not by us: by gopark.net, which goes on having it; or it was, and nobody knows of it any more."""
    cdef PollDesc pd
    for pd in polldesc.pollcache.table:
        if pd.fd == e.fd:
            e.polled = _sys.dup(e.fd)
            if e.polled < 0:
                e.polled = e.fd
                raise OSError(EEXIST, "it cannot be registered twice")
            try:
                return netpoll.poll_open(e.polled)
            except OSError:
                _sys.close(e.polled)
                raise
    _p.poller.netpollclose(e.fd)
    return netpoll.poll_open(e.fd)


def claim(int fd):
    """Somebody else is about to register *fd*: gopark.net has been given it, or a number that was closed behind our back."""
    cdef Entry e = entry_find(fd)
    if e is not None:
        entry_drop(e, False)


cdef int wait_in(Entry e, int mode, int64_t deadline) except? -100:
    """Lead: wait on the poll descriptor."""
    cdef PollDesc pd = e.pd
    cdef int sides = (1 if e.reading else 0) | (2 if e.writing else 0)
    cdef bint in_time = True
    pd.everr = False
    if mode == 1:
        pd.rg = None
    else:
        pd.wg = None
    if pd.closing:
        return PARK_CLOSED if e.closed else LOOK_AGAIN
    if _p.poller.netpollrearm(e.polled, pd, sides) != 0:
        entry_drop(e, False)
        return LOOK_AGAIN
    if netpoll.block_begin(pd, mode, False):
        if deadline == 0:
            proc.gopark(pd, mode, "IO wait")
        else:
            in_time = proc.gopark_until(pd, mode, "IO wait", deadline)
    netpoll.block_end(pd, mode)
    if pd.closing:
        return PARK_CLOSED if e.closed else LOOK_AGAIN
    return PARK_READY if in_time else PARK_TIMEOUT


cdef object lead_done(Entry e, int mode):
    """The leader leaves: the next one leads."""
    if mode == 1:
        e.reading = False
        e.pd.rg = None
        e.rq.wake_one()
    else:
        e.writing = False
        e.pd.wg = None
        e.wq.wake_one()


cdef int wait_entry(Entry e, int mode, int64_t deadline) except? -100:
    cdef WaitQ q = e.rq if mode == 1 else e.wq
    e.users += 1
    try:
        while e.reading if mode == 1 else e.writing:
            if deadline == 0:
                q.park("IO wait")
            elif not q.park_until("IO wait", deadline):
                return PARK_TIMEOUT
            if e.pd.closing:
                return PARK_CLOSED if e.closed else LOOK_AGAIN
        if mode == 1:
            e.reading = True
        else:
            e.writing = True
        try:
            return wait_in(e, mode, deadline)
        finally:
            lead_done(e, mode)
    finally:
        e.users -= 1
        if e.users == 0 and (e.pd.closing or e.polled != e.fd):
            if not e.pd.closing:
                entry_drop(e, False)
            else:
                entry_release(e)


cdef int wait_for(int fd, int mode, int64_t deadline) except? -100:
    cdef Entry e
    cdef int code
    while True:
        e = entry_find(fd)
        if e is None:
            try:
                e = entry_make(fd)
            except OSError as exc:
                code = exc.errno
                break
        code = wait_entry(e, mode, deadline)
        if code != LOOK_AGAIN:
            return code
    if code == EPERM:
        return PARK_CANNOT
    if code == EBADF:
        return PARK_READY  # the call itself will say so
    # The kernel has no room for it, or instances of epoll are nested too deeply: look again every now and then.
    if deadline != 0 and deadline <= monotonic_ns() + NAP_NS:
        return PARK_READY if proc.gopark_until(proc._sleeplock, 0, "IO wait", deadline) else PARK_TIMEOUT
    proc.gopark_until(proc._sleeplock, 0, "IO wait", monotonic_ns() + NAP_NS)
    return PARK_READY


cdef int bridge_fd "bridge_fd" (int fd, int mode, int64_t deadline) noexcept:
    if not can_park():
        return PARK_CANNOT
    try:
        code = wait_for(fd, mode, deadline)
        resumed()
        return code
    except BaseException as e:
        return keep(e)


cdef void bridge_forget "bridge_forget" (int fd) noexcept:
    """*fd* is about to be closed."""
    cdef Entry found
    try:
        found = entry_find(fd)
        if found is not None:
            entry_drop(found, True)
    except BaseException as e:
        complain(e)


cdef object entries_drop():
    for e in list(entries):
        if e is not None:
            entry_drop(<Entry>e, False)


cdef object descriptors_forked():
    """In a forked child: nobody waits."""
    global fd_owner
    cdef Entry e
    fd_owner = getpid()
    for o in entries:
        if o is not None:
            e = <Entry>o
            e.users = 0
            e.rq.after_fork()
            e.wq.after_fork()
    entries_drop()
    pollsets_close(True)
    ours(True)


cdef list _ours = []


cdef object ours(bint patched):
    """Nobody but the runtime closes its own descriptors."""
    cdef int fd
    for fd in _ours:
        fd_clear_bits(fd, FD_OURS)
    _ours.clear()
    if patched:
        known = [getattr(_p.poller, name, -1) for name in ("epfd", "breakfd", "sigfd")]
        known.append(_interrupts._wakeup_fd)
        _ours.extend([fd for fd in known if fd >= 0])
    for fd in _ours:
        fd_set_bits(fd, FD_OURS)


def descriptors_start() -> None:
    """What the hooks remember of descriptors begins."""
    global io_risk
    err = fd_table_make()
    if err:
        raise MemoryError(f"gopark.patch: no memory for the table of descriptors: {_os.strerror(err).lower()}")
    ours(True)
    netpoll.claim = claim
    io_risk = _sys.sysmon_risk()


def descriptors_stop() -> None:
    global io_risk
    netpoll.claim = None
    io_risk = NULL
    entries_drop()
    pollsets_close(False)
    ours(False)
