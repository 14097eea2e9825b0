"""sys.exc_info() belongs to the goroutine: switching inside except and finally blocks mixes nothing up."""

import sys
import threading
from collections.abc import Callable

import pytest

import gopark
from gopark import net
from gopark.runtime.sema import WaitQ
from support import goroutines

SWITCHES: dict[str, Callable[[], object]] = {
    "gosched": gopark.gosched,
    "sleep": lambda: gopark.sleep(0.0001),
    "blocking": lambda: gopark.blocking(int),
}


def current_exception() -> BaseException | None:
    return sys.exc_info()[1]


def nested(name: str, switch: Callable[[], object], log: list[str]) -> None:
    """Switch in nested except blocks, in finally, in with; look at the exception state after each."""
    assert current_exception() is None
    switch()
    assert current_exception() is None
    try:
        raise KeyError(name)
    except KeyError as outer:
        switch()
        assert current_exception() is outer
        try:
            raise ValueError(name)
        except ValueError as inner:
            assert inner.__context__ is outer
            switch()
            assert current_exception() is inner
        assert current_exception() is outer
        switch()
        assert current_exception() is outer
        with pytest.raises(KeyError) as again:
            switch()
            raise
        assert again.value is outer
    assert current_exception() is None
    try:
        try:
            raise IndexError(name)
        finally:
            switch()
            assert str(current_exception()) == name
    except IndexError as e:
        assert str(e) == name and e.__context__ is None
    switch()
    assert current_exception() is None
    log.append(name)


@pytest.mark.parametrize("kind", SWITCHES)
@goroutines
def test_switches_inside_except_blocks_keep_each_goroutines_exception(kind: str) -> None:
    log: list[str] = []
    names = [f"g{i}" for i in range(10)]
    gs = [gopark.go(nested, name, SWITCHES[kind], log) for name in names]
    nested("main", SWITCHES[kind], log)
    for g in gs:
        g.result(10)
    assert sorted(log) == sorted([*names, "main"])


@goroutines
def test_exception_state_survives_network_waits() -> None:
    """The switch happens deep in the compiled FD.read, itself inside try and finally."""
    a, b = net.pipe()

    def echo() -> None:
        try:
            raise KeyError("echo")
        except KeyError as e:
            for _ in range(20):
                a.write(a.read())
                assert current_exception() is e

    g = gopark.go(echo)
    try:
        raise ValueError("main")
    except ValueError as e:
        for _ in range(20):
            b.write(b"x")
            assert b.read() == b"x"
            assert current_exception() is e
    g.result(5)
    assert current_exception() is None
    a.close()
    b.close()


@goroutines
def test_goroutine_started_in_an_except_block_starts_without_exception() -> None:
    def look() -> tuple[object, object]:
        try:
            raise ValueError("new")
        except ValueError as e:
            return sys.exc_info()[1] is e, e.__context__

    try:
        raise KeyError("old")
    except KeyError:
        bare = gopark.go(current_exception)
        fresh = gopark.go(look)
        assert bare.result(5) is None
        assert fresh.result(5) == (True, None)


@goroutines
def test_a_reused_stack_has_no_exception_of_its_last_goroutine() -> None:
    """Goroutines that end by exceptions, one after another on the same stacks."""

    def fail(n: int) -> None:
        assert current_exception() is None
        try:
            raise KeyError(n)
        except KeyError:
            gopark.gosched()
            raise ValueError(n) from None

    for _ in range(3):
        gs = [gopark.go(fail, n) for n in range(20)]
        for g in gs:
            g.join(5)
            assert isinstance(g.exception, ValueError) and g.exception.__cause__ is None
        assert gopark.go(current_exception).result(5) is None


@goroutines
def test_cancelled_is_raised_into_the_right_except_block() -> None:
    q = WaitQ()

    def wait() -> BaseException | None:
        try:
            raise KeyError
        except KeyError as outer:
            try:
                q.park("test")
            except gopark.Cancelled as c:
                assert c.__context__ is outer
            return current_exception()

    g = gopark.go(wait)
    gopark.sleep(0.001)
    try:
        raise OSError
    except OSError:
        g.cancel()
        assert isinstance(g.result(5), KeyError)


@goroutines
def test_generators_hold_their_own_exception_across_switches() -> None:
    def numbers(n: int) -> object:
        try:
            raise KeyError(n)
        except KeyError:
            for i in range(3):
                yield i
                gopark.gosched()
                assert str(current_exception()) == str(n)

    def consume(n: int) -> list[int]:
        out = []
        for i in numbers(n):  # type: ignore[attr-defined]
            assert current_exception() is None
            out.append(i)
        return out

    gs = [gopark.go(consume, n) for n in range(10)]
    assert all(g.result(5) == [0, 1, 2] for g in gs)


@pytest.mark.filterwarnings("ignore:gopark runs on a thread:RuntimeWarning")
def test_threads_that_run_gopark_one_after_another_do_not_share_state() -> None:
    for _ in range(2):
        failed: list[BaseException] = []

        def work(failed: list[BaseException] = failed) -> None:
            try:
                gopark.run(nested, "t", gopark.gosched, [])
            except BaseException as e:
                failed.append(e)

        t = threading.Thread(target=work)
        t.start()
        t.join(10)
        assert not t.is_alive() and failed == []
