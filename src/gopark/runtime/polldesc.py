"""Poll descriptors, the list they come from (K2 to K5), and what signals them.

After the pollDesc and pollCache of Go's runtime/netpoll.go.  Here is what a poller needs of them; who waits, and for how
long, is netpoll.py.
"""

from typing import Any

from gopark.runtime import _sys, pollstate
from gopark.runtime.g import FatalError, GList, Goroutine, ParkLock
from gopark.runtime.timers import Timer

POLL_BLOCK_SIZE = 4096  # bytes: PollDescs are allocated a block at a time (K2)

# C globals in the compiled core.
_READY = pollstate.PD_READY
_WAIT = pollstate.PD_WAIT
_R = pollstate.MODE_R
_W = pollstate.MODE_W


class PollDesc(ParkLock):
    """A poll descriptor: what the poller knows of one open file descriptor (K4).

    Outside the garbage collector's care, and type-stable: it is allocated from a block and never freed, so that an event
    which the kernel reported too late still finds a PollDesc, sees by the generation that it is not its own, and goes."""

    def __init__(self, index: int) -> None:
        self.index = index  # place in PollCache.table; never changes
        self.gen = 0  # bumped by poll_close; the event's data carries it, so stale events are recognised
        self.fd = -1  # the descriptor, while open
        self.closing = False  # set by poll_unblock, never cleared before reuse
        self.everr = False  # the last event was exactly EPOLLERR: reading reports "not pollable"
        self.rhup = False  # an event said RDHUP, HUP, ERR or PRI: sticky; a read must then always try first
        self.rg: Any = None  # reader's semaphore: None, PD_READY, PD_WAIT or the parked Goroutine
        self.wg: Any = None  # writer's semaphore
        self.rseq = 0  # bumped when rd changes or the PollDesc is reused: a timer with another seq is stale
        self.wseq = 0
        self.rd = 0  # read deadline, ns of the monotonic clock; 0 none; -1 expired
        self.wd = 0
        self.rt: Timer | None = None  # read deadline timer; serves both directions while rd == wd (rtboth)
        self.wt: Timer | None = None
        self.rtboth = False  # rt was armed with netpoll_deadline
        self.link: PollDesc | None = None  # next in the free list
        self.user: Any = None  # the FDMutex of the descriptor's operations: it has an after_fork

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic  # atomic
        """gopark's commit hook (Go's netpollblockcommit): PD_WAIT -> G, unless a wake raced it."""
        global netpoll_waiters
        if mode == _R:
            if self.rg is not _WAIT:
                return False
            self.rg = gp
        else:
            if self.wg is not _WAIT:
                return False
            self.wg = gp
        netpoll_waiters += 1
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic  # atomic
        """Unlink a goroutine whose wait is cancelled: G -> nil."""
        global netpoll_waiters
        if mode == _R:
            if self.rg is not gp:
                return False
            self.rg = None
        else:
            if self.wg is not gp:
                return False
            self.wg = None
        netpoll_waiters -= 1
        return True

    def parkrefuse(self, mode: int) -> None:  # atomic  # atomic
        """The park was refused (no goroutine to park): PD_WAIT -> nil."""
        if mode == _R:
            self.rg = None
        else:
            self.wg = None

    def describe(self, mode: int) -> str:
        """For dumps: what this goroutine waits for."""
        return f"fd {self.fd} {'read' if mode == _R else 'write'}"

    def readable_pending(self) -> bool:  # atomic
        """An edge for the reader is pending, or the peer has hung up or sent urgent data: a read may find something."""
        return self.rhup or self.rg is _READY

    def state(self) -> tuple[str, str]:
        """(rg, wg) by name, for tests and dumps: "nil", "PD_READY", "PD_WAIT" or "G"."""
        names: list[str] = []
        for s in (self.rg, self.wg):
            if s is None:
                names.append("nil")
            elif s is _READY:
                names.append("PD_READY")
            elif s is _WAIT:
                names.append("PD_WAIT")
            else:
                names.append("G")
        return names[0], names[1]


