"""The scheduler: gopark, goready, how goroutines start, yield and end.  After Go's runtime/proc.go.

One P, on the thread that first uses the runtime.  Each goroutine runs on a greenlet (its *stack*); a goroutine that parks
looks for the next one itself, polls the network itself if need be, and switches straight to what it found: often to
itself, which costs no switch at all.  g0, the scheduler's own stack, is needed for three things only: to start new stacks
(a new greenlet begins at the C stack depth of whoever first switches to it, so they must all be started from one shallow
place), to run Python's signal handlers while everybody is parked, and to receive control when a stack ends.

What must not live here: who runs next (p.py), timers' order (timers.py), descriptors (netpoll.py), waiting lists
(sema.py), the life of a program (lifecycle.py).

References: a frame that is switched away from keeps alive what its local variables hold, perhaps for hours.  So the
functions that switch hold no goroutine but their own: the next one is passed in P.curg.
"""

import threading
from collections.abc import Callable
from types import CoroutineType
from typing import Any, NoReturn

from greenlet import GreenletExit

from gopark.runtime import _sys, g, polldesc
from gopark.runtime.g import GList, Goexit, Goroutine, Handed, ParkLock
from gopark.runtime.p import CLOSING, ENDING, RUNNING, P
from gopark.runtime.timers import Timer

# C globals in the compiled core.
_RUNNABLE = g.GRUNNABLE
_RUNNING = g.GRUNNING
_WAITING = g.GWAITING
_DEAD = g.GDEAD
_WOKEN = g.WAKE_READY
_TIMEDOUT = g.WAKE_TIMEOUT
_CANCELLED = g.WAKE_CANCEL
_RUNNING_P = RUNNING
_ENDING = ENDING
_CLOSING = CLOSING

_NEVER = 0x7FFFFFFFFFFFFFFF
_NO_NS = -0x8000000000000000  # _sys.float_ns could not say
_GFREE_MAX = 512  # finished stacks kept for reuse
_LATECOMERS = (
    1000  # how many goroutines other threads may start while a run ends: more would keep it from its end
)
_Coroutine: Any = CoroutineType


class SleepLock(ParkLock):
    """What a sleeping goroutine parks on: nothing but its timer."""

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        return True

    def describe(self, mode: int) -> str:
        return ""


_p = P()
_sleeplock = SleepLock()


def bury(gp: Goroutine) -> bool:
    """P.bury."""
    return _p.bury(gp)


# Not the bound method: what Cython makes of a cpdef method as an object calls it with an argument too few.
g.set_bury(bury)


def nanotime() -> int:
    """CLOCK_MONOTONIC in nanoseconds: the clock of every deadline."""
    return _sys.nanotime()


def getp() -> P:
    """The processor."""
    return _p


def foreign() -> bool:
    """Is this an OS thread whose waits must block it?  Before gopark has started: every one but the main thread."""
    ident = _sys.thread_ident()
    return ident != _p.thread and (_p.thread != 0 or ident != threading.main_thread().ident)


def elsewhere() -> bool:  # atomic
    """Does gopark run, and on another thread than this?  Operations that may park are refused there, others handed over."""
    return _p.thread != _sys.thread_ident() and _p.thread != 0


def later(fn: Callable[[], object]) -> None:
    """From another thread, or where the scheduler may have been interrupted: call *fn* on the P, at its next decision."""
    _p.inject(Handed(fn))
    if _p.thread == 0:  # it ended meanwhile, and may never start again
        _p.attend_now()


def pollwork() -> bool:
    """Is there work for the P, in its queues or on the network?  For background work that would give way to it.

    What the network has is put on the run queue."""
    if _p.runqsize() == 0 and polldesc.waiters() > 0:
        _p.injectglist(_p.poller.netpoll(0))
    return _p.runqsize() > 0


def getg() -> Goroutine:
    """The goroutine that runs.  Starts the runtime on this thread if it has not been; RuntimeError elsewhere."""
    gp = _p.curg
    if gp is None or _sys.thread_ident() != _p.thread:
        return enter("current goroutine")
    return gp


# -- parking and waking ------------------------------------------------------------------------------------------------


