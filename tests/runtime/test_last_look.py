"""Who is made runnable while the scheduler is about to wait runs at once, wherever the program's code did it."""

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import gopark
from gopark import net
from gopark.runtime import proc
from support import goroutines, parked, python


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    callbacks = list(gc.callbacks)
    yield
    gc.set_threshold(*before)
    gc.callbacks[:] = [c for c in gc.callbacks if c in callbacks]


DEADLOCK = """
    import gc, sys, threading, time
    import gopark
    freed, done = gopark.Chan(1), gopark.Chan()
    late, armed = [], False

    def in_checkdead():
        frame = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name == "checkdead":
                return True
            frame = frame.f_back
        return False

    def on_gc(phase, info):
        global armed, since
        if armed and phase == "start" and in_checkdead():
            armed, since = False, time.monotonic()
            freed.try_send(1)

    def waiter():
        while True:
            freed.recv()
            late.append(time.monotonic() - since)
            done.send(1)

    def main():
        global armed
        gopark.go(waiter)
        gopark.sleep(0.001)
        gc.callbacks.append(on_gc)
        for _ in range(3):
            gc.set_threshold(1, 1000, 1000)
            armed = True
            done.recv()
        gc.callbacks.remove(on_gc)
        print(len(late), max(late) < 0.5)

    if ALONE is False:
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
    gopark.run(main)
"""


@pytest.mark.parametrize("alone", [False, True])
def test_woken_while_the_runtime_asks_whether_all_are_asleep(alone: bool) -> None:
    done = python(DEADLOCK.replace("ALONE is False", f"{alone} is False"))
    assert done.stdout.split() == ["3", "True"]


@goroutines
def test_woken_by_the_collector_just_before_the_wait(collector: None) -> None:
    listener = net.listen("tcp", "127.0.0.1:0")
    acceptor = parked(gopark.go(listener.accept))  # somebody waits for the network
    freed, done = gopark.Chan(1), gopark.Chan()
    armed = False

    def on_gc(phase: str, info: dict[str, int]) -> None:
        nonlocal armed
        if armed and phase == "start":
            armed = False
            freed.try_send(1)

    def waiter() -> None:
        while True:
            freed.recv()
            done.send(1)

    w = parked(gopark.go(waiter))
    gc.callbacks.append(on_gc)
    for ahead in range(60):
        gc.disable()
        gc.collect(0)
        armed = True
        gc.set_threshold(gc.get_count()[0] + 1 + ahead, 1000, 1000)
        gc.enable()
        if gopark.select(done.on_recv(), timeout=0.02)[0] < 0:
            assert armed, f"woken {ahead} allocations ahead, and not run"
            armed = False
    w.cancel()
    acceptor.cancel()
    listener.close()


@goroutines
def test_rounds_of_injected_functions_have_an_end() -> None:
    """A function that injects itself again, as threads may at any rate, does not keep goroutines from running."""
    p = proc.getp()
    rounds = 0

    def again() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 1_000_000:
            p.inject(again)

    p.inject(again)
    gopark.gosched()
    assert rounds < 1000
    rounds = 1_000_000
    gopark.gosched()


@goroutines
def test_on_p_runs_a_threads_function_on_the_runtimes_thread_and_wakes_it() -> None:
    where: list[int] = []
    woken = gopark.Chan(1)

    def note() -> None:
        where.append(threading.get_ident())
        woken.try_send(1)

    proc.on_p(note)
    assert woken.try_recv()[1] and where == [threading.get_ident()]
    threading.Timer(0.02, proc.on_p, (note,)).start()
    start = time.monotonic()
    woken.recv()
    assert where == [threading.get_ident()] * 2 and time.monotonic() - start < 5


def test_on_p_while_gopark_does_not_run_calls_at_once() -> None:
    where: list[int] = []
    t = threading.Thread(target=lambda: proc.on_p(lambda: where.append(threading.get_ident())))
    t.start()
    t.join()
    assert where == [t.ident]


class Cycle:
    """Found by the collector only."""

    def __init__(self, at_end: Callable[[], object]) -> None:
        self.me = self
        self.at_end = at_end

    def __del__(self) -> None:
        self.at_end()


@goroutines
def test_finalizers_that_yield_anywhere_lose_nobody(collector: None, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException] = []

    def unraisable(u: "sys.UnraisableHookArgs") -> None:
        if not isinstance(u.exc_value, RuntimeError):  # "no goroutine is running here": in the scheduler
            errors.append(u.exc_value or RuntimeError())

    monkeypatch.setattr(sys, "unraisablehook", unraisable)

    def work(k: int) -> int:
        for i in range(60):
            Cycle(gopark.gosched)
            gopark.sleep(0.00001 * (k % 3))
            ch: gopark.Chan[int] = gopark.Chan(1)
            ch.send(i)
            ch.recv()
        return k

    gc.set_threshold(20, 5, 5)
    workers = [gopark.go(work, k) for k in range(10)]
    assert [g.result(10) for g in workers] == list(range(10))
    gc.collect()  # here: after the run a finalizer would start another
    assert errors == []


@goroutines
def test_timer_armed_by_a_signal_handler_while_all_wait_is_in_time() -> None:
    """The poll is waiting for a later timer, or for none."""
    ch = gopark.Chan(1)
    before = signal.signal(
        signal.SIGALRM, lambda signum, frame: gopark.time.after_func(0.01, ch.try_send, 1.0)
    )
    try:
        for later in (None, 3.0):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            start = time.monotonic()
            assert gopark.select(ch.on_recv(), timeout=later)[0] == 0
            assert 0.03 <= time.monotonic() - start < 2
    finally:
        signal.signal(signal.SIGALRM, before)


@goroutines
def test_goroutine_started_by_a_signal_handler_while_all_wait_runs_at_once() -> None:
    ch = gopark.Chan(1)
    before = signal.signal(signal.SIGALRM, lambda signum, frame: gopark.go(ch.send, 1.0))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        start = time.monotonic()
        assert gopark.select(ch.on_recv(), timeout=3)[0] == 0
        assert time.monotonic() - start < 2
    finally:
        signal.signal(signal.SIGALRM, before)
