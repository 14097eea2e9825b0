"""A note: one goroutine sleeps until somebody has woken it, once, also if that was before it fell asleep.

After Go's runtime note (notesleep, notewakeup, noteclear).  On the runtime's thread only.
"""

from gopark.runtime import proc
from gopark.runtime.g import Goroutine, ParkLock


class Note(ParkLock):
    """Something that happens once."""

    def __init__(self, what: str = "") -> None:
        self.woken = False
        self.gp: Goroutine | None = None  # who sleeps
        self.what = what  # for dumps

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        if self.woken:
            return False
        self.gp = gp
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        if self.gp is not gp:
            return False
        self.gp = None
        return True

    def describe(self, mode: int) -> str:
        return self.what

    def after_fork(self) -> None:  # atomic
        self.gp = None

    def sleep(self, reason: str) -> None:
        """Park until it is woken.  Raises Cancelled if the goroutine is cancelled."""
        proc.gopark(self, 0, reason)

    def sleep_until(self, reason: str, when: int) -> bool:
        """sleep, but at most until *when* (ns of the monotonic clock); False if the time was up."""
        return proc.gopark_until(self, 0, reason, when)

    def wakeup(self) -> None:  # atomic
        """It has happened."""
        gp = self.gp
        self.woken = True
        self.gp = None
        if gp is not None:
            proc.goready(gp)

    def clear(self) -> None:  # atomic
        """It has not happened yet."""
        self.woken = False
