"""FDMutex: references, locks and close in one word."""

import pytest

import gopark
from gopark import go
from gopark.poll.fd_mutex import MAX_OPERATIONS, FDMutex


def test_the_last_reference_of_a_closed_one_destroys() -> None:
    mu = FDMutex()
    assert mu.incref()
    assert mu.incref()
    assert mu.refs == 2
    assert not mu.decref()
    assert mu.incref_and_close()
    assert mu.closed
    assert not mu.incref()
    assert not mu.incref_and_close()
    assert not mu.rwlock(True)
    assert not mu.decref()
    assert mu.decref(), "the last one"


@pytest.mark.parametrize("read", [True, False])
def test_a_lock_counts_as_a_reference_and_unlock_destroys_a_closed_one(read: bool) -> None:
    mu = FDMutex()
    assert mu.rwlock(read)
    assert mu.refs == 1
    assert mu.incref_and_close()
    assert not mu.decref()
    assert mu.rwunlock(read)


def test_the_two_locks_are_independent() -> None:
    mu = FDMutex()
    assert mu.rwlock(True)
    assert mu.rwlock(False)
    assert mu.refs == 2
    assert not mu.rwunlock(True)
    assert not mu.rwunlock(False)
    assert mu.refs == 0


def test_unlock_and_decref_of_what_is_not_held_are_errors() -> None:
    mu = FDMutex()
    for call in (mu.decref, lambda: mu.rwunlock(True), lambda: mu.rwunlock(False)):
        with pytest.raises(RuntimeError, match=r"inconsistent FDMutex"):
            call()


def test_more_than_1048575_operations_is_an_error_that_names_the_limit() -> None:
    mu = FDMutex()
    for _ in range(MAX_OPERATIONS):
        mu.incref()
    assert mu.refs == MAX_OPERATIONS == 1048575
    for call in (mu.incref, lambda: mu.rwlock(True), lambda: mu.rwlock(False), mu.incref_and_close):
        with pytest.raises(OverflowError, match=r"too many concurrent operations .*\(max 1048575\)"):
            call()
    mu.decref()
    assert mu.rwlock(True)
    assert mu.refs == MAX_OPERATIONS


@pytest.mark.parametrize("read", [True, False])
def test_waiters_get_the_lock_one_at_a_time_in_their_order(read: bool) -> None:
    mu = FDMutex()
    order: list[int] = []

    def worker(i: int) -> None:
        assert mu.rwlock(read)
        order.append(i)
        gopark.gosched()
        assert order[-1] == i, "another one was let in"
        mu.rwunlock(read)

    def main() -> None:
        mu.rwlock(read)
        workers = [go(worker, i) for i in range(10)]
        gopark.gosched()
        assert order == []
        mu.rwunlock(read)
        for g in workers:
            g.result()
        assert order == list(range(10))

    gopark.run(main)


def test_close_wakes_all_who_wait_and_they_fail() -> None:
    mu = FDMutex()

    def main() -> None:
        mu.rwlock(True)
        mu.rwlock(False)
        waiting = [go(mu.rwlock, i % 2 == 0) for i in range(10)]
        gopark.gosched()
        assert mu.incref_and_close()
        assert [g.result() for g in waiting] == [False] * 10

    gopark.run(main)


def test_a_cancelled_waiter_leaves_the_queue_and_the_next_one_gets_the_lock() -> None:
    mu = FDMutex()

    def main() -> None:
        mu.rwlock(True)
        waiting = [go(mu.rwlock, True) for _ in range(3)]
        gopark.gosched()
        waiting[0].cancel()
        mu.rwunlock(True)
        assert waiting[1].result(timeout=5)
        mu.rwunlock(True)
        assert waiting[2].result(timeout=5)
        assert isinstance(waiting[0].exception, gopark.Cancelled)

    gopark.run(main)


def test_a_waiter_cancelled_after_it_was_woken_does_not_swallow_the_wake_up() -> None:
    mu = FDMutex()

    def take() -> bool:
        locked = mu.rwlock(True)
        mu.rwunlock(True)
        gopark.gosched()
        return locked

    def main() -> None:
        mu.rwlock(True)
        waiting = [go(take) for _ in range(3)]
        gopark.gosched()
        mu.rwunlock(True)  # wakes the first
        waiting[0].cancel()
        for g in waiting[1:]:
            assert g.result(timeout=5)
        assert mu.refs == 0

    gopark.run(main)
