"""The network poller's portable half: poll descriptors, their two semaphores, deadlines.  After Go's runtime/netpoll.go.

How a goroutine waits for a descriptor:

    FD.read -> EAGAIN -> poll_wait -> netpollblock: rg nil -> PD_WAIT, errors checked again, gopark
                                      gopark's commit hook: rg PD_WAIT -> G (fails if an edge came meanwhile)
    scheduler -> netpoll -> epoll_wait -> netpollready -> netpollunblock: rg G -> PD_READY, G put on a run queue

pollstate.py has the state machine as a table, polldesc.py what an event does (netpollready, netpollunblock), poller.py what
a system must provide (netpollinit, netpollopen, netpollclose, netpollbreak, netpoll_is_poll_descriptor and netpoll); only
poll_server_init here knows which one that is.

The order of imports, lowest first: timers, g, pollstate, polldesc, poller, then p and proc, which need each other (as one
package in Go would: see __init__.py), netpoll_epoll (which needs polldesc and poller only), this file, lifecycle.

Who may touch a PollDesc: only code that holds the GIL on the runtime's thread.  The semaphores still need their
compare-and-set discipline, because netpoll may run in the middle of any Python code there: at the end of a garbage
collection (S1), between PD_WAIT and the park's commit.  Each netpoll* function below makes its step without calling
anything in between, so the step is atomic.
"""

from functools import partial
from typing import Any

from gopark.runtime import _sys, g, netpoll_epoll, polldesc, pollstate, proc
from gopark.runtime.g import Goroutine
from gopark.runtime.polldesc import PollDesc, netpollready, netpollunblock
from gopark.runtime.poller import Poller
from gopark.runtime.timers import Timer

# Under their names here as well: G12 and G14, which a poller calls.
__all__ = ["netpollready", "netpollunblock"]

_NO_DEADLINE = 0
_EXPIRED = -1

# C globals in the compiled core, so that the hot path compares pointers and machine integers.
_READY = pollstate.PD_READY
_WAIT = pollstate.PD_WAIT
_R = pollstate.MODE_R
_W = pollstate.MODE_W
PD_READY = pollstate.PD_READY
PD_WAIT = pollstate.PD_WAIT
pollcache = polldesc.pollcache

_p = proc.getp()
claim: Any = (
    None  # the hooks': told of each descriptor that is about to be registered, which may be in their table
)

# -- the server (G1, G2, G10) ------------------------------------------------------------------------------------------


def poll_server_init() -> None:
    """Start the poller, once: epoll, unless the P has been given another one."""
    if not _p.poller.inited:
        poller = netpoll_epoll.EpollPoller() if type(_p.poller) is Poller else _p.poller
        poller.netpollinit()
        _p.poller = poller


def netpollinited() -> bool:
    """Has the poller been started?"""
    return _p.poller.inited


def poll_is_server_descriptor(fd: int) -> bool:
    """Is *fd* the poller's own (its epoll instance or its break descriptor)?"""
    return _p.poller.netpoll_is_poll_descriptor(fd)


# -- descriptors (G3 to G9) --------------------------------------------------------------------------------------------


def poll_open(fd: int) -> PollDesc:
    """Register *fd* for its whole life.  OSError (EPERM for a regular file) if the kernel refuses it."""
    poll_server_init()
    if claim is not None:
        claim(fd)
    pd = polldesc.pollcache.alloc()
    if (pd.rg is not None and pd.rg is not _READY) or (pd.wg is not None and pd.wg is not _READY):
        raise g.FatalError(f"runtime: blocked goroutine on free poll descriptor {pd.index}")
    pd.fd = fd
    pd.closing = False
    pd.everr = False
    pd.rhup = False
    pd.rg = pd.wg = None
    pd.rd = pd.wd = _NO_DEADLINE
    pd.rseq += 1
    pd.wseq += 1
    err = _p.poller.netpollopen(fd, pd)
    if err != 0:
        pd.fd = -1
        polldesc.pollcache.put(pd)
        raise g.os_error(err, f"epoll_ctl: cannot poll descriptor {fd}")
    return pd


