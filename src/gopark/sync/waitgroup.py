# cython: nonecheck=True
"""WaitGroup: wait until a number of things are done.  After Go's sync.WaitGroup."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gopark.runtime import proc
from gopark.runtime.g import Goroutine
from gopark.sync.onend import on_end
from gopark.sync.waiters import Waiters, ready, until

_MAX = (1 << 62) - 1  # the sum of two still fits into the 64 bits that the compiled core counts with


@dataclass(frozen=True, slots=True)
class WaitGroupStatistics:
    """A snapshot of WaitGroup.statistics()."""

    count: int  # not done yet
    waiting: int  # parked in wait, threads included


class WaitGroup(Waiters):
    """A counter that one can wait for to become zero.

    Call add before starting what calls done: a wait that comes first would find zero.  May be used again at
    once; who waited for the earlier round is let go, even if it has not run yet when the next one begins."""

    def __init__(self) -> None:
        Waiters.__init__(self)
        self.count = 0
        self.round = (
            0  # how often count became zero; waiters note it, and each is woken by the end of its own
        )

    def add(self, n: int = 1) -> None:
        """Add *n*, which may be negative, to the counter; at zero, all who wait go on.

        RuntimeError, changing nothing, if the counter would become negative; OverflowError if it would
        exceed 2**62 - 1."""
        if type(n) is not int or n >> 62 not in (0, -1):
            check(n)
        count = n  # a C integer in the compiled core
        count += self.count
        if not 0 <= count <= _MAX:
            check(n)
            if count < 0:
                raise RuntimeError(f"negative WaitGroup counter: add({n}) when {self.count} are not done")
            raise OverflowError(
                f"WaitGroup.add: add({n}) when {self.count} are not done is more than 2**62 - 1"
            )
        self.count = count
        if count == 0:
            self.round += 1
            if self.head is not None:
                self.release()

    def done(self) -> None:
        """add(-1)."""
        # Written out: there is nothing to check, and it is as frequent as add.
        if self.count == 0:
            raise RuntimeError("negative WaitGroup counter: done() when 0 are not done")
        self.count -= 1
        if self.count == 0:
            self.round += 1
            if self.head is not None:
                self.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Park until the counter is zero; False if *timeout* seconds pass first."""
        if self.count == 0:
            return True
        when = until(timeout, "WaitGroup.wait: timeout")
        if when < 0:
            return False
        return self.park("sync.WaitGroup.Wait", 0, 0, when) >= 0

    def go(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Goroutine:
        """gopark.go(fn, *args, **kwargs), counted: add(1) now, done() when it ends, in whatever way."""
        self.add(1)
        try:
            gp = proc.go(fn, *args, **kwargs)
        except BaseException:
            self.done()
            raise
        on_end(gp, self.done)
        return gp

    def release(self) -> None:
        # Wake who waited for a round that is over.
        while self.release_one():
            pass

    def release_one(self) -> bool:
        # atomic: begin
        gp = self.head
        if gp is None or gp.waitval >= self.round:
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
        if self.count == 0:
            return False
        gp.waitval = self.round
        before = self.tail
        if before is None:
            self.head = gp
        else:
            before.link = gp
            gp.waitprev = before
        self.tail = gp
        self.size += 1
        return True

    def statistics(self) -> WaitGroupStatistics:
        """A snapshot."""
        return WaitGroupStatistics(self.count, self.size)

    def __repr__(self) -> str:
        return f"<gopark.sync.WaitGroup {self.count} to be done, {self.size} waiting>"


def check(n: Any) -> None:
    # A bool is an int to Python, but add(True) is a mistake.
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"WaitGroup.add: n must be an int, not {n!r}")
    if not -_MAX <= n <= _MAX:
        raise ValueError(f"WaitGroup.add: n must be from -(2**62 - 1) to 2**62 - 1, not {n}")