def gopark(lock: ParkLock, mode: int, reason: str) -> None:
    """Park the running goroutine on *lock* until somebody makes it ready; *reason* is what dumps show.

    The order is Go's: the goroutine is waiting first, then the commit hook decides; if it refuses, a wake came meanwhile
    and the goroutine goes on at once.  Raises Cancelled (or what interrupt was given) if that is what ended the park."""
    if not park_commit(lock, mode, reason, 0):
        _sys.switch(_p.gogo())
        resumed()
    park_end()


def park_commit(lock: ParkLock, mode: int, reason: str, when: int) -> bool:
    """The park up to its switch; True if there is none to do: the goroutine goes on itself.

    From the moment that the goroutine is waiting until the switch, it neither parks nor yields: what runs on its stack in
    between is a finalizer or a signal handler (in the lock's hooks; in the interpreted core anywhere).

    Apart from gopark, and park_end too, because every parked goroutine's stack has a copy of gopark's frame."""
    _sys.headroom()
    p = _p
    gp = p.curg
    if gp is None or gp.status != _RUNNING or _sys.thread_ident() != p.thread:
        gp = enter_to_park(lock, mode, reason)
    if when != 0 and gp.timer is None:
        gp.timer = Timer(park_timeout, gp)
    gp.status = _WAITING
    gp.waitreason = reason
    gp.waitsince = p.coarse
    gp.parklock = lock
    gp.parkmode = mode
    gp.parkseq += 1
    gp.wake = _WOKEN
    p.parks += 1
    done = False
    try:
        if when != 0:
            assert gp.timer is not None
            p.timers.modify(gp.timer, when, gp.parkseq)
        if not lock.parkcommit(gp, mode):
            done = True
            return True
        if gp.pending is not None and gp.shield == 0 and lock.parkcancel(gp, mode):
            gp.wake = _CANCELLED  # cancelled while it ran, or in the commit: this is its next park
            done = True
            return True
        done = True
    finally:
        if not done:
            park_failed(gp, lock, mode)
    p.curg = None
    p.curg = p.findrunnable()
    if p.curg is gp:
        return True
    if not _sys.is_current(gp.stack):
        guest(gp)
    return False


def guest(gp: Goroutine) -> None:
    """The program parks in a greenlet of its own: there it must go on.  (It may also end meanwhile.)"""
    gp.stack = _sys.getcurrent()
    gp.guest = 1


def park_failed(gp: Goroutine, lock: ParkLock, mode: int) -> None:
    """Something was raised (by a hook, or for want of memory) before the goroutine was parked: it goes on with that."""
    gp.status = _RUNNING
    gp.parklock = None
    if not lock.parkcancel(gp, mode):
        lock.parkrefuse(mode)


def park_end() -> None:
    """The goroutine that was parked runs again."""
    gp = _p.curg
    assert gp is not None
    gp.status = _RUNNING
    gp.parklock = None
    if gp.wake == _CANCELLED:
        raise gp.take_pending()


def resumed() -> None:
    """A stack runs again: is it the one that the scheduler has switched to?

    If not, the program has switched, itself, to a greenlet that a goroutine is parked in: that can be said, not put right."""
    p = _p
    gp = p.curg
    if gp is None or p.landed == p.switches or (gp.guest and not _sys.is_current(gp.stack)):
        raise g.FatalError(
            "runtime: a greenlet in which a goroutine is parked was switched to, or has ended, by the program's doing: only "
            "the goroutine that runs in it may do that"
        )
    p.landed = p.switches


def enter_to_park(lock: ParkLock, mode: int, reason: str) -> Goroutine:
    """enter, for a park that has been prepared."""
    try:
        return enter(reason)
    except BaseException:
        lock.parkrefuse(mode)
        raise


def gopark_until(lock: ParkLock, mode: int, reason: str, when: int) -> bool:
    """gopark, but at most until *when* (ns of the monotonic clock).  False: the time was up."""
    if when >= _NEVER - 1:
        # No timer: one that never fires would keep a deadlock from being noticed.
        gopark(lock, mode, reason)
        return True
    if not park_commit(lock, mode, reason, when):
        _sys.switch(_p.gogo())
        resumed()
    return park_in_time()


def park_in_time() -> bool:
    """The goroutine whose park was timed runs again: False if its time was up."""
    gp = _p.curg
    assert gp is not None and gp.timer is not None
    if gp.timer.when != 0:
        _p.timers.stop(gp.timer)
    park_end()
    return gp.wake != _TIMEDOUT


