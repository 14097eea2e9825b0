"""A module that one goroutine is half-way through importing: the others wait until it is whole, as threads do.

importlib has a lock for each module, which is its owner's as often as it wants.  The owner is a thread; goroutines share
theirs, so each of them would be given what the first has left half-made when it parked in the module's body.  Here the lock
remembers which goroutine of this thread has it, and the others park.

Not these: a module that was being imported when the runtime was started (its body may have started it, and wait for the
goroutines that import it), a goroutine that waits for another thread's import (that blocks the thread, as any lock of
threading's does), and everything in a patched process, where each goroutine is a thread to importlib, too.
"""

import importlib._bootstrap
from typing import Any

from gopark.runtime import _sys, g, proc
from gopark.runtime.g import Goroutine
from gopark.runtime.sema import WaitQ

_p = proc.getp()
_RUNNING = g.GRUNNING
_bootstrap: Any = importlib._bootstrap
_Lock: Any = _bootstrap._ModuleLock
_DeadlockError: Any = _bootstrap._DeadlockError
_real_acquire = _Lock.acquire
_real_release = _Lock.release

_blocked: dict[Goroutine, Any] = {}  # the lock that it waits for


def install() -> None:
    """Module locks tell goroutines apart."""
    _Lock.acquire = _acquire
    _Lock.release = _release


def uninstall() -> None:
    """Undo install, unless somebody has put something there since."""
    if _Lock.acquire is _acquire:
        _Lock.acquire = _real_acquire
    if _Lock.release is _release:
        _Lock.release = _real_release


def _acquire(self: Any) -> Any:
    gp = _p.curg
    if gp is None or gp.status != _RUNNING or _p.hook is not None or _sys.thread_ident() != _p.thread:
        return _real_acquire(self)
    while not _free_for(gp, self):
        if _deadlocked(gp, self):
            # Who has it waits, in the end, for this one: a circle of imports.  One of them must do with what there is.
            raise _DeadlockError(f"deadlock detected by {self!r}")
        if "waiting" not in self.__dict__:
            self.waiting = WaitQ()
        _blocked[gp] = self
        try:
            self.waiting.park("import")
        finally:
            del _blocked[gp]
    acquired = _real_acquire(self)
    held = self.__dict__
    held["times"] = held.get("times", 0) + 1 if held.get("goroutine") is gp else 1
    held["goroutine"] = gp
    return acquired


def _release(self: Any) -> None:
    _real_release(self)
    held = self.__dict__
    if held.get("goroutine") is not _p.curg or "times" not in held:
        return  # it was taken before the runtime was started, or by another thread
    held["times"] -= 1
    if held["times"] == 0:
        del held["times"], held["goroutine"]
        queue = held.pop("waiting", None)
        if queue is not None:
            queue.wake_all()


def _free_for(gp: Goroutine, lock: Any) -> bool:
    owner = lock.__dict__.get("goroutine")
    # One that has ended has left it behind when its run ended.
    return owner is None or owner is gp or owner.done


def _deadlocked(gp: Goroutine, lock: Any) -> bool:
    """Does whoever has *lock* wait for *gp*, perhaps by way of others?"""
    seen = set()
    while lock is not None and id(lock) not in seen:
        seen.add(id(lock))
        owner = lock.__dict__.get("goroutine")
        if owner is gp:
            return True
        lock = _blocked.get(owner) if owner is not None else None
    return False
