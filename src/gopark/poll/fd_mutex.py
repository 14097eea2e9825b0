"""FDMutex: what makes close safe beside any number of operations on the same descriptor.  After Go's fdMutex.

One word:

    bit 0       closed: no new operation may begin
    bit 1       the read lock: one read, accept or receive at a time
    bit 2       the write lock: one write or connect at a time
    bits 3-22   references: operations in flight, each lock included

Close sets the bit and wakes all who wait for a lock; they fail.  Whoever drops the last reference afterwards
destroys the descriptor: so close(2) never runs under a system call that uses the number, and the number is
not reused early.

Go keeps the waiter counts in the word too.  Here a waiter can be cancelled, and then it must be out of the
count in the same step in which it is out of the list: so the lists' own sizes are the counts.

Each method's step on the word calls nothing in between: under the GIL it is atomic.
"""

from gopark.runtime.g import FatalError
from gopark.runtime.sema import WaitQ

MAX_OPERATIONS = 1048575

_CLOSED = 1
_RLOCK = 2
_WLOCK = 4
_REF = 8
_REFMASK = MAX_OPERATIONS << 3


class LockQ(WaitQ):
    """Who waits for one of the two locks; it knows the descriptor, for dumps."""

    def __init__(self, fd: int, read: bool) -> None:
        super().__init__()
        self.fd = fd
        self.read = read

    def describe(self, mode: int) -> str:
        return f"the {'read' if self.read else 'write'} lock of fd {self.fd}"


class FDMutex:
    """Reference count, read lock and write lock of one descriptor (*fd*, for dumps)."""

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd
        self.state = 0
        self.rsema: WaitQ | None = None  # waiting for the read lock; made on first contention
        self.wsema: WaitQ | None = None

    def incref(self) -> bool:  # atomic
        """One more operation; False if closed."""
        if self.state & _CLOSED:
            return False
        if self.state & _REFMASK == _REFMASK:
            overflow()  # safe: it raises
        self.state += _REF
        return True

    def incref_and_close(self) -> bool:  # atomic
        """Close, holding a reference; wakes who waits for a lock.  False if it was closed already."""
        if not self.begin_close():
            return False
        self.wake_waiters()
        return True

    def begin_close(self) -> bool:  # atomic
        """incref_and_close without its second half, wake_waiters: all that may be done on any thread."""
        if self.state & _CLOSED:
            return False
        if self.state & _REFMASK == _REFMASK:
            overflow()  # safe: it raises
        self.state = (self.state | _CLOSED) + _REF
        return True

    def wake_waiters(self) -> None:  # atomic
        """Closed: who waits for a lock is to see it."""
        if self.rsema is not None:
            self.rsema.wake_all()
        if self.wsema is not None:
            self.wsema.wake_all()

    def decref(self) -> bool:  # atomic
        """One operation less; True if the descriptor must now be destroyed."""
        if self.state & _REFMASK == 0:
            inconsistent()  # safe: it raises
        self.state -= _REF
        return self.state & (_CLOSED | _REFMASK) == _CLOSED

    def rwlock(self, read: bool) -> bool:
        """Take the read (or write) lock and a reference, waiting for it; False if closed."""
        bit = _RLOCK if read else _WLOCK
        while True:
            if self.state & _CLOSED:
                return False
            if self.state & bit == 0:
                if self.state & _REFMASK == _REFMASK:
                    overflow()
                self.state = (self.state | bit) + _REF
                return True
            # A woken waiter looks again: another may have come first, or it was close that woke it.
            self.queue(read).park("fd read lock" if read else "fd write lock")

    def queue(self, read: bool) -> WaitQ:
        if read:
            if self.rsema is None:
                self.rsema = LockQ(self.fd, True)
            q = self.rsema
        else:
            if self.wsema is None:
                self.wsema = LockQ(self.fd, False)
            q = self.wsema
        if len(q) >= MAX_OPERATIONS:
            overflow()
        return q

    def rwunlock(self, read: bool) -> bool:  # atomic
        """Give the lock and the reference back, wake one waiter; True if the descriptor must now be
        destroyed."""
        bit = _RLOCK if read else _WLOCK
        if self.state & bit == 0 or self.state & _REFMASK == 0:
            inconsistent()  # safe: it raises
        self.state = (self.state ^ bit) - _REF
        q = self.rsema if read else self.wsema
        if q is not None:
            q.wake_one()
        assert self.state & _CLOSED or self.state & _REFMASK or self.state == 0, (
            "a lock without its reference"
        )
        return self.state & (_CLOSED | _REFMASK) == _CLOSED

    def after_fork(self) -> None:  # atomic
        """In a forked child, or after a run that had to abandon goroutines: no operation is in flight."""
        self.state &= _CLOSED

    def over(self) -> bool:  # atomic
        """Closed, and nobody has a reference."""
        return self.state & (_CLOSED | _REFMASK) == _CLOSED

    @property
    def closed(self) -> bool:
        return self.state & _CLOSED != 0

    @property
    def refs(self) -> int:
        return (self.state & _REFMASK) >> 3


def overflow() -> None:
    raise OverflowError(f"too many concurrent operations on a single file or socket (max {MAX_OPERATIONS})")


def inconsistent() -> None:
    raise FatalError("runtime: inconsistent FDMutex: unlock of what is not locked")
