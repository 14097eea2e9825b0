"""Cond: signals reach who waits, in order, with the mutex held again."""

import sys
import threading

import pytest

import gopark
from gopark.runtime import IS_COMPILED
from gopark.sync import Cond, Mutex, RWMutex, Semaphore
from support import python


def start_waiters(cond: Cond, n: int, eventually, woken: list[int]) -> list[gopark.Goroutine]:
    def waiter(i: int) -> None:
        with cond:
            assert cond.wait() is True
            assert cond.mutex.locked
            woken.append(i)

    out = []
    for i in range(n):
        out.append(gopark.go(waiter, i))
        eventually(lambda i=i: cond.statistics().waiting == i + 1)
    return out


def test_signal_wakes_the_one_that_waited_longest(eventually) -> None:
    def main() -> None:
        cond = Cond(Mutex())
        woken: list[int] = []
        waiters = start_waiters(cond, 3, eventually, woken)
        assert waiters[0].waitreason == "sync.Cond.Wait"
        for i in range(3):
            assert woken == list(range(i))
            cond.signal()
            assert waiters[i].join(10)
        assert woken == [0, 1, 2]
        cond.signal()  # nobody waits: nothing happens

    gopark.run(main)


def test_broadcast_wakes_all(eventually) -> None:
    def main() -> None:
        cond = Cond(Mutex())
        woken: list[int] = []
        waiters = start_waiters(cond, 4, eventually, woken)
        cond.broadcast()
        assert all(g.join(10) for g in waiters)
        assert sorted(woken) == [0, 1, 2, 3]

    gopark.run(main)


def test_signal_while_the_mutex_is_held_wakes_after_unlock(eventually) -> None:
    def main() -> None:
        cond = Cond(Mutex())
        woken: list[int] = []
        (waiter,) = start_waiters(cond, 1, eventually, woken)
        with cond:
            cond.signal()
            gopark.sleep(0.001)
            assert woken == []
        assert waiter.join(10) and woken == [0]

    gopark.run(main)


def test_wait_times_out_with_the_mutex_held_again() -> None:
    def main() -> None:
        mutex = Mutex()
        cond = Cond(mutex)
        with mutex:
            for timeout in (-1, 0, 0.001):
                assert cond.wait(timeout) is False
                assert mutex.locked
        assert cond.statistics().waiting == 0

    gopark.run(main)


def test_wait_for_returns_when_the_predicate_is_true_or_the_time_is_up(eventually) -> None:
    def main() -> None:
        cond = Cond(Mutex())
        items: list[int] = []

        def consumer() -> int:
            with cond:
                assert cond.wait_for(lambda: len(items) >= 2, timeout=10)
                return len(items)

        g = gopark.go(consumer)
        for i in range(2):
            eventually(lambda: cond.statistics().waiting == 1)
            with cond:
                items.append(i)
                cond.signal()
        assert g.result(10) == 2
        with cond:
            assert cond.wait_for(lambda: False, timeout=0.002) is False
            assert cond.wait_for(lambda: "now", timeout=0) == "now"

    gopark.run(main)


def test_wait_without_the_mutex_is_an_error() -> None:
    cond = Cond(Mutex())
    with pytest.raises(RuntimeError, match="must be locked"):
        cond.wait()


def test_works_with_either_side_of_an_rwmutex(eventually) -> None:
    def main() -> None:
        rw = RWMutex()
        for locker in (rw, rw.rlocker()):
            cond = Cond(locker)
            waiters = start_waiters(cond, 2, eventually, [])
            cond.broadcast()
            assert all(g.join(10) for g in waiters)
        assert rw.try_lock()

    gopark.run(main)


@pytest.mark.parametrize("mutex", [None, threading.Lock(), Semaphore(1), Cond(Mutex())])
def test_mutex_must_be_one_of_ours(mutex: object) -> None:
    with pytest.raises(TypeError, match="must be a gopark"):
        Cond(mutex)


def test_foreign_lock_with_the_same_methods_is_refused() -> None:
    class Foreign:
        locked = True

        def lock(self) -> bool:
            return True

        def unlock(self) -> None:
            gopark.sleep(0.001)

    with pytest.raises(TypeError, match="must be a gopark"):
        Cond(Foreign())


class Failing(Mutex):
    """Its lock raises *errors* times, after the first, which succeeds."""

    def __init__(self, errors: int) -> None:
        super().__init__()
        self.calls = 0
        self.errors = errors

    def lock(self, timeout: float | None = None) -> bool:
        self.calls += 1
        if 1 < self.calls <= 1 + self.errors:
            raise OSError("broken")
        return Mutex.lock(self, timeout)


def test_error_that_comes_once_leaves_wait_with_the_mutex() -> None:
    """What a signal handler raises in the main goroutine, say: its `with` block will unlock."""
    mutex = Failing(1)
    cond = Cond(mutex)
    mutex.lock()
    with pytest.raises(OSError, match="broken"):
        cond.wait(0)
    assert mutex.locked


def test_lock_that_fails_again_is_not_tried_for_ever() -> None:
    mutex = Failing(1 << 60)
    cond = Cond(mutex)
    mutex.lock()
    with pytest.raises(OSError, match="broken"):
        cond.wait(0)
    assert mutex.calls == 3 and not mutex.locked


