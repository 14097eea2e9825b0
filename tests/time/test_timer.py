"""Timer, after and after_func: one value, or one call, unless stopped."""

import contextvars
import copy
import pickle
from typing import Any

import pytest

import gopark
from gopark import time


def test_timer_sends_the_time_once_it_is_due() -> None:
    def main() -> None:
        began = time.now()
        timer = time.Timer(0.005)
        assert timer.c.recv() - began >= 0.005
        assert timer.stop() is False
        assert timer.c.try_recv() == (None, False)

    gopark.run(main)


def test_value_of_a_timer_that_fired_before_anyone_asked_for_its_channel_is_there() -> None:
    def main() -> None:
        timer = time.Timer(0)
        gopark.sleep(0.005)
        value, ok = timer.c.try_recv()
        assert ok and value <= time.now()
        assert timer.c.try_recv() == (None, False)

    gopark.run(main)


def test_stop_before_it_is_due_says_true_and_nothing_comes() -> None:
    def main() -> None:
        timer, unseen = time.Timer(0.002), time.Timer(0.002)
        c = timer.c
        assert timer.stop() is True and unseen.stop() is True
        assert timer.stop() is False and unseen.stop() is False
        gopark.sleep(0.004)
        assert c.try_recv() == (None, False) and unseen.c.try_recv() == (None, False)

    gopark.run(main)


@pytest.mark.parametrize("seen", [True, False])
def test_no_stale_value_after_stop_or_reset(seen: bool) -> None:
    def main() -> None:
        for end in ("stop", "reset"):
            timer = time.Timer(0)
            if seen:
                assert timer.c is not None
            gopark.sleep(0.002)  # fired: the value is in the channel
            if end == "stop":
                assert timer.stop() is True, "it was not received, so it was stopped in time"
            else:
                assert timer.reset(60) is True
            assert timer.c.try_recv() == (None, False)
            timer.stop()

    gopark.run(main)


def test_reset_starts_again_also_after_the_value_was_received() -> None:
    def main() -> None:
        timer = time.Timer(0)
        timer.c.recv()
        assert timer.reset(0.001) is False
        timer.c.recv()
        assert timer.reset(60) is False
        assert timer.reset(0.001) is True
        timer.c.recv()

    gopark.run(main)


def test_after_works_as_a_case_of_select() -> None:
    def main() -> None:
        never = gopark.Chan()
        i, value, ok = gopark.select(never.on_recv(), time.after(0.001).on_recv())
        assert (i, ok) == (1, True) and isinstance(value, float)

    gopark.run(main)


def test_after_func_calls_in_a_goroutine_of_its_own_with_its_makers_context() -> None:
    var = contextvars.ContextVar("var", default="unset")

    def main() -> None:
        out = gopark.Chan(1)
        var.set("maker")
        time.after_func(0.001, lambda x: out.send((x, var.get(), gopark.current().id)), "arg")
        var.set("later")
        x, value, ident = out.recv()
        assert (x, value) == ("arg", "maker")
        assert ident != gopark.current().id

    gopark.run(main)


def test_stop_of_after_func_prevents_the_call_or_says_that_it_is_too_late() -> None:
    def main() -> None:
        calls: list[int] = []
        timer = time.after_func(0.001, calls.append, 1)
        assert timer.stop() is True
        gopark.sleep(0.003)
        assert calls == []
        assert timer.reset(0) is False
        gopark.sleep(0.003)
        assert calls == [1]
        assert timer.stop() is False
        with pytest.raises(AttributeError, match="no channel"):
            assert timer.c

    gopark.run(main)


def test_bad_arguments_are_type_errors() -> None:
    with pytest.raises(TypeError, match="Timer: seconds"):
        time.Timer("1")
    with pytest.raises(TypeError, match="callable"):
        time.after_func(1, None)
    timer = time.Timer(60)
    with pytest.raises(TypeError, match="reset"):
        timer.reset(None)
    assert timer.stop() and "not armed" in repr(timer)


def test_closing_the_channel_of_a_timer_harms_nobody() -> None:
    def main() -> None:
        timer = time.Timer(0.001)
        timer.c.close()
        gopark.sleep(0.003)

    gopark.run(main)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("kind", [time.Timer, time.Ticker])
def test_timers_cannot_be_copied(kind: Any, copied: Any) -> None:
    timer = kind(1000)
    with pytest.raises(TypeError, match=f"a {kind.__name__} cannot be copied or pickled"):
        copied(timer)
    timer.stop()


def test_value_of_a_timer_that_was_moved_later_is_not_before_its_deadline() -> None:
    def main() -> None:
        time.Timer(0.005)
        timer = time.Timer(0.01)
        begun = time.now()
        timer.reset(0.03)
        with gopark.no_preempt():  # both are due when the scheduler looks again
            while time.now() < begun + 0.05:
                pass
        gopark.gosched()
        assert timer.c.recv() >= begun + 0.03

    gopark.run(main)
