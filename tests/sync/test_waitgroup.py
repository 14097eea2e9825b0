"""WaitGroup: counting, waiting, reuse."""

import enum

import pytest

import gopark
from gopark.sync import WaitGroup


def test_wait_returns_when_all_are_done(eventually) -> None:
    def main() -> None:
        wg = WaitGroup()
        wg.add(3)
        waiters = [gopark.go(wg.wait) for _ in range(2)]
        eventually(lambda: wg.statistics().waiting == 2)
        assert waiters[0].waitreason == "sync.WaitGroup.Wait"
        wg.done()
        wg.done()
        gopark.gosched()
        assert not any(g.done for g in waiters)
        wg.done()
        assert all(g.result(10) for g in waiters)
        assert repr(wg) == "<gopark.sync.WaitGroup 0 to be done, 0 waiting>"

    gopark.run(main)


def test_wait_for_nothing_returns_at_once() -> None:
    assert WaitGroup().wait() is True


def test_wait_times_out() -> None:
    def main() -> None:
        wg = WaitGroup()
        wg.add()
        assert wg.wait(0) is False
        assert wg.wait(0.001) is False
        assert wg.statistics().waiting == 0

    gopark.run(main)


def test_go_counts_functions_that_return_raise_and_exit() -> None:
    def main() -> None:
        wg = WaitGroup()
        ok = wg.go(lambda x, y=0: x + y, 1, y=2)
        bad = wg.go(lambda: 1 / 0)
        wg.go(gopark.goexit)
        assert wg.wait(10)
        assert ok.result() == 3
        assert isinstance(bad.exception, ZeroDivisionError)

    gopark.run(main)


def test_go_of_what_cannot_be_called_counts_nothing() -> None:
    def main() -> None:
        wg = WaitGroup()
        with pytest.raises(TypeError):
            wg.go(None)
        assert wg.count == 0

    gopark.run(main)


def test_negative_counter_is_an_error_and_changes_nothing() -> None:
    wg = WaitGroup()
    with pytest.raises(RuntimeError, match="negative WaitGroup counter"):
        wg.done()
    wg.add(2)
    with pytest.raises(RuntimeError, match="negative"):
        wg.add(-3)
    assert wg.count == 2


def test_one_done_too_many_behind_go_reaches_the_main_goroutine() -> None:
    def main() -> None:
        wg = WaitGroup()
        wg.go(wg.done)
        gopark.sleep(10)

    with pytest.raises(RuntimeError, match="negative WaitGroup counter"):
        gopark.run(main)


def test_reused_at_once_the_waiters_of_the_earlier_round_still_go_on(eventually) -> None:
    def main() -> None:
        wg = WaitGroup()
        wg.add()
        g = gopark.go(wg.wait)
        eventually(lambda: wg.statistics().waiting == 1)
        wg.done()
        wg.add()  # before the waiter has run
        assert g.result(10) is True
        assert wg.count == 1

    gopark.run(main)


@pytest.mark.parametrize("n", ["x", 1.5, None, True])
def test_what_is_added_must_be_an_int(n: object) -> None:
    wg = WaitGroup()
    with pytest.raises(TypeError, match=f"n must be an int, not {n!r}"):
        wg.add(n)
    assert wg.count == 0


@pytest.mark.parametrize("n", [1 << 62, -(1 << 62), 1 << 63, -(1 << 63) - 1, 1 << 100, -(1 << 100)])
def test_what_is_added_has_a_range(n: int) -> None:
    wg = WaitGroup()
    with pytest.raises(ValueError, match=rf"n must be from -\(2\*\*62 - 1\) to 2\*\*62 - 1, not {n}"):
        wg.add(n)
    assert wg.count == 0


def test_counter_does_not_overflow() -> None:
    wg = WaitGroup()
    wg.add((1 << 62) - 1)
    for n in (1, (1 << 62) - 1):
        with pytest.raises(OverflowError, match=rf"add\({n}\) when {wg.count} are not done"):
            wg.add(n)
    assert wg.count == (1 << 62) - 1
    wg.add(-wg.count)
    assert wg.wait(0)


def test_ints_of_other_classes_count_as_what_they_are() -> None:
    class Kind(enum.IntEnum):
        TWO = 2

    wg = WaitGroup()
    wg.add(Kind.TWO)
    assert wg.count == 2
