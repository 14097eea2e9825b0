"""Mutex: exclusion, waiting, timeouts, and the errors of misuse."""

import copy
import pickle

import pytest

import gopark
from gopark.sync import Mutex


def test_only_one_goroutine_is_inside_at_a_time() -> None:
    def main() -> tuple[int, int]:
        mutex = Mutex()
        inside = most = total = 0

        def worker() -> None:
            nonlocal inside, most, total
            for _ in range(20):
                with mutex:
                    inside += 1
                    most = max(most, inside)
                    gopark.gosched()
                    inside -= 1
                    total += 1

        for g in [gopark.go(worker) for _ in range(20)]:
            g.result()
        assert not mutex.locked
        assert mutex.statistics().waiting == 0
        return most, total

    assert gopark.run(main) == (1, 400)


def test_lock_waits_until_unlock_and_says_so_in_gos_words(eventually) -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        g = gopark.go(mutex.lock)
        eventually(lambda: mutex.statistics().waiting == 1)
        assert g.waitreason == "sync.Mutex.Lock"
        assert "locked" in repr(mutex) and "1 waiting" in repr(mutex)
        mutex.unlock()
        assert g.result(10) is True
        assert mutex.locked
        mutex.unlock()
        assert repr(mutex) == "<gopark.sync.Mutex unlocked, 0 waiting>"

    gopark.run(main)


def test_try_lock_takes_a_free_mutex_and_only_that() -> None:
    mutex = Mutex()
    assert mutex.try_lock() is True
    assert mutex.try_lock() is False
    mutex.unlock()
    assert mutex.try_lock() is True


def test_timeout_gives_up_the_lock_and_the_place_in_the_queue() -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        assert mutex.lock(timeout=0) is False
        assert mutex.lock(timeout=-1) is False
        assert mutex.lock(timeout=0.001) is False
        assert mutex.statistics().waiting == 0
        mutex.unlock()
        assert mutex.lock(timeout=5) is True

    gopark.run(main)


def test_unlock_of_an_unlocked_mutex_is_an_error_and_harmless() -> None:
    mutex = Mutex()
    with pytest.raises(RuntimeError, match="unlock of an unlocked Mutex"):
        mutex.unlock()
    assert mutex.try_lock()


def test_any_goroutine_may_unlock() -> None:
    def main() -> None:
        mutex = Mutex()
        mutex.lock()
        gopark.go(mutex.unlock)
        assert mutex.lock(timeout=10)

    gopark.run(main)


def test_with_block_unlocks_when_it_raises() -> None:
    mutex = Mutex()
    with pytest.raises(ZeroDivisionError), mutex:
        assert mutex.locked
        1 / 0
    assert not mutex.locked


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copying_a_lock_is_an_error(how) -> None:
    with pytest.raises(TypeError, match="Mutex cannot be copied"):
        how(Mutex())


@pytest.mark.parametrize("timeout", ["1", object(), float("nan")])
def test_bad_timeout_is_a_type_error(timeout) -> None:
    mutex = Mutex()
    mutex.lock()
    with pytest.raises(TypeError, match="timeout"):
        mutex.lock(timeout)
