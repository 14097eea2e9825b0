"""netpollbreak and wake-ups from other OS threads: thousands, none lost, and few system calls."""

import threading
from collections.abc import Callable
from typing import Any

import gopark
from gopark.runtime import proc
from gopark.runtime.g import Goroutine, ParkLock
from support import eventually, goroutines, parked, started

THREADS = 4
EACH = 1000


def from_threads(work: Callable[[int], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(THREADS)]
    for t in threads:
        t.start()
    return threads


class Flag(ParkLock):
    """A park that only goready ends."""


@goroutines
def test_thousands_of_goready_from_threads_lose_none() -> None:
    """L4: a goroutine parks, a thread wakes it, it parks again: any lost wake-up would hang."""
    turns = [0] * THREADS
    ready = [threading.Semaphore(0) for _ in range(THREADS)]

    class Turn(ParkLock):
        def __init__(self, i: int) -> None:
            self.i = i

        def parkcommit(self, gp: Goroutine, mode: int) -> bool:
            ready[self.i].release()  # from here on a thread may wake it, even before it has switched away
            return True

    def sleeper(i: int) -> None:
        lock = Turn(i)
        for _ in range(EACH):
            proc.gopark(lock, 0, "test")
            turns[i] += 1

    gs = [gopark.go(sleeper, i) for i in range(THREADS)]

    def waker(i: int) -> None:
        for _ in range(EACH):
            assert ready[i].acquire(timeout=20)
            proc.goready(gs[i])

    from_threads(waker)
    for g in gs:
        assert g.join(20), f"lost wake-up after {turns}"
    assert turns == [EACH] * THREADS


@goroutines
def test_thousands_of_go_from_threads_all_run() -> None:
    ran: list[int] = []
    threads = from_threads(lambda i: [gopark.go(ran.append, i) for _ in range(EACH)])
    eventually(lambda: len(ran) == THREADS * EACH, 20)
    assert sorted(ran) == sorted(list(range(THREADS)) * EACH)
    assert not any(t.is_alive() for t in threads) or eventually(
        lambda: not any(t.is_alive() for t in threads)
    )


@goroutines
def test_cancel_from_threads_reaches_every_sleeper() -> None:
    gs = [gopark.go(gopark.sleep, 1e6) for _ in range(THREADS * 250)]
    parked(gs[-1])
    from_threads(lambda i: [g.cancel() for g in gs[i::THREADS]])
    for g in gs:
        assert g.join(20)
        assert isinstance(g.exception, gopark.Cancelled)


@goroutines
def test_join_and_result_from_threads() -> None:
    """Several threads that join the same goroutine are all woken."""
    g = gopark.go(lambda: gopark.sleep(0.01) or 42)
    got: list[Any] = []
    started(g)
    threads = from_threads(lambda i: got.append((g.join(20), g.result())))
    eventually(lambda: len(got) == THREADS, 20)
    assert got == [(True, 42)] * THREADS
    assert len(threads) == THREADS


@goroutines
def test_join_from_a_thread_times_out_alone() -> None:
    g = gopark.go(gopark.sleep, 1e6)
    got: list[bool] = []
    t = threading.Thread(target=lambda: got.append(g.join(0.01)))
    t.start()
    eventually(lambda: got)
    assert got == [False]
    g.cancel()
    assert g.join(5) and isinstance(g.exception, gopark.Cancelled)


@goroutines
def test_parking_on_a_foreign_thread_is_refused() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        for park in (lambda: gopark.sleep(1), gopark.gosched, gopark.current, lambda: gopark.run(int)):
            try:
                park()
            except RuntimeError as e:
                errors.append(e)

    t = threading.Thread(target=work)
    t.start()
    eventually(lambda: not t.is_alive())
    assert len(errors) == 4
    assert all("thread" in str(e) for e in errors)


@goroutines
def test_many_breaks_are_one_write() -> None:
    """L4: until a netpoll that blocks has drained it, more netpollbreaks cost no system call."""
    proc.getp().poller.netpoll(1)  # drained now
    before = proc.getp().poller.counters()[3]
    for _ in range(100):
        proc.getp().poller.netpollbreak()
    assert proc.getp().poller.counters()[3] == before + 1
    proc.getp().poller.netpoll(-1)  # it returns at once: the wake-up is there


@goroutines
def test_netpoll_0_leaves_the_wakeup_for_the_blocked_netpoll() -> None:
    """L6: netpoll(0) never eats a wake-up meant for a blocked one."""
    proc.getp().poller.netpoll(1)
    proc.getp().poller.netpollbreak()
    writes = proc.getp().poller.counters()[3]
    for _ in range(10):
        assert proc.getp().poller.netpoll(0).size == 0
    proc.getp().poller.netpollbreak()
    assert proc.getp().poller.counters()[3] == writes, "the signal was cleared by netpoll(0)"
    assert proc.getp().poller.netpoll(-1).size == 0  # would block for ever, had netpoll(0) eaten it
    proc.getp().poller.netpollbreak()
    assert proc.getp().poller.counters()[3] == writes + 1, "netpoll(-1) did not drain it"
    proc.getp().poller.netpoll(-1)


@goroutines
def test_an_earlier_timer_from_a_thread_cuts_the_wait_short() -> None:
    """A thread's goroutine that sleeps briefly is not held up by the poll that waits for a later timer."""
    late = gopark.go(gopark.sleep, 1e6)
    done = threading.Event()

    def brief() -> None:
        gopark.sleep(0.001)
        done.set()

    t = threading.Thread(target=lambda: gopark.go(brief) and done.wait(10))
    t.start()
    eventually(done.is_set)
    late.cancel()
    assert late.join(5) and isinstance(late.exception, gopark.Cancelled)
    t.join(5)