def poll_close(pd: PollDesc) -> None:
    """Deregister and give back.  FatalError if poll_unblock was not called first or a goroutine is still parked."""
    if not pd.closing:
        raise g.FatalError("runtime: close polldesc without unblock")
    if pd.rg is not None and pd.rg is not _READY:
        raise g.FatalError("runtime: blocked read on closing polldesc")
    if pd.wg is not None and pd.wg is not _READY:
        raise g.FatalError("runtime: blocked write on closing polldesc")
    _p.poller.netpollclose(pd.fd)
    # Before it can be given out again, so that an event already fetched but not delivered does not match any more.
    pd.gen = (pd.gen + 1) & 0x7FFFFFFF
    pd.fd = -1
    pd.rg = pd.wg = pd.user = None
    pd.rseq += 1
    pd.wseq += 1
    polldesc.pollcache.put(pd)


def poll_reset(pd: PollDesc, mode: int) -> int:  # atomic
    """Prepare an operation: the error code if there is one, else the semaphore back to nil."""
    err = netpollcheckerr(pd, mode)
    if err != 0:
        return err
    if mode == _R:
        pd.rg = None
    elif mode == _W:
        pd.wg = None
    return 0


def poll_wait(pd: PollDesc, mode: int) -> int:
    """Park until ready: 0, or the error code."""
    err = netpollcheckerr(pd, mode)
    if err != 0:
        return err
    while not netpollblock(pd, mode):
        err = netpollcheckerr(pd, mode)
        if err != 0:
            return err
        # A deadline woke us, but was moved before we ran: as if it had not fired.
    return 0


def poll_wait_canceled(pd: PollDesc, mode: int) -> None:
    """Park until ready, whatever close and deadlines say (Go needs it on Windows only)."""
    while not netpollblock(pd, mode, True):
        pass


def poll_set_deadline(pd: PollDesc, when: int, mode: int) -> None:
    """Set the deadline of *mode* (MODE_R, MODE_W or both) to *when*: ns of the monotonic clock, 0 for none.

    A time in the past (or -1) expires at once and wakes who waits.  After close it does nothing.  From another thread it
    takes effect at the next scheduling decision, for which the poller is woken."""
    if pd.closing:
        return
    if _p.thread != 0 and _sys.thread_ident() != _p.thread:
        proc.on_p(partial(deadline_later, pd, pd.gen, when, mode))
        return
    if when != 0 and (when < 0 or when <= proc.nanotime()):
        when = _EXPIRED
    gen = pd.gen
    while True:
        # What the step needs is made before it: the program's code may run at an allocation, and close the descriptor.
        rd = when if mode & _R else pd.rd
        wd = when if mode & _W else pd.wd
        if rd > 0 and pd.rt is None:
            t = Timer(netpoll_deadline if pd.rtboth else netpoll_read_deadline, pd)
            if pd.rt is None:
                pd.rt = t
        elif wd > 0 and wd != rd and pd.wt is None:
            t = Timer(netpoll_write_deadline, pd)
            if pd.wt is None:
                pd.wt = t
        else:
            break
    if pd.closing or pd.gen != gen:
        return
    change_deadlines(pd, rd, wd)
    # In the past: nobody but us will wake them.
    if rd < 0:
        netpollgoready(polldesc.netpollunblock(pd, _R, False))
    if wd < 0:
        netpollgoready(polldesc.netpollunblock(pd, _W, False))
    if _p.timers.first < _p.timers.waituntil:
        _p.timers.end_wait()
    if _p.timers.stale:
        _p.timers.tidy()


def change_deadlines(pd: PollDesc, rd: int, wd: int) -> None:  # atomic
    """The deadlines are *rd* and *wd* from now on; the timers that need be are there."""
    timers = _p.timers
    both0 = pd.rd > 0 and pd.rd == pd.wd
    both = rd > 0 and rd == wd
    rchanged = rd != pd.rd or both != both0
    wchanged = wd != pd.wd or both != both0
    pd.rd = rd
    pd.wd = wd
    # The read side: rt serves both directions when they share a deadline.
    if rchanged:
        pd.rseq += 1
        rt = pd.rt
        if rd > 0:
            assert rt is not None
            if pd.rtboth != both:
                rt.f = netpoll_deadline if both else netpoll_read_deadline  # safe: functions of this module
                pd.rtboth = both
            timers.arm(rt, rd, pd.rseq)
        elif rt is not None:
            timers.disarm(rt)
    if wchanged:
        pd.wseq += 1
        wt = pd.wt
        if wd > 0 and not both:
            assert wt is not None
            timers.arm(wt, wd, pd.wseq)
        elif wt is not None:
            timers.disarm(wt)


def deadline_later(pd: PollDesc, gen: int, when: int, mode: int) -> None:
    """poll_set_deadline for another thread, unless the descriptor was closed meanwhile."""
    if pd.gen == gen:
        poll_set_deadline(pd, when, mode)


