# cython: nonecheck=True
"""Cond: wait for an event that others signal, with a mutex around what the event is about.  After Go's
sync.Cond.

A waiter is on the list before it unlocks the mutex, so no signal that comes after that can miss it, not even
one from another thread before the waiter has parked.  A goroutine can be on one list only, through its own links.
So where the unlock may park, because a subclass overrides it, a stand-in is on the list in the goroutine's place.

A signal is for one waiter that goes on.  One that was signalled, but raises (cancelled, while it locked the mutex
again), hands its signal on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gopark.runtime import foreign, proc
from gopark.runtime.g import Cancelled, FatalError, Goroutine, ParkLock
from gopark.sync.mutex import Mutex
from gopark.sync.rwmutex import RLocker, RWMutex
from gopark.sync.waiters import Waiters, block, ready, standin, until

# waitval
_SIGNALLED = 0
_LINKED = 1  # on the list, still running: a signal need not wake it
_PARKED = 2


class Locker(Protocol):
    """What Mutex, RWMutex and RWMutex.rlocker() have in common, for annotations.  (A Cond takes these and their
    subclasses only: having the methods is not enough.)"""

    @property
    def locked(self) -> bool: ...
    def lock(self) -> bool: ...
    def unlock(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CondStatistics:
    """A snapshot of Cond.statistics()."""

    waiting: int  # parked in wait, threads included


class Latch(ParkLock):
    """What a goroutine parks on while its stand-in *node* is on the list of *cond*; released once."""

    def __init__(self, cond: "Cond", node: Goroutine) -> None:
        self.cond = cond
        self.node = node
        self.gp: Goroutine | None = None  # parked here
        self.released = False

    def release(self) -> None:
        """*node* was signalled, and is off the list."""
        # atomic: begin
        gp = self.gp
        self.released = True
        self.gp = None
        # atomic: end
        if gp is not None:
            proc.goready(gp)

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        if self.released:
            return False
        self.gp = gp
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        # False: it was signalled, and release has been called or is about to be.
        if self.cond is None or not Waiters.parkcancel(self.cond, self.node, 0):
            return False
        self.gp = None
        return True

    def describe(self, mode: int) -> str:
        return foreign.describe(self.cond, mode)

    def after_fork(self) -> None:
        """In a forked child: who waited does not exist there."""
        if self.cond is not None:
            self.cond.after_fork()


class Cond(Waiters):
    """A condition variable.  *mutex* is what wait gives up while it waits: a Mutex, an RWMutex (or an object
    of a subclass), or an RWMutex.rlocker().

    `with cond:` locks the mutex."""

    def __init__(self, mutex: Mutex | RWMutex | RLocker) -> None:
        if not isinstance(mutex, (Mutex, RWMutex, RLocker)):
            raise TypeError(
                f"Cond: mutex must be a gopark.sync.Mutex, an RWMutex or its rlocker(), not {mutex!r}"
            )
        Waiters.__init__(self)
        self.mutex: Any = mutex
        inner = mutex.rw if type(mutex) is RLocker else mutex
        self.plain = type(inner) is Mutex or type(inner) is RWMutex  # its unlock does not park

    def wait(self, timeout: float | None = None) -> bool:
        """Unlock the mutex and park until signalled; False if *timeout* seconds pass first.  Locked again on
        return.

        Call it with the mutex locked, in a loop that checks what is waited for (or use wait_for): between
        signal and return others may have had the mutex.  If it raises (Cancelled), the mutex is locked again
        all the same."""
        when = until(timeout, "Cond.wait: timeout")
        if not self.mutex.locked:
            raise RuntimeError("Cond.wait: the mutex must be locked")
        away = proc.foreign()
        gp = standin(0) if away else proc.getg() if self.plain else Goroutine(None, (), None)
        if not away and not self.plain:
            gp.stack = Latch(self, gp)
        gp.waitval = _LINKED
        Waiters.parkcommit(self, gp, 0)
        unlocked = False
        try:
            self.mutex.unlock()
            unlocked = True
            self.park_waiter(gp, away, when)
        except BaseException:
            if self.quit(gp):
                self.signal()
            if unlocked or not self.mutex.locked:
                self.relock(False)
            raise
        woken = self.quit(gp)
        self.relock(woken)
        return woken

    def park_waiter(self, gp: Goroutine, away: bool, when: int) -> None:
        if when < 0:
            return
        if away:
            block(self, gp, when)
            return
        lock: ParkLock = self if self.plain else gp.stack
        if when == 0:
            proc.gopark(lock, 0, "sync.Cond.Wait")
        else:
            proc.gopark_until(lock, 0, "sync.Cond.Wait", when)

    def quit(self, gp: Goroutine) -> bool:
        """*gp* waits no longer: it is off the list.  Whether it was signalled."""
        if gp.waitval != _SIGNALLED:
            self.parkcancel(gp, 0)
            return False
        return True

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """wait until predicate() is true, and return what it returned; after *timeout* seconds, whatever it
        returns then."""
        when = until(timeout, "Cond.wait_for: timeout")
        result = predicate()
        while not result:
            left = None
            if when != 0:
                left = (when - proc.nanotime()) / 1e9
                if when < 0 or left <= 0:
                    break
            self.wait(left)
            result = predicate()
        return result

    def signal(self) -> None:
        """Wake the one that has waited longest, if anyone waits.  The mutex need not be locked."""
        # atomic: begin
        gp = self.head
        if gp is None:
            return
        after = gp.link
        self.head = after
        if after is None:
            self.tail = None
        else:
            after.waitprev = None
        gp.link = None
        self.size -= 1
        assert gp.waitval != _SIGNALLED
        parked = gp.waitval == _PARKED
        gp.waitval = _SIGNALLED
        # atomic: end
        if parked or gp.id == 0:
            ready(gp)

    def broadcast(self) -> None:
        """Wake all who wait.  The mutex need not be locked."""
        n = self.size
        while n > 0:
            self.signal()
            n -= 1

    def relock(self, woken: bool) -> None:
        # Who is cancelled (or interrupted) must hold the mutex again all the same: its `with` block will unlock
        # it.  An Exception that comes from outside (a signal handler's) comes once; a second one, or a Deadlock,
        # says that lock does not work: it would again and again.
        late: BaseException | None = None
        while True:
            try:
                self.mutex.lock()
                break
            except BaseException as e:
                hopeless = isinstance(e, FatalError) or (
                    isinstance(e, Exception) and isinstance(late, Exception)
                )
                if hopeless or late is None or isinstance(late, Cancelled):
                    late = e
                if hopeless:
                    break
        if late is not None:
            if woken:
                self.signal()
            raise late

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        # It is on the list already; unless it was signalled meanwhile.
        if gp.waitval == _SIGNALLED:
            return False
        gp.waitval = _PARKED
        return True

    def __enter__(self) -> "Cond":
        self.mutex.lock()
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.mutex.unlock()

    def statistics(self) -> CondStatistics:
        """A snapshot."""
        return CondStatistics(self.size)

    def __repr__(self) -> str:
        return f"<gopark.sync.Cond of {foreign.representation(self.mutex)}, {self.size} waiting>"
