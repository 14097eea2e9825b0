"""Cancellation at every point of a wait: nothing is lost, nobody stays on a list."""

import random

import pytest

import gopark
from gopark.sync import Cond, Mutex, Once, RWMutex, Semaphore, WaitGroup


def test_cancelled_waiter_of_a_mutex_leaves_and_the_next_one_gets_it(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        first, second = gopark.go(mutex.lock), gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 2)
        first.cancel()
        assert first.join(10) and isinstance(first.exception, gopark.Cancelled)
        mutex.unlock()
        assert second.result(10)

    gopark.run(main)


def test_waiter_cancelled_after_it_was_woken_competes_on_and_returns_normally(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        g = gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 1)
        mutex.unlock()
        g.cancel()
        assert g.result(10) is True
        assert mutex.locked

    gopark.run(main)


def test_woken_waiter_that_loses_and_is_cancelled_does_not_take_the_wake_with_it(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        first, second = gopark.go(mutex.lock), gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 2)
        mutex.unlock()  # wakes first
        mutex.lock()  # which has lost
        first.cancel()
        assert first.join(10) and isinstance(first.exception, gopark.Cancelled)
        mutex.unlock()
        assert second.result(10)

    gopark.run(main)


def test_semaphore_units_granted_before_the_cancel_are_kept(eventually) -> None:
    def main() -> None:
        sem = Semaphore(1)
        sem.acquire()
        g = gopark.go(sem.acquire)
        eventually(lambda: sem.statistics().waiting == 1)
        sem.release()
        g.cancel()
        assert g.result(10) is True
        assert sem.free == 0

    gopark.run(main)


def test_cancel_of_a_big_waiter_lets_the_small_ones_behind_it_in(eventually) -> None:
    def main() -> None:
        sem = Semaphore(3)
        sem.acquire(2)
        big, small = gopark.go(sem.acquire, 3), gopark.go(sem.acquire, 1)
        eventually(lambda: sem.statistics().waiting == 2)
        big.cancel()
        assert small.result(10)
        assert isinstance(big.exception, gopark.Cancelled)

    gopark.run(main)


def test_timeout_of_a_big_waiter_lets_the_small_ones_behind_it_in(eventually) -> None:
    def main() -> None:
        sem = Semaphore(3)
        sem.acquire(2)
        big = gopark.go(sem.acquire, 3, 0.05)
        eventually(lambda: sem.statistics().waiting == 1)
        small = gopark.go(sem.acquire, 1)
        assert small.result(10)
        assert big.result(10) is False

    gopark.run(main)


def test_cancel_of_the_only_waiting_writer_lets_readers_in(eventually) -> None:
    def main() -> None:
        rw = RWMutex()
        rw.rlock()
        writer = gopark.go(rw.lock)
        eventually(lambda: rw.statistics().waiting_writers == 1)
        reader = gopark.go(rw.rlock)
        eventually(lambda: rw.statistics().waiting_readers == 1)
        writer.cancel()
        assert reader.result(10)
        assert rw.readers == 2

    gopark.run(main)


def test_cond_wait_has_the_mutex_again_when_it_is_cancelled(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        cond = Cond(mutex)
        held = []

        def waiter() -> None:
            with mutex:
                try:
                    cond.wait()
                finally:
                    held.append(mutex.locked)

        g = gopark.go(waiter)
        eventually(lambda: cond.statistics().waiting == 1)
        mutex.lock()
        g.cancel()
        eventually(lambda: mutex.statistics().waiting == 1)
        g.cancel()  # while it waits for the mutex: no reason to go without
        gopark.gosched()
        assert not g.done
        mutex.unlock()
        assert g.join(10) and isinstance(g.exception, gopark.Cancelled)
        assert held == [True] and not mutex.locked and cond.statistics().waiting == 0

    gopark.run(main)


def test_once_that_is_cancelled_counts_as_done(eventually) -> None:
    def main() -> None:
        once = Once()
        g = gopark.go(once.do, lambda: gopark.sleep(60))
        eventually(lambda: g.waitreason == "sleep")
        other = gopark.go(once.do, lambda: 1 / 0)
        eventually(lambda: once.statistics().waiting == 1)
        g.cancel()
        assert other.join(10) and other.exception is None
        assert once.done

    gopark.run(main)


def test_goroutine_cancelled_before_it_ran_is_done_for_its_wait_group() -> None:
    def main() -> None:
        wg = WaitGroup()
        wg.go(lambda: None).cancel()
        assert wg.wait(10)

    gopark.run(main)


@pytest.mark.parametrize("seed", range(5))
def test_random_cancels_and_timeouts_leave_every_structure_sound(seed, eventually) -> None:
    def main() -> None:
        rnd = random.Random(seed)
        mutex, rw, sem = Mutex(), RWMutex(), Semaphore(3)

        def step() -> None:
            kind, timeout = rnd.randrange(4), rnd.choice([None, None, 0.0002, 0])
            if kind == 0 and mutex.lock(timeout):
                try:
                    gopark.gosched()
                finally:
                    mutex.unlock()
            elif kind == 1 and rw.rlock(timeout):
                try:
                    gopark.gosched()
                finally:
                    rw.runlock()
            elif kind == 2 and rw.lock(timeout):
                try:
                    gopark.gosched()
                finally:
                    rw.unlock()
            elif kind == 3:
                n = rnd.randint(1, 3)
                if sem.acquire(n, timeout):
                    try:
                        gopark.sleep(0.00005)
                    finally:
                        sem.release(n)

        begun = 0

        def worker() -> None:
            nonlocal begun
            begun += 1
            while True:
                try:
                    for _ in range(30):
                        step()
                    return
                except gopark.Cancelled:
                    pass

        workers = [gopark.go(worker) for _ in range(20)]
        eventually(lambda: begun == 20)  # one that is cancelled before would never run
        while not all(g.done for g in workers):
            rnd.choice(workers).cancel()
            gopark.sleep(0.0001)
        for g in workers:
            g.result()
        assert mutex.try_lock() and rw.try_lock() and sem.try_acquire(3)
        assert mutex.statistics().waiting == sem.statistics().waiting == 0
        assert rw.statistics().waiting_readers == rw.statistics().waiting_writers == 0

    gopark.run(main)
