"""While a goroutine parks it can be cancelled, but not readied; and what runs in the middle cannot park."""

import contextlib
import os
import signal
import time

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.g import FatalError, Goroutine, ParkLock
from support import goroutines, parked


class Hook(ParkLock):
    """A lock whose commit runs the program's code, as a signal handler in its middle would."""

    def __init__(self, fn: object) -> None:
        self.fn = fn

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:
        assert callable(self.fn)
        self.fn()
        return True

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:
        return True


def sleeps_whole() -> None:
    start = time.monotonic()
    gopark.sleep(0.005)
    assert time.monotonic() - start >= 0.005
    assert gopark.statistics().runqueue == 0


@pytest.mark.parametrize("until", [False, True])
@goroutines
def test_cancel_in_the_middle_of_a_park_ends_that_park_and_nothing_else(until: bool) -> None:
    me = gopark.current()
    lock = Hook(lambda: (me.cancel(), me.cancel()))
    with pytest.raises(gopark.Cancelled):
        if until:
            proc.gopark_until(lock, 0, "test", proc.deadline_after(10**10))
        else:
            proc.gopark(lock, 0, "test")
    assert gopark.statistics().timers == 0
    sleeps_whole()


@goroutines
def test_cancel_in_the_middle_of_a_park_that_is_called_off_waits_for_the_next() -> None:
    me = gopark.current()

    class Off(Hook):
        def parkcommit(self, gp: Goroutine, mode: int) -> bool:
            super().parkcommit(gp, mode)
            return False

    proc.gopark(Off(me.cancel), 0, "test")
    with pytest.raises(gopark.Cancelled):
        gopark.sleep(10)
    sleeps_whole()


@goroutines
def test_cancel_in_the_middle_of_a_cancellation_is_one() -> None:
    class Cancels(ParkLock):
        def parkcancel(self, gp: Goroutine, mode: int) -> bool:
            gp.cancel()
            return True

    g = parked(gopark.go(proc.gopark, Cancels(), 0, "test"), "test")
    g.cancel()
    assert gopark.statistics().runqueue == 1
    assert g.join(5) and isinstance(g.exception, gopark.Cancelled)


@goroutines
def test_wake_in_the_middle_of_a_park_ends_it() -> None:
    me = gopark.current()
    proc.gopark(Hook(lambda: proc.goready(me)), 0, "test")
    sleeps_whole()


@goroutines
def test_parking_in_the_middle_of_a_park_is_refused_and_the_park_goes_on() -> None:
    errors: list[BaseException] = []
    ch = gopark.Chan()

    def park() -> None:
        for wait in (lambda: gopark.sleep(0.001), ch.recv):
            try:
                wait()
            except RuntimeError as e:
                errors.append(e)
        gopark.gosched()  # only a hint: nothing happens

    assert proc.gopark_until(Hook(park), 0, "test", proc.deadline_after(10**7)) is False
    assert len(errors) == 2 and len(ch) == 0
    sleeps_whole()


@pytest.mark.parametrize("until", [False, True])
@goroutines
def test_hook_that_raises_leaves_a_goroutine_that_can_park(until: bool) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        if until:
            proc.gopark_until(Hook(fail), 0, "test", proc.deadline_after(10**10))
        else:
            proc.gopark(Hook(fail), 0, "test")
    sleeps_whole()


@goroutines
def test_readying_who_is_not_parked_is_fatal() -> None:
    g = gopark.go(gopark.sleep, 0)
    with pytest.raises(FatalError, match="not parked"):
        proc.goready(g)
    with pytest.raises(FatalError, match="not parked"):
        proc.goready(gopark.current())
    assert g.join(5)


@goroutines
def test_handler_that_cancels_meets_blocking_calls_anywhere() -> None:
    me = gopark.current()
    count = 0

    def handler(signum: int, frame: object) -> None:
        nonlocal count
        count += 1
        me.cancel()

    before = signal.signal(signal.SIGALRM, handler)
    end = time.monotonic() + 0.7
    delay = 0.0
    try:
        while time.monotonic() < end:
            delay = delay + 1e-6 if delay < 1e-4 else 1e-5
            signal.setitimer(signal.ITIMER_REAL, delay)
            with contextlib.suppress(gopark.Cancelled):
                gopark.blocking(os.getpid)
            signal.setitimer(signal.ITIMER_REAL, 0)
            with contextlib.suppress(gopark.Cancelled):
                gopark.gosched()
            assert gopark.statistics().runqueue == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with contextlib.suppress(gopark.Cancelled):
        gopark.gosched()
    sleeps_whole()
    assert count > 10