def park_timeout(gp: Goroutine, seq: int) -> None:
    """Timer callback of gopark_until."""
    if gp.parkseq == seq and gp.status == _WAITING:
        unpark(gp, _TIMEDOUT)


def interrupt(gp: Goroutine, exc: BaseException) -> None:
    """Raise *exc* in *gp* where it is parked, or at its next park.  Runtime's thread only."""
    if gp.status == _DEAD:
        return
    if gp.pending is None or isinstance(gp.pending, g.Cancelled):
        gp.pending = exc
    # Not one whose park is under way (this is a signal handler, or a finalizer, inside its commit): it looks itself.
    if gp.status == _WAITING and gp.shield == 0 and gp is not _p.curg:
        unpark(gp, _CANCELLED)


def unpark(gp: Goroutine, how: int) -> None:
    """End *gp*'s park before it is woken, unless it has been."""
    lock = gp.parklock
    if lock is None:
        return  # somebody is at it: this is a signal handler, or a finalizer, inside parkcancel
    gp.parklock = None
    try:
        unlinked = lock.parkcancel(gp, gp.parkmode)
    except BaseException:
        gp.parklock = lock
        raise
    if unlinked:
        gp.wake = how
        goready(gp)
    elif gp.status == _WAITING:
        gp.parklock = lock


def on_p(fn: Callable[[], object]) -> None:
    """Have fn(), which must not park, called where the P's state may be changed: now on its thread (or while it has none),
    else at its next scheduling decision, for which it is woken; what fn raises there goes to the main goroutine."""
    if _p.thread in (0, _sys.thread_ident()):
        fn()
    else:
        later(fn)


def goready(gp: Goroutine) -> None:  # atomic
    """Make a parked goroutine runnable: it runs next.  From another thread, or from the scheduler: in its turn."""
    p = _p
    if _sys.thread_ident() != p.thread:
        p.inject(gp)  # safe: C code: a deque's append, a write to the break descriptor
        return
    if gp.status != _WAITING:
        raise g.FatalError(f"runtime: goready: {gp!r} is not parked")
    if p.curg is None:
        p.enqueue(gp)
        return
    if p.schedtick >= p.tracktick:
        p.track(gp)
    gp.status = _RUNNABLE
    if p.runnext is not None:
        p.runq.push(p.runnext)
    p.runnext = gp


def gosched() -> None:
    """Let the others run: go to the end of the global queue.  A cancelled goroutine gets its Cancelled here."""
    _sys.headroom()
    p = _p
    gp = p.curg
    if gp is None or _sys.thread_ident() != p.thread:
        gp = enter("gosched")
    if gp.status != _RUNNING:
        return  # a finalizer, or a signal handler, in the middle of its park: the others will have their turn
    yield_to(p.globq)
    if gp.pending is not None and gp.shield == 0:
        raise gp.take_pending()


def yield_to(queue: GList) -> None:
    """Put the running goroutine, still runnable, at the end of *queue*; returns when it runs again."""
    p = _p
    gp = p.curg
    assert gp is not None
    p.put(queue, gp)
    p.curg = None
    p.curg = p.findrunnable()
    if p.curg is not gp:
        if not _sys.is_current(gp.stack):
            guest(gp)
        _sys.switch(p.gogo())
        resumed()
    gp.status = _RUNNING


def sleep(seconds: float, /) -> None:
    """Park for *seconds* (not blocking the thread).  0 or less: gosched.

    Accurate to tens of microseconds where the kernel has epoll_pwait2 (Linux 5.11)."""
    sleep_ns(seconds_to_ns(seconds, "sleep: seconds"))


def sleep_ns(ns: int) -> None:
    if ns <= 0:
        gosched()
    else:
        gopark_until(_sleeplock, 0, "sleep", deadline_after(ns))


def deadline_after(ns: int) -> int:
    """*ns* from now, as a deadline; so far away that it overflows means never."""
    now = nanotime()
    return _NEVER - 1 if ns >= _NEVER - 1 - now else now + ns


