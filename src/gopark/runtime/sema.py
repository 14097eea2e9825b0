"""Waiting lists: goroutines parked until another goroutine wakes them, first come first served.

What fdMutex, join, locks and every other primitive wait on.  A goroutine is linked into a WaitQ through its own fields,
so waiting allocates nothing, and one that is cancelled or timed out is unlinked wherever it stands, at once.
"""

from gopark.runtime import proc
from gopark.runtime.g import Goroutine, ParkLock


class WaitQ(ParkLock):
    """A first-in first-out list of parked goroutines."""

    def __init__(self) -> None:
        self.head: Goroutine | None = None
        self.tail: Goroutine | None = None
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def park(self, reason: str, val: int = 0) -> None:
        """Park the running goroutine at the end until it is woken.  Raises Cancelled, unlinked, if it is cancelled."""
        proc.getg().waitval = val
        proc.gopark(self, 0, reason)

    def park_until(self, reason: str, when: int, val: int = 0) -> bool:
        """park, but at most until *when* (ns of the monotonic clock); False, unlinked, if the time was up."""
        proc.getg().waitval = val
        return proc.gopark_until(self, 0, reason, when)

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        gp.waitprev = self.tail
        if self.tail is None:
            self.head = gp
        else:
            self.tail.link = gp
        self.tail = gp
        self.size += 1
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        # One that was woken has been unlinked already, and keeps what it was woken for.
        if gp.waitprev is None and self.head is not gp:
            return False
        self.unlink(gp)
        return True

    def unlink(self, gp: Goroutine) -> None:  # atomic
        before = gp.waitprev
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

    def after_fork(self) -> None:  # atomic
        """In a forked child: nobody waits."""
        self.head = self.tail = None
        self.size = 0

    def wake_one(self) -> Goroutine | None:  # atomic
        """Make the first one runnable; None if nobody waits."""
        gp = self.head
        if gp is not None:
            self.unlink(gp)
            proc.goready(gp)
        return gp

    def wake_all(self) -> int:  # atomic
        """Make all runnable, in their order; how many."""
        n = 0
        while self.wake_one() is not None:
            n += 1
        return n
