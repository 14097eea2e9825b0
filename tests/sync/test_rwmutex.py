"""RWMutex: readers together, writers alone, neither starves the other."""

import copy
import pickle
from collections.abc import Callable

import pytest

import gopark
from gopark.sync import RWMutex


def test_readers_share_and_a_writer_waits_for_all_of_them(eventually) -> None:
    def main() -> None:
        rw = RWMutex()
        assert rw.rlock() and rw.rlock()
        writer = gopark.go(rw.lock)
        eventually(lambda: rw.statistics().waiting_writers == 1)
        assert writer.waitreason == "sync.RWMutex.Lock"
        rw.runlock()
        gopark.gosched()
        assert not writer.done
        rw.runlock()
        assert writer.result(10)
        assert rw.locked and not rw.try_rlock() and not rw.try_lock()

    gopark.run(main)


def test_waiting_writer_keeps_new_readers_out(eventually) -> None:
    def main() -> None:
        rw = RWMutex()
        rw.rlock()
        writer = gopark.go(rw.lock)
        eventually(lambda: rw.statistics().waiting_writers == 1)
        assert not rw.try_rlock() and not rw.rlock(timeout=0) and not rw.rlock(timeout=0.001)
        reader = gopark.go(rw.rlock)
        eventually(lambda: rw.statistics().waiting_readers == 1)
        assert reader.waitreason == "sync.RWMutex.RLock"
        rw.runlock()
        assert writer.result(10) and not reader.done
        rw.unlock()
        assert reader.result(10)

    gopark.run(main)


def test_waiting_readers_come_before_the_next_writer(eventually) -> None:
    def main() -> None:
        rw = RWMutex()
        rw.lock()
        writer = gopark.go(rw.lock)
        eventually(lambda: rw.statistics().waiting_writers == 1)
        readers = [gopark.go(rw.rlock) for _ in range(3)]
        eventually(lambda: rw.statistics().waiting_readers == 3)
        rw.unlock()
        for g in readers:
            assert g.result(10)
        assert not writer.done and rw.readers == 3
        for _ in readers:
            rw.runlock()
        assert writer.result(10)

    gopark.run(main)


def test_writers_are_served_in_order(eventually) -> None:
    def main() -> list[int]:
        rw = RWMutex()
        order: list[int] = []

        def write(i: int) -> None:
            with rw:
                order.append(i)

        rw.lock()
        writers = []
        for i in range(4):
            writers.append(gopark.go(write, i))
            eventually(lambda i=i: rw.statistics().waiting_writers == i + 1)
        rw.unlock()
        for g in writers:
            g.result(10)
        return order

    assert gopark.run(main) == [0, 1, 2, 3]


def test_unlock_of_what_is_not_locked_is_an_error() -> None:
    rw = RWMutex()
    with pytest.raises(RuntimeError, match="unlock of an unlocked RWMutex"):
        rw.unlock()
    with pytest.raises(RuntimeError, match="not locked for reading"):
        rw.runlock()
    with rw, pytest.raises(RuntimeError, match="not locked for reading"):
        rw.runlock()
    with rw.rlocker(), pytest.raises(RuntimeError, match="unlock of an unlocked"):
        rw.unlock()
    assert rw.try_lock()


def test_timeout_of_a_writer_lets_readers_in(eventually) -> None:
    def main() -> None:
        rw = RWMutex()
        rw.rlock()
        writer = gopark.go(rw.lock, 0.05)
        eventually(lambda: rw.statistics().waiting_writers == 1)
        assert rw.rlock(timeout=10)
        assert writer.result(10) is False
        assert "2 reading" in repr(rw)

    gopark.run(main)


def test_rlocker_is_the_reading_side_as_a_lock() -> None:
    rw = RWMutex()
    side = rw.rlocker()
    with side, side:
        assert rw.readers == 2 and side.locked
    assert side.try_lock() and side.lock() and rw.readers == 2
    side.unlock()
    side.unlock()
    assert not side.locked


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_rlocker_cannot_be_copied(how: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="a RLocker cannot be copied or pickled"):
        how(RWMutex().rlocker())
