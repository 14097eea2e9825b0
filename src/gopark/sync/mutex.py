# cython: nonecheck=True
"""Mutex: mutual exclusion, in Go's two modes.  After Go's internal/sync.Mutex.

Normal mode: waiters queue first in first out, but one that is woken does not own the mutex yet: it competes
with newcomers, who are running already and often win.  That is fast, since whoever unlocks may lock again
without a switch.  A waiter that loses goes to the front.  Only one at a time is awake and competing.

Starvation mode: a waiter that fails to get the mutex for more than 1 ms switches it on.  Then unlock hands
the mutex over to the first waiter, and newcomers queue.  A waiter that gets it and is the last one, or waited
for less than 1 ms, switches back."""

from dataclasses import dataclass
from typing import Any

from gopark.runtime import proc
from gopark.runtime.g import Goroutine
from gopark.sync.waiters import Waiters, ready, until

_STARVATION_NS = 1_000_000

# modes of parkcommit
_NEW = 0
_AWOKE = 1  # lost against a newcomer: to the front

# waitval: what the waiter was woken with
_COMPETE = 0
_OWNS = 1


@dataclass(frozen=True, slots=True)
class MutexStatistics:
    """A snapshot of Mutex.statistics()."""

    locked: bool
    waiting: int  # parked in lock, threads included
    starving: bool  # in starvation mode: unlock hands over
    contended: int  # calls of lock that had to wait, ever
    handoffs: int  # unlocks that handed over, ever


class Mutex(Waiters):
    """A mutual exclusion lock; `with mutex:` locks and unlocks.

    Not owned: any goroutine or thread may unlock it.  Not reentrant: who locks it twice waits for itself."""

    def __init__(self) -> None:
        Waiters.__init__(self)
        self.locked = False
        self.woken = False  # a waiter was woken and competes: unlock need not wake another
        self.starving = False
        self.contended = 0
        self.handoffs = 0

    def lock(self, timeout: float | None = None) -> bool:
        """Lock it, parking until that is possible; False if *timeout* seconds pass first (0: only try).

        Raises Cancelled, without the lock, if the goroutine is cancelled while it waits."""
        if not self.locked:
            self.locked = True
            return True
        return self.lock_slow(timeout)

    def try_lock(self) -> bool:  # atomic
        """Lock it if that is possible at once; whether it was."""
        if self.locked:
            return False
        self.locked = True
        return True

    def unlock(self) -> None:
        """Unlock it.  RuntimeError if it is not locked."""
        if not self.locked:
            raise RuntimeError(f"unlock of an unlocked {type(self).__name__}")
        # atomic: begin
        gp = self.head
        if gp is None:
            self.starving = False
            self.locked = False
            return
        if not self.starving:
            self.locked = False
            if self.woken:
                return
            self.woken = True
        else:
            gp.waitval = _OWNS
            self.handoffs += 1
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

    def lock_slow(self, timeout: float | None) -> bool:
        when = until(timeout, "Mutex.lock: timeout")
        if when < 0:
            return False
        self.contended += 1
        start = proc.nanotime()
        mode = _NEW
        while True:
            val = self.park("sync.Mutex.Lock", mode, _COMPETE, when)
            if val < 0:
                return False
            if val == _OWNS:
                if self.starving and (self.head is None or proc.nanotime() - start < _STARVATION_NS):
                    self.starving = False
                return True
            if self.locked and proc.nanotime() - start > _STARVATION_NS:
                self.starving = True
            mode = _AWOKE

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        assert gp.waitprev is None and gp.link is None, "on two waiting lists"
        if mode == _AWOKE:
            self.woken = False
        if not self.locked:
            self.locked = True
            gp.waitval = _OWNS
            return False
        if mode == _AWOKE:
            after = self.head
            if after is None:
                self.tail = gp
            else:
                after.waitprev = gp
                gp.link = after
            self.head = gp
        else:
            before = self.tail
            if before is None:
                self.head = gp
            else:
                before.link = gp
                gp.waitprev = before
            self.tail = gp
        self.size += 1
        return True

    def parkdrop(self, gp: Goroutine, mode: int) -> None:
        if gp.waitval != _OWNS:
            # End the competition that it was woken for: leave the waiters to whoever holds the lock, or wake
            # another.
            self.woken = False
            if self.locked:
                return
            self.locked = True
        self.unlock()

    def after_fork(self) -> None:
        """In a forked child: it is locked if it was, but nobody waits or competes."""
        Waiters.after_fork(self)
        self.woken = self.starving = False

    def __enter__(self) -> "Mutex":
        self.lock()
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.unlock()

    def statistics(self) -> MutexStatistics:
        """A snapshot."""
        return MutexStatistics(self.locked, self.size, self.starving, self.contended, self.handoffs)

    def __repr__(self) -> str:
        state = "locked" if self.locked else "unlocked"
        return f"<gopark.sync.Mutex {state}{', starving' if self.starving else ''}, {self.size} waiting>"
