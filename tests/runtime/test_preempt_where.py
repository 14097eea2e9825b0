"""Where a goroutine is not preempted, because a switch there would be seen."""

import dataclasses
import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from gopark import context, go
from gopark.runtime import sysmon
from support import IS_COMPILED, eventually, goroutines


@pytest.fixture
def short_slice() -> Iterator[None]:
    sysmon.set_slice(200_000)
    yield
    sysmon.set_slice(sysmon.SLICE_NS)


@pytest.mark.skipif(
    not IS_COMPILED, reason="a Python function cannot postpone a signal to the next instruction"
)
@pytest.mark.parametrize("contended", [False, True])
def test_goroutines_may_write_to_one_file(contended: bool, short_slice: None) -> None:
    """While the buffer's lock is held: writing looks for signals, and so the handler runs there.

    Also beside a thread that wants the GIL: who waits for that is not in a lock that another goroutine may hold."""
    over = False

    def contend() -> None:
        while contended and not over:
            pass

    contender = threading.Thread(target=contend)
    contender.start()
    r, w = os.pipe()
    size = 0

    def drain() -> None:
        nonlocal size
        while data := os.read(r, 30_000):
            size += len(data)
            time.sleep(0.001)

    thread = threading.Thread(target=drain)
    thread.start()
    before = gopark.statistics().preemptions
    with os.fdopen(w, "wb", buffering=65536) as file:  # as sys.stdout is, into a slow pipe

        def write() -> None:
            for _ in range(10):
                file.write(b"x" * 100_000)
                sum(range(20_000))

        def main() -> None:
            for g in [go(write) for _ in range(3)]:
                g.result(30)

        gopark.run(main)
    thread.join(30)
    over = True
    contender.join(30)
    os.close(r)
    assert size == 3_000_000
    assert gopark.statistics().preemptions > before


class Shown:
    def __repr__(self) -> str:
        for _ in range(50):
            pass
        return "shown"


@dataclasses.dataclass
class Record:
    value: object


@goroutines
def test_repr_of_what_goroutines_share_is_whole(short_slice: None) -> None:
    """Python notes for the thread what it is in the middle of showing, and shows that as "..."."""
    shared: Any = [Record([Shown()]) for _ in range(20)]
    expected = repr(shared)

    def show() -> bool:
        return all(repr(shared) == expected for _ in range(100))

    assert all(g.result(30) for g in [go(show) for _ in range(4)])


@goroutines
def test_callable_objects_as_signal_handlers_are_left_alone(short_slice: None) -> None:
    log: list[str] = []

    def other() -> None:
        while "over" not in log:
            log.append("other")
            gopark.gosched()

    def busy(*args: Any) -> None:
        log.append("begun")
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        log.append("over")

    class Handler:
        def __call__(self, *args: Any) -> None:
            busy()

    for handler in (functools.partial(busy), Handler(), functools.partial(Handler())):
        log.clear()
        old = signal.signal(signal.SIGUSR2, handler)
        try:
            g = go(other)
            signal.raise_signal(signal.SIGUSR2)
            eventually(lambda: "over" in log)
            g.join(10)
        finally:
            signal.signal(signal.SIGUSR2, old)
        begun = log.index("begun")
        assert log[begun + 1] == "over"


@goroutines
def test_trace_functions_are_left_alone(short_slice: None) -> None:
    """A thread that traces runs everything untraced, so another goroutine would not be traced."""
    lines: dict[str, int] = {}

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_name == "traced":
            lines["traced"] = lines.get("traced", 0) + (event == "line")
            for _ in range(200):
                pass
            return trace
        return None

    def traced() -> None:
        for _ in range(300):
            x = 1  # noqa: F841

    sys.settrace(trace)
    try:
        for g in [go(traced) for _ in range(3)]:
            g.result(30)
    finally:
        sys.settrace(None)
    assert lines["traced"] >= 3 * 600


def straight(n: int) -> None:
    for _ in range(n):
        json.dumps(list(range(2000)))


def comprehension(n: int) -> None:
    [sum(x for x in range(2000)) for _ in range(n)]


def recursive(n: int) -> None:
    def fib(k: int) -> int:
        return k if k < 2 else fib(k - 1) + fib(k - 2)

    for _ in range(n):
        fib(12)


def callbacks(n: int) -> None:
    for _ in range(n):
        sorted(range(500), key=lambda x: -x)


def showing(n: int) -> None:
    things = [Shown() for _ in range(5)]
    for _ in range(n):
        repr(things)
        sum(range(500))


def asking_a_context(n: int) -> None:
    """The signal comes in the long call, and is first looked at in the function of ours that follows."""
    ctx = context.with_cancel()
    for _ in range(n):
        sum(range(50_000))
        ctx.err()


class Finalized:
    def __del__(self) -> None:
        pass


def finalizing(n: int) -> None:
    for _ in range(n):
        thing = Finalized()
        sum(range(50_000))
        del thing


HOGS = [straight, comprehension, recursive, callbacks]
# In the interpreted core a signal that comes in the one is refused in the other, every time.
HOGS += [asking_a_context, finalizing, showing] if IS_COMPILED else []


@pytest.mark.parametrize("hog", HOGS)
@goroutines
def test_every_kind_of_hog_is_preempted(hog: Callable[[int], None], short_slice: None) -> None:
    """Also those that spend most of their time where they cannot be."""
    stop = False
    before = gopark.statistics().preemptions

    def run() -> None:
        while not stop:
            hog(3)

    g = go(run)
    eventually(lambda: gopark.statistics().preemptions >= before + 5, 20)
    stop = True
    g.result(20)


@goroutines
def test_interrupt_reaches_a_main_goroutine_that_never_parks() -> None:
    """It was sent while the runtime's own code ran, or another goroutine."""
    ch = gopark.Chan(1)
    sent = threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))

    def spin() -> (
        None
    ):  # (3.13.0 does not let the `with` see what a handler raises where its own loop goes round)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            ch.try_send(1)
            ch.try_recv()

    with pytest.raises(KeyboardInterrupt):
        sent.start()
        spin()
    sent.join()