def poll_unblock(pd: PollDesc) -> None:
    """Mark closing, invalidate the timers, wake both sides: what a close does first."""
    if pd.closing:
        raise g.FatalError("runtime: unblock on closing polldesc")
    # atomic: begin
    pd.closing = True
    pd.rseq += 1
    pd.wseq += 1
    rg = polldesc.netpollunblock(pd, _R, False)
    wg = polldesc.netpollunblock(pd, _W, False)
    rt = pd.rt
    wt = pd.wt
    if rt is not None:
        _p.timers.disarm(rt)
    if wt is not None:
        _p.timers.disarm(wt)
    pd.rt = pd.wt = None  # moved
    # atomic: end
    netpollgoready(rg)
    netpollgoready(wg)
    _p.timers.tidy()


# -- the state machine (G11 to G14) ------------------------------------------------------------------------------------


def netpollcheckerr(pd: PollDesc, mode: int) -> int:  # atomic
    """The error code, in its order: closing, deadline expired, not pollable (reading, and the event was only EPOLLERR)."""
    if pd.closing:
        return 1
    if (pd.rd if mode == _R else pd.wd) < 0:
        return 2
    if mode == _R and pd.everr:
        return 3
    return 0


def netpollgoready(gp: Goroutine | None = None) -> None:  # atomic
    """Make runnable a goroutine that netpollunblock returned (None: nobody), then count it out of the waiters."""
    if gp is not None:
        proc.goready(gp)
        polldesc.netpoll_adjust_waiters(-1)


def netpollblock(pd: PollDesc, mode: int, waitio: bool = False) -> bool:
    """Park until the semaphore is signalled: True if I/O is ready, False for a deadline or a close.

    *waitio*: park without looking at the errors.  FatalError if another goroutine waits on this side already."""
    if block_begin(pd, mode, waitio):
        proc.gopark(pd, mode, "IO wait")
    return block_end(pd, mode)


def block_begin(pd: PollDesc, mode: int, waitio: bool) -> bool:  # atomic
    """The semaphore to PD_WAIT: True if netpollblock is to park.

    Apart from it, as block_end is, because every parked goroutine's stack has a copy of netpollblock's frame."""
    if mode == _R:
        s = pd.rg
        if s is _READY:
            return False
        if s is not None:
            raise g.FatalError("runtime: double wait: another goroutine is already waiting to read")
        pd.rg = _WAIT
    else:
        s = pd.wg
        if s is _READY:
            return False
        if s is not None:
            raise g.FatalError("runtime: double wait: another goroutine is already waiting to write")
        pd.wg = _WAIT
    # Close and deadline publish their error before they unblock.  If they unblocked before PD_WAIT was set, their wake
    # found nobody: this second look is what keeps it from being lost.
    return waitio or netpollcheckerr(pd, mode) == 0


def block_end(pd: PollDesc, mode: int) -> bool:  # atomic
    """The semaphore back to nil: True if it was signalled."""
    if mode == _R:
        s = pd.rg
        pd.rg = None
    else:
        s = pd.wg
        pd.wg = None
    if s is not None and s is not _READY and s is not _WAIT:
        raise g.FatalError("runtime: corrupted polldesc")
    return s is _READY


# -- deadlines (G16, G17) ----------------------------------------------------------------------------------------------


def netpolldeadlineimpl(pd: PollDesc, seq: int, read: bool, write: bool) -> None:  # atomic
    """A deadline's timer fired: expire the direction(s), unless the deadline was changed meanwhile."""
    if pd is None or seq != (pd.rseq if read else pd.wseq):
        return
    if read:
        pd.rd = _EXPIRED
    if write:
        pd.wd = _EXPIRED
    if read:
        netpollgoready(polldesc.netpollunblock(pd, _R, False))
    if write:
        netpollgoready(polldesc.netpollunblock(pd, _W, False))


def netpoll_deadline(pd: PollDesc, seq: int) -> None:
    """Timer callback: the deadline that both directions share."""
    netpolldeadlineimpl(pd, seq, True, True)


def netpoll_read_deadline(pd: PollDesc, seq: int) -> None:
    """Timer callback: the read deadline."""
    netpolldeadlineimpl(pd, seq, True, False)


def netpoll_write_deadline(pd: PollDesc, seq: int) -> None:
    """Timer callback: the write deadline."""
    netpolldeadlineimpl(pd, seq, False, True)
