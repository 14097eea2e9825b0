"""Timers that nobody can see any more leave the heap; those that somebody can, do not."""

import gc
import weakref

import pytest

import gopark
from gopark import time
from support import IS_COMPILED


def armed() -> int:
    gopark.gosched()  # what was dropped is stopped at a scheduling decision
    gopark.gosched()
    return gopark.statistics().timers


def test_dropped_timers_and_tickers_are_collected_although_never_stopped() -> None:
    def main() -> None:
        before = armed()
        for _ in range(20):
            time.Timer(3600)
            assert time.Timer(3600).c is not None
            time.after(3600)
            time.Ticker(3600)
        gc.collect()
        assert armed() == before

    gopark.run(main)


def test_timer_whose_channel_is_held_fires_although_the_timer_is_gone() -> None:
    def main() -> None:
        timer = time.Timer(0.005)
        gone, c = weakref.ref(timer), timer.c
        del timer
        gc.collect()
        assert gone() is None
        assert isinstance(c.recv(), float)

    gopark.run(main)


def test_goroutine_parked_on_after_is_enough_to_keep_it() -> None:
    def main() -> None:
        g = gopark.go(lambda: time.after(0.01).recv())
        gopark.sleep(0.002)
        gc.collect()
        assert isinstance(g.result(10), float)

    gopark.run(main)


def test_after_func_needs_no_one_to_hold_it() -> None:
    def main() -> None:
        out = gopark.Chan(1)
        time.after_func(0.002, out.send, "called")
        gc.collect()
        assert out.recv() == "called"

    gopark.run(main)


def test_fired_timer_and_its_channel_need_no_collector() -> None:
    def main() -> None:
        timer = time.Timer(0)
        timer.c.recv()
        gone = weakref.ref(timer.c)
        gc.disable()
        try:
            del timer
            assert gone() is None
        finally:
            gc.enable()

    gopark.run(main)


def test_cycle_through_a_timers_channel_is_collected() -> None:
    """The collector looks at a timer once it has a channel: only then can it be part of a cycle."""

    def main() -> None:
        before = armed()
        timer = time.Timer(3600)
        timer.c.try_send(timer)
        gone = weakref.ref(timer)
        del timer
        gc.collect()
        assert gone() is None
        assert armed() == before

    gopark.run(main)


def test_cycle_through_a_subclass_of_timer_is_collected() -> None:
    class Own(time.Timer):
        me: object = None

    def main() -> None:
        before = armed()
        timer = Own(3600)
        timer.me = timer
        gone = weakref.ref(timer)
        del timer
        gc.collect()
        assert gone() is None
        assert armed() == before

    gopark.run(main)


@pytest.mark.skipif(not IS_COMPILED, reason="the interpreted core's objects stay in the collector's care")
def test_collector_does_not_look_at_timers_without_a_channel() -> None:
    timer = time.Timer(3600)
    assert not gc.is_tracked(timer)
    # What has a finalizer must be tracked when it is destroyed: an interpreter built with assertions aborts.
    assert not hasattr(time.Timer, "__del__")
    assert timer.c is timer.c
    assert gc.is_tracked(timer)
    timer.stop()