def test_signal_of_a_waiter_that_is_cancelled_while_it_locks_again_goes_to_the_next(eventually) -> None:
    def main() -> None:
        cond = Cond(Mutex())
        woken: list[int] = []
        first, second = start_waiters(cond, 2, eventually, woken)
        with cond:
            cond.signal()  # first's
            eventually(lambda: first.waitreason == "sync.Mutex.Lock")
            first.cancel()
            gopark.gosched()
        assert first.join(10) and isinstance(first.exception, gopark.Cancelled)
        assert second.join(10) and woken == [1]
        assert cond.statistics().waiting == 0 and cond.mutex.try_lock()

    gopark.run(main)


def test_signal_of_a_threads_waiter_that_is_interrupted_goes_to_the_next() -> None:
    """The runtime is on another thread; here a signal handler raises while the mutex is being locked again."""
    done = python("""
        import gopark, os, signal, sys, threading, time
        from gopark.sync import Cond, Mutex
        cond, held, goes_on = Cond(Mutex()), threading.Event(), threading.Event()
        class Alarm(Exception): pass
        def handler(signum, frame): goes_on.set(); raise Alarm
        def runtime():
            def main():
                def second():
                    with cond: return cond.wait()
                while cond.statistics().waiting < 1: gopark.sleep(0.001)
                g = gopark.go(second)
                while cond.statistics().waiting < 2: gopark.sleep(0.001)
                with cond:
                    cond.signal()
                    while cond.mutex.statistics().waiting < 1: gopark.sleep(0.001)
                    os.kill(os.getpid(), signal.SIGALRM)
                    while not goes_on.is_set(): gopark.sleep(0.001)
                print("second", g.result(10), flush=True)
            gopark.run(main)
        signal.signal(signal.SIGALRM, handler)
        t = threading.Thread(target=runtime)
        t.start()
        while gopark.statistics().goroutines == 0: time.sleep(0.001)
        with cond:
            try: cond.wait()
            except Alarm: print("alarm", cond.mutex.locked, flush=True)
        t.join()
    """)
    assert done.stdout == "alarm True\nsecond True\n"


class Parking(Mutex):
    """A lock whose unlock parks before, and whose lock parks after."""

    def unlock(self) -> None:
        gopark.sleep(0.0001)
        with Mutex():
            gopark.gosched()
        Mutex.unlock(self)

    def lock(self, timeout: float | None = None) -> bool:
        taken = Mutex.lock(self, timeout)
        gopark.gosched()
        return taken

    def __enter__(self) -> "Parking":
        self.lock()
        return self

    def __exit__(self, *exc: object) -> None:
        self.unlock()


def test_a_mutex_whose_unlock_parks_keeps_every_list_sound(eventually) -> None:
    """Its goroutine is parked, on the unlock's own lock, while it is on the list already."""

    def main() -> None:
        mutex = Parking()
        cond = Cond(mutex)
        items: list[int] = []
        got: list[int] = []

        def consumer() -> None:
            with cond:
                while not items:
                    cond.wait(None if len(got) % 2 else 10)
                got.append(items.pop())

        consumers = [gopark.go(consumer) for _ in range(20)]
        for i in range(10):
            with cond:
                items.append(i)
                cond.signal()
        eventually(lambda: sum(g.done for g in consumers) == 10 and cond.statistics().waiting == 10)
        waiting = [g for g in consumers if not g.done]
        eventually(lambda: all(g.waitreason == "sync.Cond.Wait" for g in waiting))
        assert "gopark.sync.Cond" in gopark.stack()
        for g in waiting[:5]:
            g.cancel()
        assert all(g.join(10) and isinstance(g.exception, gopark.Cancelled) for g in waiting[:5])
        with cond:
            assert cond.wait(0.001) is False and mutex.locked
            items.extend(range(5))
            cond.broadcast()
        assert all(g.join(10) and g.exception is None for g in waiting[5:])
        assert len(got) == 15 and cond.statistics().waiting == 0 and not mutex.locked

    gopark.run(main)


def test_a_mutex_whose_unlock_raises_is_still_held_and_nobody_waits() -> None:
    class Raising(Mutex):
        def unlock(self) -> None:
            raise ValueError("not now")

    def main() -> None:
        mutex = Raising()
        cond = Cond(mutex)
        mutex.lock()
        with pytest.raises(ValueError, match="not now"):
            cond.wait()
        assert mutex.locked and cond.statistics().waiting == 0
        Mutex.unlock(mutex)

    gopark.run(main)


def test_wait_that_cannot_park_leaves_the_list(eventually) -> None:
    """As near to the recursion limit as one likes: the goroutine goes on to park elsewhere."""

    def main() -> None:
        cond = Cond(Mutex())

        def probe(depth: int) -> object:
            if depth:
                return probe(depth - 1)
            with cond:
                return cond.wait(0.0001)

        for depth in range(sys.getrecursionlimit() - 90, sys.getrecursionlimit(), 3):
            try:
                probe(depth)
            except RecursionError:
                pass
            assert cond.statistics().waiting == 0
            if cond.mutex.locked:
                assert (
                    not IS_COMPILED
                )  # there the block's end is Python code, too, for which there was no room
                cond.mutex.unlock()
            gopark.sleep(0.0001)

    gopark.run(main)
