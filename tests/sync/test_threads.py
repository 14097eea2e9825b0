"""The same objects between OS threads: a thread that waits blocks alone, a wake crosses over."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import gopark
from gopark.sync import Cond, Mutex, Once, RWMutex, Semaphore, WaitGroup


@contextlib.contextmanager
def thread(fn: Callable[[], object]) -> Iterator[list[object]]:
    """fn() on a thread; what it returned is in the list after the block."""
    out: list[object] = []
    t = threading.Thread(target=lambda: out.append(fn()))
    t.start()
    try:
        yield out
    finally:
        gopark.blocking(t.join, 20)
        assert not t.is_alive()


def test_thread_blocks_in_lock_until_a_goroutine_unlocks(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        with thread(mutex.lock) as out:
            eventually(lambda: mutex.statistics().waiting == 1)
            mutex.unlock()
        assert out == [True] and mutex.locked

    gopark.run(main)


def test_goroutine_parks_in_lock_until_a_thread_unlocks(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()

        def unlock_when_waited_for() -> None:
            limit = gopark.time.now() + 10
            while mutex.statistics().waiting == 0 and gopark.time.now() < limit:
                pass
            mutex.unlock()

        with thread(unlock_when_waited_for):
            assert mutex.lock(timeout=10)

    gopark.run(main)


def test_thread_times_out_and_leaves_the_queue() -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        with thread(lambda: mutex.lock(timeout=0.01)) as out:
            pass
        assert out == [False] and mutex.statistics().waiting == 0

    gopark.run(main)


def test_wait_group_spans_threads_and_goroutines() -> None:
    def main() -> None:
        wg = WaitGroup()
        wg.add(2)
        with thread(lambda: wg.wait(10)) as out:
            gopark.go(wg.done)
            with thread(wg.done):
                assert wg.wait(10)
        assert out == [True]

    gopark.run(main)


def test_wait_group_go_from_a_thread_starts_a_goroutine() -> None:
    def main() -> None:
        wg = WaitGroup()
        with thread(lambda: wg.go(gopark.current).result(10).id) as out:
            pass
        assert wg.wait(10)
        assert isinstance(out[0], int)

    gopark.run(main)


def test_cond_signalled_from_a_thread_and_waited_for_on_a_thread(eventually) -> None:
    def main() -> None:
        cond = Cond(Mutex())

        def wait() -> bool:
            with cond:
                return cond.wait(10)

        g = gopark.go(wait)
        eventually(lambda: cond.statistics().waiting == 1)
        with thread(cond.signal):
            assert g.result(10)
        with thread(wait) as out:
            eventually(lambda: cond.statistics().waiting == 1)
            cond.signal()
        assert out == [True]

    gopark.run(main)


def test_once_runs_on_a_thread_while_a_goroutine_waits(eventually) -> None:
    def main() -> None:
        once, gate = Once(), threading.Event()
        with thread(lambda: once.do(lambda: gate.wait(10))):
            eventually(lambda: "running" in repr(once))
            g = gopark.go(once.do, lambda: pytest.fail("called again"))
            eventually(lambda: once.statistics().waiting == 1)
            gate.set()
            g.result(10)

    gopark.run(main)


def test_threads_alone_need_no_runtime() -> None:
    mutex, sem, total = Mutex(), Semaphore(2), 0

    def work() -> None:
        nonlocal total
        for _ in range(200):
            with sem, mutex:
                total += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
        assert not t.is_alive()
    assert total == 1200


def test_writers_and_readers_on_threads_are_never_inside_together() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        rw, wrong = RWMutex(), 0

        def work(i: int) -> None:
            nonlocal wrong
            for k in range(300):
                if (i + k) % 3:
                    with rw.rlocker():
                        wrong += rw.locked
                elif rw.lock(timeout=(None, 0.0001)[k % 2]):
                    wrong += rw.readers != 0
                    rw.unlock()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(40)
            assert not t.is_alive()
        assert wrong == 0 and rw.try_lock()
    finally:
        sys.setswitchinterval(interval)


def test_goroutines_and_threads_together_lose_no_wake() -> None:
    def main() -> None:
        mutex, rw, sem = Mutex(), RWMutex(), Semaphore(2)
        counts = [0, 0]

        def work(rounds: int, pause: Callable[[], None]) -> None:
            for i in range(rounds):
                with mutex:
                    counts[0] += 1
                    if i % 10 == 0:
                        pause()
                with sem:
                    pass
                with rw.rlocker():
                    pass
                if i % 4 == 0:
                    with rw:
                        counts[1] += 1
                mutex.lock(timeout=0.0001) and mutex.unlock()

        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(thread(lambda: work(200, lambda: None)))
            goroutines = [gopark.go(work, 200, gopark.gosched) for _ in range(5)]
            for g in goroutines:
                g.result(30)
        assert counts == [8 * 200, 8 * 50]
        assert mutex.try_lock() and rw.try_lock() and sem.try_acquire(2)

    gopark.run(main)
