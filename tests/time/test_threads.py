"""Timers made, stopped and waited for on a thread that gopark does not run on."""

import threading
from collections.abc import Callable

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
