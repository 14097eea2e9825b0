"""FDMutex: closing is once, an open one is never destroyed, a cancelled retry strands nobody."""

import gopark
from gopark.poll.fd_mutex import FDMutex
from support import goroutines, started


def test_close_is_once_and_nothing_begins_after_it() -> None:
    mu = FDMutex()
    assert mu.incref() and mu.incref_and_close() and mu.closed
    assert not mu.incref_and_close()
    assert not mu.incref()
    assert not mu.rwlock(True) and not mu.rwlock(False)


def test_open_is_never_destroyed() -> None:
    mu = FDMutex()
    for _ in range(3):
        assert mu.incref() and mu.decref() is False
        assert mu.rwlock(True) and mu.rwunlock(True) is False


@goroutines
def test_woken_waiter_cancelled_at_its_retry_does_not_strand_the_next() -> None:
    """The lock is taken again before the woken one runs; it is cancelled at its retry: the next is served."""
    mu = FDMutex()
    assert mu.rwlock(True)
    a, b = (started(gopark.go(mu.rwlock, True)) for _ in range(2))
    mu.rwunlock(True)  # wakes a ...
    assert mu.rwlock(True)  # ... but the lock is taken before it runs
    a.cancel()
    assert a.join(5) and isinstance(a.exception, gopark.Cancelled)
    mu.rwunlock(True)
    assert b.result(5) is True
    mu.rwunlock(True)
