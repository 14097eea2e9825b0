"""Mutex: normal and starvation mode."""

import gopark
from gopark.sync import Mutex


def spin(seconds: float) -> None:
    end = gopark.time.now() + seconds
    while gopark.time.now() < end:
        pass


def test_newcomer_that_runs_wins_over_a_woken_waiter_in_normal_mode(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        g = gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 1)
        mutex.unlock()
        assert mutex.try_lock(), "the waiter is awake, but must compete"
        mutex.unlock()
        assert g.result(10)

    gopark.run(main)


def test_waiter_that_waited_over_a_millisecond_switches_to_starvation_mode_and_gets_it_by_handoff(
    eventually,
) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        g = gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 1)
        spin(0.002)
        mutex.unlock()
        mutex.lock()  # first: the waiter loses its competition, after more than 1 ms
        eventually(lambda: mutex.statistics().starving)
        mutex.unlock()
        assert mutex.locked and not mutex.try_lock(), "handed over: newcomers must not get it"
        assert mutex.statistics().handoffs == 1
        assert g.result(10)
        assert not mutex.statistics().starving, "the last waiter switches back"
        mutex.unlock()

    gopark.run(main)


def test_starvation_mode_serves_in_order_of_arrival(eventually) -> None:
    def main() -> list[int]:
        mutex = Mutex()
        order: list[int] = []

        def worker(i: int) -> None:
            with mutex:
                order.append(i)
                gopark.gosched()

        mutex.lock()
        workers = []
        for i in range(5):
            workers.append(gopark.go(worker, i))
            eventually(lambda i=i: mutex.statistics().waiting == i + 1)
        spin(0.002)
        mutex.unlock()
        mutex.lock()
        eventually(lambda: mutex.statistics().starving)
        mutex.unlock()
        for g in workers:
            assert g.join(10)
        assert mutex.statistics().waiting == 0 and not mutex.locked
        return order

    assert gopark.run(main) == [0, 1, 2, 3, 4]


def test_greedy_goroutine_cannot_keep_the_mutex_from_a_waiter() -> None:
    def main() -> None:
        mutex = Mutex()
        got = False

        def waiter() -> None:
            nonlocal got
            with mutex:
                got = True

        mutex.lock()
        g = gopark.go(waiter)
        limit = gopark.time.now() + 10
        while not got and gopark.time.now() < limit:
            gopark.gosched()
            mutex.unlock()
            mutex.lock()
        mutex.unlock()
        assert g.join(10) and got

    gopark.run(main)


def test_starvation_ends_when_all_waiters_left(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        g = gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 1)
        spin(0.002)
        mutex.unlock()
        mutex.lock()
        eventually(lambda: mutex.statistics().starving)
        g.cancel()
        assert g.join(10)
        mutex.unlock()
        assert not mutex.locked and not mutex.statistics().starving

    gopark.run(main)
