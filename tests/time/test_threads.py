"""Timers made, stopped and waited for on a thread that gopark does not run on."""

import threading
from collections.abc import Callable

import pytest

import gopark
from gopark import time


def on_thread(fn: Callable[[], object]) -> object:
    out: list[object] = []
    t = threading.Thread(target=lambda: out.append(fn()))
    t.start()
    gopark.blocking(t.join, 20)
    assert not t.is_alive()
    return out[0]


def test_timer_of_a_thread_wakes_the_sleeping_runtime_and_fires() -> None:
    def main() -> None:
        assert isinstance(on_thread(lambda: time.after(0.005).recv()), float)

    gopark.run(main)


def test_thread_can_stop_and_reset() -> None:
    def main() -> None:
        timer = time.Timer(60)
        assert on_thread(timer.stop) is True
        assert on_thread(timer.stop) is False
        assert on_thread(lambda: timer.reset(0.001)) is False
        timer.c.recv()

    gopark.run(main)


def test_after_func_from_a_thread_runs_as_a_goroutine() -> None:
    def main() -> None:
        out = gopark.Chan(1)
        on_thread(lambda: time.after_func(0.001, lambda: out.send(gopark.current().id)))
        assert isinstance(out.recv(), int)

    gopark.run(main)


def test_threads_requests_are_carried_out_although_the_run_ends() -> None:
    """At its next decision, at its end, or by the thread itself: no request waits for the next run."""
    timers = [time.Timer(3600) for _ in range(4)]
    stopping = threading.Event()
    counts = [0] * len(timers)

    def work(i: int) -> None:
        while not stopping.wait(0.0001):  # (without the GIL: the runs must come on)
            timers[i].reset(3600)
            assert timers[i].stop() is True
            counts[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(timers))]
    for t in threads:
        t.start()
    try:
        for i in range(50):
            gopark.run(gopark.gosched if i % 2 else int)
    finally:
        stopping.set()
        for t in threads:
            t.join(20)
    assert not any(t.is_alive() for t in threads) and all(counts)
    assert gopark.statistics().timers == 0


def test_what_a_request_raises_is_raised_in_the_thread_that_asks() -> None:
    def main() -> None:
        with pytest.raises(ZeroDivisionError):
            gopark.blocking(time.on_runtime, lambda: 1 // 0)

    gopark.run(main)
