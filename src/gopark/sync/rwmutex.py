# cython: nonecheck=True
"""RWMutex: many readers or one writer, with Go's preference.  After Go's sync.RWMutex.

A writer that waits keeps new readers out, so readers cannot starve it.  When it unlocks, all readers that
wait by then come in before the next writer, so writers cannot starve them."""

from dataclasses import dataclass
from typing import Any, NoReturn

from gopark.runtime import foreign
from gopark.runtime.g import Goroutine
from gopark.sync.waiters import Waiters, ready, until

# modes of parkcommit
_READ = 0
_WRITE = 1


@dataclass(frozen=True, slots=True)
class RWMutexStatistics:
    """A snapshot of RWMutex.statistics()."""

    readers: int  # that hold it
    locked: bool  # a writer holds it
    waiting_readers: int
    waiting_writers: int
    contended: int  # calls of lock and rlock that had to wait, ever


class RWMutex(Waiters):
    """A reader/writer mutual exclusion lock; `with rw:` locks it for writing, `with rw.rlocker():` for
    reading.

    Not owned and not reentrant, also for reading: a goroutine that reads and asks to read once more waits for
    itself if a writer came in between."""

    def __init__(self) -> None:
        Waiters.__init__(self)  # its list: the writers
        self.locked = False  # by a writer
        self.readers = 0  # that hold it
        self.rhead: Goroutine | None = None  # the readers that wait
        self.rtail: Goroutine | None = None
        self.rsize = 0
        self.contended = 0

    def lock(self, timeout: float | None = None) -> bool:
        """Lock it for writing, parking until that is possible; False if *timeout* seconds pass first (0: only
        try)."""
        if not self.locked and self.readers == 0:
            self.locked = True
            return True
        when = until(timeout, "RWMutex.lock: timeout")
        if when < 0:
            return False
        self.contended += 1
        return self.park("sync.RWMutex.Lock", _WRITE, 0, when) >= 0

    def try_lock(self) -> bool:
        """Lock it for writing if that is possible at once; whether it was."""
        if self.locked or self.readers != 0:
            return False
        self.locked = True
        return True

    def unlock(self) -> None:
        """Unlock it for writing.  RuntimeError if it is not locked for writing."""
        if not self.locked:
            raise RuntimeError("unlock of an unlocked RWMutex")
        self.locked = False
        if self.rhead is not None or self.head is not None:
            self.settle()

    def rlock(self, timeout: float | None = None) -> bool:
        """Lock it for reading, parking while a writer has it or waits; False if *timeout* seconds pass first
        (0: only try)."""
        if not self.locked and self.head is None:
            self.readers += 1
            return True
        when = until(timeout, "RWMutex.rlock: timeout")
        if when < 0:
            return False
        self.contended += 1
        return self.park("sync.RWMutex.RLock", _READ, 0, when) >= 0

    def try_rlock(self) -> bool:  # atomic
        """Lock it for reading if that is possible at once; whether it was."""
        if self.locked or self.head is not None:
            return False
        self.readers += 1
        return True

    def runlock(self) -> None:
        """Undo one rlock.  RuntimeError if it is not locked for reading."""
        if self.readers == 0:
            raise RuntimeError("runlock of an RWMutex that is not locked for reading")
        # atomic: begin
        self.readers -= 1
        gp = self.head
        if self.readers != 0 or gp is None:
            return
        # The last reader hands over to the first writer.
        self.locked = True
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

    def settle(self) -> None:
        # It is free, or readers have it and no writer waits any more: let every waiting reader in, else the
        # first writer.
        while self.settle_one():
            pass

    def settle_one(self) -> bool:
        # atomic: begin
        if self.locked:
            return False
        gp = self.rhead
        if gp is not None:
            self.readers += 1
            after = gp.link
            self.rhead = after
            if after is None:
                self.rtail = None
            else:
                after.waitprev = None
            self.rsize -= 1
        else:
            gp = self.head
            if gp is None or self.readers != 0:
                return False
            self.locked = True
            after = gp.link
            self.head = after
            if after is None:
                self.tail = None
            else:
                after.waitprev = None
            self.size -= 1
        gp.link = None
        # atomic: end
        ready(gp)
        return True

    def rlocker(self) -> "RLocker":
        """An object whose lock and unlock are this one's rlock and runlock; a context manager, as Go's
        RLocker."""
        return RLocker(self)

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        assert gp.waitprev is None and gp.link is None, "on two waiting lists"
        if mode == _READ:
            if not self.locked and self.head is None:
                self.readers += 1
                return False
            before = self.rtail
            if before is None:
                self.rhead = gp
            else:
                before.link = gp
                gp.waitprev = before
            self.rtail = gp
            self.rsize += 1
        else:
            if not self.locked and self.readers == 0:
                self.locked = True
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

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        if mode == _READ:
            return self.rcancel(gp)
        if not Waiters.parkcancel(self, gp, mode):
            return False
        if self.head is None and self.rhead is not None:
            # Readers that waited behind it alone.
            self.settle()  # safe: a loop of steps
        return True

    def rcancel(self, gp: Goroutine) -> bool:  # atomic
        before = gp.waitprev
        if before is None and self.rhead is not gp:
            return False
        after = gp.link
        if before is None:
            self.rhead = after
        else:
            before.link = after
        if after is None:
            self.rtail = before
        else:
            after.waitprev = before
        gp.waitprev = gp.link = None
        self.rsize -= 1
        return True

    def parkdrop(self, gp: Goroutine, mode: int) -> None:
        if mode == _READ:
            self.runlock()
        else:
            self.unlock()

    def after_fork(self) -> None:
        """In a forked child: it is locked as it was, but nobody waits."""
        Waiters.after_fork(self)
        self.rhead = self.rtail = None
        self.rsize = 0

    def __enter__(self) -> "RWMutex":
        self.lock()
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.unlock()

    def statistics(self) -> RWMutexStatistics:
        """A snapshot."""
        return RWMutexStatistics(self.readers, self.locked, self.rsize, self.size, self.contended)

    def __repr__(self) -> str:
        state = "locked" if self.locked else f"{self.readers} reading" if self.readers else "unlocked"
        return f"<gopark.sync.RWMutex {state}, {self.rsize} readers and {self.size} writers waiting>"


class RLocker:
    """The reading side of an RWMutex, as a lock."""

    def __init__(self, rw: RWMutex) -> None:
        self.rw = rw

    @property
    def locked(self) -> bool:
        """Is it locked for reading?"""
        return self.rw.readers > 0

    def lock(self, timeout: float | None = None) -> bool:
        """RWMutex.rlock."""
        return self.rw.rlock(timeout)

    def try_lock(self) -> bool:
        """RWMutex.try_rlock."""
        return self.rw.try_rlock()

    def unlock(self) -> None:
        """RWMutex.runlock."""
        self.rw.runlock()

    def __enter__(self) -> "RLocker":
        self.rw.rlock()
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.rw.runlock()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: the copy would know nothing of the waiters of "
            "its RWMutex"
        )

    def __repr__(self) -> str:
        return f"<reading side of {foreign.representation(self.rw)}>"
