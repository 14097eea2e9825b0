# cython: nonecheck=True
"""Semaphore: a weighted semaphore, first in first out.  After golang.org/x/sync/semaphore.

The first waiter decides: while what it asks for is not there, who comes later waits behind it, even for less.
So small requests cannot starve a big one."""

from dataclasses import dataclass
from typing import Any

from gopark.runtime.g import Goroutine
from gopark.sync.waiters import Waiters, ready, until


@dataclass(frozen=True, slots=True)
class SemaphoreStatistics:
    """A snapshot of Semaphore.statistics()."""

    size: int  # how much there is in all
    free: int  # how much can be acquired now
    waiting: int  # parked in acquire, threads included
    contended: int  # calls of acquire that had to wait, ever


class Semaphore(Waiters):
    """*n* units that are acquired and released; `with semaphore:` acquires and releases one."""

    def __init__(self, n: int) -> None:
        Waiters.__init__(self)
        self.total = units(n, "Semaphore")
        self.free = self.total
        self.contended = 0

    def acquire(self, n: int = 1, timeout: float | None = None) -> bool:
        """Acquire *n* units, parking until they are there and it is this caller's turn; False if *timeout*
        seconds pass first (0: only try).

        ValueError for more than the semaphore has.  Raises Cancelled, without the units, if cancelled while
        it waits."""
        k = self.amount(n, "Semaphore.acquire")
        if self.head is None and self.free >= k:
            self.free -= k
            return True
        when = until(timeout, "Semaphore.acquire: timeout")
        if when < 0:
            return False
        self.contended += 1
        return self.park("semacquire", 0, k, when) >= 0

    def try_acquire(self, n: int = 1) -> bool:
        """Acquire *n* units if they are there and nobody waits; whether they were."""
        k = self.amount(n, "Semaphore.try_acquire")
        if self.head is None and self.free >= k:
            self.free -= k
            return True
        return False

    def release(self, n: int = 1) -> None:
        """Give back *n* units.  RuntimeError if that is more than were acquired."""
        k = self.amount(n, "Semaphore.release")
        if self.free + k > self.total:
            out = self.total - self.free
            raise RuntimeError(
                f"Semaphore.release: {k} released, but only {out} of {self.total} were acquired"
            )
        self.free += k
        if self.head is not None:
            self.grant()

    def grant(self) -> None:
        # Wake the first waiters, as far as the free units go.
        while self.grant_one():
            pass

    def grant_one(self) -> bool:
        # atomic: begin
        gp = self.head
        if gp is None or gp.waitval > self.free:
            return False
        self.free -= gp.waitval
        assert 0 <= self.free <= self.total
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

    def amount(self, n: Any, what: str) -> int:
        k = units(n, what)
        if k > self.total:
            raise ValueError(f"{what}: {k} is more than the {self.total} that the semaphore has in all")
        return k

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        assert gp.waitprev is None and gp.link is None, "on two waiting lists"
        before = self.tail
        if before is None:
            if self.free >= gp.waitval:
                self.free -= gp.waitval
                return False
            self.head = gp
        else:
            before.link = gp
            gp.waitprev = before
        self.tail = gp
        self.size += 1
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        if not Waiters.parkcancel(self, gp, mode):
            return False
        # It may have been too big for what is free, and the next ones are not.
        self.grant()  # safe: a loop of steps
        return True

    def parkdrop(self, gp: Goroutine, mode: int) -> None:
        self.release(gp.waitval)

    def __enter__(self) -> "Semaphore":
        self.acquire()
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.release()

    def statistics(self) -> SemaphoreStatistics:
        """A snapshot."""
        return SemaphoreStatistics(self.total, self.free, self.size, self.contended)

    def __repr__(self) -> str:
        return f"<gopark.sync.Semaphore {self.free} of {self.total} free, {self.size} waiting>"


def units(n: Any, what: str) -> int:
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"{what}: n must be an int, not {n!r}")
    if not 1 <= n < 1 << 62:
        raise ValueError(f"{what}: n must be from 1 to 2**62 - 1, not {n}")
    return n
