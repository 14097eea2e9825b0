# cython: nonecheck=True
"""Once: do something exactly once.  After Go's sync.Once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gopark.runtime import _sys, proc
from gopark.runtime.g import Goroutine
from gopark.sync.waiters import Waiters, ready

_NEW = 0
_RUNNING = 1
_DONE = 2


@dataclass(frozen=True, slots=True)
class OnceStatistics:
    """A snapshot of Once.statistics()."""

    done: bool
    waiting: int  # parked in do while the first call runs, threads included


class Once(Waiters):
    """Runs a function once, however many ask for it."""

    def __init__(self) -> None:
        Waiters.__init__(self)
        self.state = _NEW
        self.owner: Any = None  # while it runs: the goroutine, or the ident of the thread, that runs it

    @property
    def done(self) -> bool:
        """Has the function been called, and ended?"""
        return self.state == _DONE

    def do(self, fn: Callable[[], object]) -> None:
        """Call fn() if this is the first do of this Once; else park until that first call has ended.

        If fn raises, the exception goes to the caller that ran it, and the Once is done all the same, as in
        Go: fn is not called again, and the others return normally.  That goes for Cancelled, too.
        RuntimeError if fn itself, in the same goroutine, calls do: it would wait for itself."""
        if self.state == _DONE:
            return
        if not callable(fn):
            raise TypeError(f"Once.do: fn must be callable, not {fn!r}")
        me: Any = _sys.thread_ident() if proc.foreign() else proc.getg()
        if self.state == _NEW:
            self.state = _RUNNING
            self.owner = me
            try:
                fn()
            finally:
                self.state = _DONE
                self.owner = None
                self.release()
        elif self.owner == me:
            raise RuntimeError(
                "Once.do: called from the function that this Once is running: it would wait for itself"
            )
        else:
            self.park("sync.Once.Do", 0, 0, 0)

    def release(self) -> None:
        while self.release_one():
            pass

    def release_one(self) -> bool:
        # atomic: begin
        gp = self.head
        if gp is None:
            return False
        after = gp.link
        self.head = after
        if after is None:
            self.tail = None
        else:
            after.waitprev = None
        gp.link = None
        self.size -= 1
        # atomic: end
        ready(gp)
        return True

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        assert gp.waitprev is None and gp.link is None, "on two waiting lists"
        if self.state == _DONE:
            return False
        before = self.tail
        if before is None:
            self.head = gp
        else:
            before.link = gp
            gp.waitprev = before
        self.tail = gp
        self.size += 1
        return True

    def statistics(self) -> OnceStatistics:
        """A snapshot."""
        return OnceStatistics(self.state == _DONE, self.size)

    def __repr__(self) -> str:
        state = ("new", "running", "done")[self.state]
        return f"<gopark.sync.Once {state}, {self.size} waiting>"
