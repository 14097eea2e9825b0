# cython: nonecheck=True
"""What every primitive of this package waits on: a first-in first-out list of goroutines and of other OS
threads.

Atomicity.  These objects are used from every OS thread, and the runtime's locks would be in the way of signal
handlers and finalizers, which use them too.  So no lock is underneath: each step that reads the state,
decides and changes it is a run of plain attribute accesses, with no call and no loop in it.  The interpreter
changes threads at calls and at jumps back only (the compiled core, holding the GIL, not even there).  That
includes calls of finalizers, so a step drops no last reference to a waiter either, not even by giving a local
variable its next value.  This is why taking the first waiter off is written out where it happens, and why
what may wake several is a loop around a method that wakes one, and looks at the state again.

A decision to wait is made in parkcommit, in the same step as the linking: a wake cannot fall in between.

A thread on which gopark does not run is represented in the list by a Goroutine of its own, a stand-in that
never runs: its id is 0 and its stack is the lock that the thread is blocked on."""

import _thread
from typing import Any, NoReturn

from gopark.runtime import _sys, foreign, proc
from gopark.runtime.g import Goroutine, ParkLock, waiting_threads

_TIMEDOUT = -1


class Waiters(ParkLock):
    """A waiting list.  Subclasses say in parkcommit when to wait, and in parkdrop how to give back what was
    given."""

    def __init__(self) -> None:
        self.head: Goroutine | None = None
        self.tail: Goroutine | None = None
        self.size = 0  # linked now

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        assert gp.waitprev is None and gp.link is None, "on two waiting lists"
        gp.waitprev = self.tail
        if self.tail is None:
            self.head = gp
        else:
            self.tail.link = gp
        self.tail = gp
        self.size += 1
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        # Who was woken is off the list, and keeps what it was woken with.
        before = gp.waitprev
        if before is None and self.head is not gp:
            return False
        after = gp.link
        if before is None:
            self.head = after
        else:
            before.link = after
        if after is None:
            self.tail = before
        else:
            after.waitprev = before
        gp.waitprev = gp.link = None
        self.size -= 1
        return True

    def parkdrop(self, gp: Goroutine, mode: int) -> None:
        """*gp*, a thread's stand-in, was woken but will not go on (KeyboardInterrupt): pass on what it was
        given."""

    def park(self, reason: str, mode: int, val: int, when: int) -> int:
        """Wait to be woken, if parkcommit says so; *val* is put into waitval before, and what the waker left
        there is returned.  _TIMEDOUT if it was *when* (ns of the monotonic clock; 0: never) first.

        A goroutine parks; another OS thread blocks, alone."""
        if proc.foreign():
            return self.park_thread(reason, mode, val, when)
        gp = proc.getg()
        gp.waitval = val
        if when == 0:
            proc.gopark(self, mode, reason)
        elif not proc.gopark_until(self, mode, reason, when):
            return _TIMEDOUT
        return gp.waitval

    def park_thread(self, reason: str, mode: int, val: int, when: int) -> int:
        gp = standin(val)
        if not self.parkcommit(gp, mode):
            return gp.waitval
        try:
            woken = block(self, gp, when)
        except BaseException:
            # A signal handler raised, on the main thread.
            if not self.parkcancel(gp, mode):
                self.parkdrop(gp, mode)
            raise
        if not woken and self.parkcancel(gp, mode):
            return _TIMEDOUT
        return gp.waitval

    def describe(self, mode: int) -> str:
        """For dumps: which lock.  The address tells it from others that look the same."""
        return f"{foreign.representation(self)} at {id(self):#x}"

    def after_fork(self) -> None:
        """In a forked child: who waited does not exist there."""
        self.head = self.tail = None
        self.size = 0

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: the copy would know nothing of its waiters"
        )


def standin(val: int) -> Goroutine:
    """A Goroutine that stands for this thread in a waiting list."""
    gp = Goroutine(None, (), None)
    gp.waitval = val
    gp.stack = _thread.allocate_lock()
    gp.stack.acquire()
    return gp


def block(lock: Waiters, gp: Goroutine, when: int) -> bool:
    """Block this thread until its stand-in on *lock*'s list is made ready; False if it was *when* first (0: never)."""
    me = _sys.thread_ident()
    waiting_threads[me] = lock
    try:
        return block_until(gp, when)
    finally:
        waiting_threads.pop(me, None)


def block_until(gp: Goroutine, when: int) -> bool:
    if when == 0:
        taken: bool = gp.stack.acquire()
        return taken
    left = (when - proc.nanotime()) / 1e9
    while left > 0:
        # Longer waits than a lock can do are made of several.
        if gp.stack.acquire(timeout=min(left, 1e6)):
            return True
        left = (when - proc.nanotime()) / 1e9
    return False


def ready(gp: Goroutine) -> None:
    """Wake who was taken off a list."""
    if gp.id == 0:
        gp.stack.release()
    else:
        proc.goready(gp)


def until(timeout: Any, what: str) -> int:
    """The moment *timeout* seconds from now, ns: 0 for None (never), -1 if that is not in the future."""
    if timeout is None:
        return 0
    ns = proc.seconds_to_ns(timeout, what)
    return proc.deadline_after(ns) if ns > 0 else -1
