"""Semaphore: weighted, first in first out."""

import pytest

import gopark
from gopark.sync import Semaphore


def test_acquire_waits_for_enough_units(eventually) -> None:
    def main() -> None:
        sem = Semaphore(3)
        assert sem.acquire(2)
        g = gopark.go(sem.acquire, 2)
        eventually(lambda: sem.statistics().waiting == 1)
        assert g.waitreason == "semacquire"
        sem.release()
        assert g.result(10) and sem.free == 0
        assert repr(sem) == "<gopark.sync.Semaphore 0 of 3 free, 0 waiting>"

    gopark.run(main)


def test_big_waiter_is_not_starved_by_small_ones(eventually) -> None:
    def main() -> list[str]:
        sem = Semaphore(2)
        order: list[str] = []

        def take(name: str, n: int) -> None:
            sem.acquire(n)
            order.append(name)
            sem.release(n)

        sem.acquire()
        big = gopark.go(take, "big", 2)
        eventually(lambda: sem.statistics().waiting == 1)
        assert not sem.try_acquire(), "one is free, but somebody waits already"
        small = gopark.go(take, "small", 1)
        eventually(lambda: sem.statistics().waiting == 2)
        sem.release()
        small.result(10)
        big.result(10)
        return order

    assert gopark.run(main) == ["big", "small"]


def test_release_wakes_as_many_as_the_units_go_for(eventually) -> None:
    def main() -> None:
        sem = Semaphore(5)
        sem.acquire(5)
        waiters = [gopark.go(sem.acquire) for _ in range(6)]
        eventually(lambda: sem.statistics().waiting == 6)
        sem.release(5)
        eventually(lambda: sum(g.done for g in waiters) == 5)
        assert sem.statistics().waiting == 1 and not waiters[5].done

    gopark.run(main)


def test_acquire_times_out() -> None:
    def main() -> None:
        sem = Semaphore(1)
        with sem:
            assert sem.acquire(timeout=0) is False
            assert sem.acquire(timeout=0.001) is False
        assert sem.acquire(timeout=0) is True

    gopark.run(main)


def test_release_of_more_than_was_acquired_is_an_error_and_changes_nothing() -> None:
    sem = Semaphore(2)
    sem.acquire()
    with pytest.raises(RuntimeError, match="2 released, but only 1 of 2"):
        sem.release(2)
    assert sem.free == 1


@pytest.mark.parametrize("n", [0, -1, 3])
def test_impossible_amounts_are_errors(n: int) -> None:
    sem = Semaphore(2)
    for call in (sem.acquire, sem.try_acquire, sem.release):
        with pytest.raises(ValueError, match=str(n)):
            call(n)


@pytest.mark.parametrize("n", ["1", 1.5, None, True])
def test_amount_must_be_an_int(n: object) -> None:
    with pytest.raises(TypeError, match="must be an int"):
        Semaphore(n)
    with pytest.raises(TypeError, match="must be an int"):
        Semaphore(1).acquire(n)


@pytest.mark.parametrize("n", [0, 1 << 62])
def test_amount_has_a_range(n: int) -> None:
    with pytest.raises(ValueError, match=rf"n must be from 1 to 2\*\*62 - 1, not {n}"):
        Semaphore(n)
    assert Semaphore((1 << 62) - 1).free == (1 << 62) - 1
