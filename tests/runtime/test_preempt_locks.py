"""No goroutine is preempted inside the standard library's locks: the next one would block the thread."""

import queue
import threading
from collections.abc import Iterator

import pytest

import gopark
from gopark.runtime import sysmon
from support import goroutines


@pytest.fixture(autouse=True)
def tiny_slices(request: pytest.FixtureRequest) -> Iterator[None]:
    """Preempt as often as possible (set in the run: it starts sysmon)."""
    yield
    sysmon.set_slice(sysmon.SLICE_NS)


def busy(n: int) -> int:
    return sum(range(n))


@goroutines
def test_blocking_calls_under_constant_preemption() -> None:
    """The pool's lock is held across calls into threading.py."""
    sysmon.set_slice(20_000)
    gs = [gopark.go(lambda i=i: gopark.blocking(int, str(i)) + busy(2000) * 0) for i in range(1500)]
    assert [g.result(20) for g in gs] == list(range(1500))


@goroutines
def test_queue_and_condition_under_constant_preemption() -> None:
    """Bounded work that never has to wait: only a preempted holder could block."""
    sysmon.set_slice(20_000)
    q: queue.Queue[int] = queue.Queue()
    condition = threading.Condition()

    def work(i: int) -> None:
        for _ in range(200):
            q.put(i)
            q.qsize()
            q.get()
            if condition.acquire(blocking=False):
                condition.release()

    gs = [gopark.go(work, i) for i in range(20)]
    for g in gs:
        g.result(20)
    assert q.empty()