class PollCache:
    """The free list of PollDescs (K5), filled a block at a time."""

    def __init__(self) -> None:
        self.table: list[PollDesc] = []  # by index; only grows
        self.first: PollDesc | None = None  # head of the free list
        self.free = 0  # its length

    def alloc(self) -> PollDesc:
        if self.first is None:
            # Made before they are numbered: the program's code may run at an allocation, and come here.
            block = [PollDesc(0) for _ in range(max(1, POLL_BLOCK_SIZE // int(PollDesc.__basicsize__)))]
            self.extend(block)
        return self.take()

    def extend(self, block: list[PollDesc]) -> None:
        """Add a block to the table and to the free list."""
        n = len(self.table)
        self.table.extend(block)  # all or nothing
        for pd in block:
            pd.index = n
            n += 1
            _sys.untrack(pd)  # Cython's no_gc takes no effect from a .pxd
        for pd in reversed(block):
            self.put(pd)

    def take(self) -> PollDesc:  # atomic
        pd = self.first
        if pd is None:
            raise FatalError("runtime: no free poll descriptor")
        self.first = pd.link
        pd.link = None
        self.free -= 1
        return pd

    def counts(self) -> tuple[int, int]:
        """(PollDescs allocated, of these free)."""
        return len(self.table), self.free

    def after_fork(self) -> None:
        """In a forked child: nobody is parked in the poller."""
        global netpoll_waiters
        netpoll_waiters = 0
        for pd in self.table:
            pd.rg = pd.wg = None
        self.operations_ended()

    def operations_ended(self) -> None:
        """Whoever had an operation on a descriptor in flight will never run again: their references are void."""
        for pd in self.table:
            if pd.user is not None:
                pd.user.after_fork()

    def put(self, pd: PollDesc) -> None:  # atomic  # atomic
        pd.link = self.first
        self.first = pd
        self.free += 1


pollcache = PollCache()
nobody = PollDesc(0)  # of a descriptor that is not registered: every operation finds it closing
nobody.closing = True
netpoll_waiters = 0  # goroutines parked in the poller (K3): up when a park commits, down once on a run queue


def netpoll_adjust_waiters(delta: int) -> None:  # atomic  # atomic
    """Add *delta* to netpollWaiters: for who put netpoll's list on a run queue, and only after that."""
    global netpoll_waiters
    netpoll_waiters += delta
    if netpoll_waiters < 0:
        raise FatalError("runtime: netpollWaiters is negative")


def waiters() -> int:  # atomic
    """netpollWaiters: how many goroutines are parked in the poller."""
    return netpoll_waiters


# -- what an event, a deadline or a close does to the semaphores (G12, G14) ---------------------------------------------


def netpollready(torun: GList, pd: PollDesc, mode: int) -> None:  # atomic  # atomic
    """I/O is ready for *mode* (MODE_R, MODE_W or both): what was parked goes on *torun*."""
    if mode & _R:
        gp = netpollunblock(pd, _R, True)
        if gp is not None:
            torun.push(gp)
    if mode & _W:
        gp = netpollunblock(pd, _W, True)
        if gp is not None:
            torun.push(gp)


def netpollunblock(pd: PollDesc, mode: int, ioready: bool) -> Goroutine | None:  # atomic  # atomic
    """Signal the semaphore; the goroutine that was parked there, if any, for the caller to make runnable."""
    if mode == _R:
        s = pd.rg
        if s is _READY:
            return None
        if s is None and not ioready:
            # An edge counts when nobody waits, a deadline or a close does not: their error code says it all.
            return None
        pd.rg = _READY if ioready else None
    else:
        s = pd.wg
        if s is _READY:
            return None
        if s is None and not ioready:
            return None
        pd.wg = _READY if ioready else None
    if s is None or s is _WAIT:
        return None
    gp: Goroutine = s
    return gp