def seconds_to_ns(seconds: Any, what: str) -> int:
    """Seconds (int or float) as ns, rounded up so that no wait ends early.  Too large: never."""
    fast = _sys.float_ns(seconds)
    if fast != _NO_NS:
        return fast
    try:
        ns = seconds * 1e9
        if ns >= 9.2e18:
            return _NEVER
        if ns <= -9.2e18:
            return -_NEVER
        whole = int(ns)
        return whole + 1 if ns > whole else whole
    except OverflowError:  # an int beyond every float
        return _NEVER if seconds > 0 else -_NEVER
    except (TypeError, ValueError):  # ValueError: nan
        raise TypeError(f"{what} must be a number of seconds, not {seconds!r}") from None


# -- the life of a goroutine -------------------------------------------------------------------------------------------


def go(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Goroutine:
    """Start fn(*args, **kwargs) as a goroutine.  Safe from any OS thread.

    It gets a copy of the caller's contextvars.  An exception that nobody collects with result() or exception goes to
    gopark.excepthook."""
    if not callable(fn):
        raise TypeError(f"gopark.go: fn must be callable, not {fn!r}")
    return newproc(fn, args, kwargs or None)


def newproc(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Goroutine:
    """Create a goroutine that calls fn(*args, **kwargs), at the end of the local queue (Go's newproc)."""
    p = _p
    here = _sys.thread_ident() == p.thread
    if _sys.is_async(fn):
        raise g.rare().refuse_async("go", fn)
    gp = Goroutine(fn, args, kwargs)
    gp.ctx = _sys.copy_context()
    gp.creator = _sys.caller_code()
    gp.creator_lasti = _sys.caller_lasti()
    if not here and p.state != _RUNNING_P:
        # Looked at only now: from here to the end nothing runs that could end the run.
        here = start_for_go(p)
    gp.id = p.nextid
    p.nextid += 1
    p.created += 1
    p.allgs.add(gp)
    p.tally.count(len(p.allgs))
    if here:
        if p.curg is not None:
            gp.parent_id = p.curg.id
        p.enqueue(gp)
    else:
        p.inject(gp)
        if p.thread == 0:
            p.late(gp)
    return gp


def start_for_go(p: P) -> bool:
    """go from a thread that gopark does not run on, while no run is under way: is it started here?  RuntimeError if not."""
    if p.thread == 0 or p.state >= _ENDING or p.latecomers >= _LATECOMERS:
        g.rare().start_for_go()
        return True
    p.latecomers += 1
    return False


def goroutine_main() -> None:
    """A stack: runs goroutine after goroutine.  When one ends and the next is new, it runs here, without a switch.

    Every parked goroutine's stack has a copy of this frame: what can be done in functions that return is done there.
    The outcome is not handed from one to the other, but left in the P, because an idle stack must not keep it."""
    while begin_goroutine():
        _p.outcome = _sys.outcome(_p.curg.ctx, _p.curg.fn, _p.curg.args, _p.curg.kwargs)  # type: ignore[union-attr,arg-type]
        end_goroutine()


def begin_goroutine() -> bool:
    """Is there a goroutine for this stack to run?  False: the stack ends, and control goes to its parent, g0."""
    p = _p
    gp = p.curg
    if gp is None or p.state == _CLOSING or p.handoff:
        return False
    p.landed = p.switches
    if p.hook is not None:
        p.hook.begun(gp)
    gp.status = _RUNNING
    if gp.pending is not None and gp.shield == 0:  # cancelled before it ever ran
        gp.fn = raise_pending
        gp.args = (gp,)
        gp.kwargs = None
    return True


def raise_pending(gp: Goroutine) -> NoReturn:
    """Runs in the place of a function that was cancelled before it began."""
    raise gp.take_pending()


def end_goroutine() -> None:
    """The running goroutine's function has returned, or raised: end it, and find the stack something else to do."""
    p = _p
    gp = p.curg
    if gp is None:
        # In a forked child, whose program this goroutine is, and which has ended the runtime.
        gp = g.rare().stand_in()
    if type(p.outcome) is _sys.Raised:
        if not isinstance(p.outcome.exc, Goexit):
            gp.exc = p.outcome.exc
    elif type(p.outcome) is _Coroutine:
        p.outcome.close()
        gp.exc = g.rare().refuse_async("go", gp.fn)
    else:
        gp.value = p.outcome
    p.outcome = None
    if gp.forked:
        g.rare().child_ended(gp)
    # Now, while it still runs: their finalizers are the program's code, and may park.
    if p.hook is not None:
        p.hook.ended(gp)
    gp.fn = gp.args = gp.kwargs = gp.ctx = None
    goexit0(gp)
    stack: Any = gp.stack
    if gp.guest or stack is None:
        stack = _sys.getcurrent()  # gp's is where it parked last: perhaps a greenlet of the program's own
    gp.stack = None
    gp = None  # nothing may keep it: its end is when an exception that nobody collected is reported
    p.curg = p.findrunnable()
    if p.curg is not None and p.curg.stack is None:
        p.curg.stack = stack
    elif len(p.gfree) >= _GFREE_MAX:
        p.handoff = p.curg is not None
    else:
        p.gfree.append(stack)
        stack = None
        _sys.switch(p.gogo())


def goexit0(gp: Goroutine) -> None:
    """The goroutine has ended: leave nothing of it behind, wake who joins it."""
    p = _p
    gp.status = _DEAD
    p.allgs.discard(gp)
    if gp.timer is not None:
        p.timers.stop(gp.timer)
        gp.timer.arg = None  # it may be in the heap for long
    gp.timer = gp.pending = None
    # From here on no goroutine runs: who joins it goes to the queue's end, in its turn.  (It could go to runnext; but
    # whoever joins a batch of goroutines would then be resumed between any two of them.)
    p.curg = None
    # No goroutine runs, so what is raised here (by a signal handler, in any of these functions) has nowhere to go.
    try:
        p.tell_ended(gp)
        if gp.exc is not None:
            exited(gp)
        if p.ondrain is not None:
            p.ondrain(gp)
    except BaseException as e:
        p.uncaught(e)


def g0_main() -> None:
    """The scheduler's own stack."""
    p = _p
    failed: BaseException | None = None
    while p.state != _CLOSING:
        try:
            if failed is not None:
                stack_failed(failed)
                failed = None
            g0_turn()
        except GreenletExit:
            raise
        except BaseException as e:
            failed = e


def g0_turn() -> None:
    """One round of g0: a goroutine to start or to resume, from here."""
    p = _p
    p.landed = p.switches
    if p.handoff:
        p.handoff = False
    else:
        if p.poller.signalled:
            p.checksignals()
        p.curg = None
        p.curg = p.findrunnable()
        if p.curg is None:
            return
    start_stack()


def stack_failed(exc: BaseException) -> None:
    """On g0: a stack could not be made, or has ended with an exception: so does the goroutine that was to run there.  (Not
    one that was only to be resumed next.)"""
    p = _p
    gp = p.curg
    p.outcome = None
    if gp is None:
        p.uncaught(exc)
    elif gp.status == _RUNNABLE and gp.stack:
        p.handoff = True
    else:
        gp.fn = gp.args = gp.kwargs = gp.ctx = gp.stack = None
        gp.exc = exc
        goexit0(gp)


def new_g0(root: Any) -> Any:
    """The greenlet of g0, whose end returns to *root*."""
    return _sys.new_greenlet(g0_main, root)


def start_stack() -> None:
    """On g0: switch to curg, on a new stack if it has none and none is free."""
    p = _p
    gp = p.curg
    assert gp is not None
    if gp.stack is None:
        gp.stack = p.idle_stack()
    if gp.stack is None:
        gp.stack = _sys.new_greenlet(goroutine_main, p.g0)
    stack = gp.stack
    if p.hook is not None:
        p.hook.switched(gp)
    gp = None
    p.switches += 1
    _sys.switch(stack)


def goexit() -> NoReturn:
    """End the running goroutine; its finally and with blocks run.  In the main goroutine: the others go on."""
    raise g.rare().goexit()


# -- rare paths, in lifecycle.py and its neighbours --------------------------------------------------------------------


def enter(what: str) -> Goroutine:
    """The slow path of everything that needs a goroutine: start the runtime here, or say why that cannot be."""
    return g.rare().enter(what)


def exited(gp: Goroutine) -> None:
    g.rare().exited(gp)


def checkdead() -> bool:
    return g.rare().checkdead()


def on_gc(phase: str, info: dict[str, int]) -> None:
    """Of gc.callbacks.  At the end of a collection the network is polled: a long one has kept everybody from it.

    Here, because a function of the compiled core can also be called near the recursion limit."""
    if phase == "stop" and _p.thread == _sys.thread_ident():
        _p.gcpoll()
