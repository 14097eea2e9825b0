"""WaitQ: first come first served; cancelled and timed out waiters leave at once, wherever they stand."""

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.sema import WaitQ
from support import goroutines, parked, started


def waiters(q: WaitQ, n: int, log: list[int]) -> list[gopark.Goroutine]:
    def body(i: int) -> None:
        q.park("test")
        log.append(i)

    gs = [gopark.go(body, i) for i in range(n)]
    for g in gs:
        started(g)
    assert len(q) == n
    return gs


@goroutines
def test_wake_one_is_first_come_first_served() -> None:
    q = WaitQ()
    log: list[int] = []
    gs = waiters(q, 10, log)
    for g in gs:
        assert q.wake_one() is g
        assert g.join(5)
    assert log == list(range(10)) and q.wake_one() is None and len(q) == 0


@goroutines
def test_wake_all_wakes_exactly_those_that_wait() -> None:
    q = WaitQ()
    log: list[int] = []
    gs = waiters(q, 10, log)
    late = gopark.go(q.park, "test")
    assert q.wake_all() == 10
    for g in gs:
        assert g.join(5)
    assert sorted(log) == list(range(10))
    assert parked(late) and len(q) == 1
    q.wake_one()
    assert late.join(5)


@pytest.mark.parametrize("victims", [[0], [4], [9], [0, 9], [3, 4, 5], list(range(10))])
@goroutines
def test_cancel_anywhere_in_the_queue(victims: list[int]) -> None:
    q = WaitQ()
    log: list[int] = []
    gs = waiters(q, 10, log)
    for i in victims:
        gs[i].cancel()
    assert len(q) == 10 - len(victims), "cancelled, but still in the queue"
    for i in victims:
        assert gs[i].join(5) and isinstance(gs[i].exception, gopark.Cancelled)
    while (g := q.wake_one()) is not None:
        assert g.join(5)
    assert log == [i for i in range(10) if i not in victims]


@goroutines
def test_time_limits_expire_in_the_middle() -> None:
    q = WaitQ()

    def body(limit: int) -> bool:
        return q.park_until("test", proc.nanotime() + limit)

    gs = [gopark.go(body, 10**15 if i % 2 else 1_000_000) for i in range(10)]
    assert [gs[i].result(5) for i in range(0, 10, 2)] == [False] * 5
    assert len(q) == 5
    q.wake_all()
    assert [gs[i].result(5) for i in range(1, 10, 2)] == [True] * 5


@goroutines
def test_a_wake_that_came_first_beats_the_time_limit_and_the_cancel() -> None:
    """The wake is not lost: whoever was handed something keeps it."""
    q = WaitQ()
    g = started(gopark.go(q.park_until, "test", proc.nanotime() + 10**15))
    seq = g.parkseq
    q.wake_one()
    proc.park_timeout(g, seq)
    g.cancel()
    assert g.result(5) is True


@goroutines
def test_park_in_the_past_gives_up_at_once() -> None:
    q = WaitQ()
    assert q.park_until("test", 1) is False
    assert len(q) == 0
