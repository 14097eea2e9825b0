"""Locks of the whole OS thread, shared by goroutines: slow, but never the end of everybody.

None is preempted inside the standard library's modules that hold such locks; and who waits for one, and with it blocks the
thread, is interrupted there, so that whoever holds it can go on."""

import ctypes
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from gopark import go
from gopark.runtime import sysmon
from support import goroutines, parked


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


@goroutines
def test_a_lock_whose_holder_is_parked_is_waited_for() -> None:
    lock = threading.Lock()

    def holder() -> None:
        with lock:
            gopark.sleep(0.02)

    def other() -> str:
        with lock:
            return "had it"

    parked(go(holder))
    assert [g.result(20) for g in [go(other) for _ in range(3)]] == ["had it"] * 3
    assert not lock.locked()


def by_queue(n: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    q: queue.Queue[int] = queue.Queue(1)
    return (lambda: [q.get() for _ in range(n)]), (lambda: [q.put(i) for i in range(n)] and None)


def by_event(n: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    event = threading.Event()
    return (lambda: event.wait() and event.wait(10) and list(range(n))), event.set


def by_event_with_a_time_limit(n: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    event = threading.Event()
    return (lambda: event.wait(20) and list(range(n))), event.set


def by_condition(n: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    condition = threading.Condition()
    items: list[int] = []

    def consume() -> list[int]:
        with condition:
            condition.wait_for(lambda: len(items) == n)
            return items

    def produce() -> None:
        for i in range(n):
            with condition:
                items.append(i)
                condition.notify()

    return consume, produce


def by_semaphore(n: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    semaphore = threading.Semaphore(0)
    return (lambda: [semaphore.acquire() and i for i in range(n)]), (lambda: semaphore.release(n))


@pytest.mark.parametrize("how", [by_queue, by_event, by_event_with_a_time_limit, by_condition, by_semaphore])
@goroutines
def test_goroutines_may_even_meet_in_what_threads_meet_in(how: Any) -> None:
    """The one that waits blocks the thread; the other one must come to run all the same."""
    wait, wake = how(5)
    waker = go(lambda: gopark.sleep(0.005) or wake())
    assert wait() == list(range(5))
    waker.result(20)


@pytest.mark.parametrize("how", ["goroutine", "main"])
def test_also_if_there_is_no_python_code_around_the_wait(how: str) -> None:
    lock, q = threading.Lock(), queue.SimpleQueue[int]()
    lock.acquire()

    def wake() -> None:
        gopark.sleep(0.005)
        lock.release()
        q.put(7)

    def main() -> None:
        waiters = [go(lock.acquire), go(q.get)]
        go(wake)
        assert [g.result(20) for g in waiters] == [True, 7]

    if how == "goroutine":
        gopark.run(main)
    else:
        started = threading.Timer(0.01, lambda: go(wake))
        started.start()
        assert gopark.run(lock.acquire) is True
        started.join()


@goroutines
def test_goroutines_may_share_a_process_that_they_wait_for() -> None:
    sysmon.set_slice(20_000)
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.exit(3)"])
        waiters = [go(child.wait), go(child.poll), go(child.wait), go(child.wait, 30)]
        statuses = [g.result(40) for g in waiters]
        assert [statuses[0], *statuses[2:]] == [3, 3, 3]
        assert statuses[1] in (3, None)


@goroutines
def test_system_calls_are_cut_neither_before_nor_after_a_wait_for_a_lock() -> None:
    """Only the wait is: read(2), called as C code calls it, never fails with EINTR."""
    libc = ctypes.CDLL(None, use_errno=True)
    buf = ctypes.create_string_buffer(1)
    r, w = os.pipe()

    def read() -> None:
        before = gopark.statistics().preemptions
        writer = threading.Timer(0.06, os.write, (w, b"x"))
        writer.start()
        assert libc.read(r, buf, 1) == 1, os.strerror(ctypes.get_errno())
        while gopark.statistics().preemptions == before:  # sysmon did ask, meanwhile
            sum(range(100))
        writer.join()

    event = threading.Event()
    read()
    go(lambda: gopark.sleep(0.005) or event.set())
    assert event.wait(20)
    read()
    os.close(r)
    os.close(w)
