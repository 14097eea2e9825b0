"""A thread has woken a goroutine, but the scheduler has not seen it yet: the goroutine still seems parked.

Whoever would end its wait in that moment (cancel, a timer) must find that it is over."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import Cancelled, Chan, go, select
from gopark.runtime import proc
from support import goroutines, settle

WAITS: dict[str, tuple[Callable[[Chan], Any], Callable[[Chan], Any], Any]] = {
    "recv": (lambda ch: ch.recv(), lambda ch: ch.try_send("x"), "x"),
    "send": (lambda ch: ch.send("x"), lambda ch: ch.try_recv(), None),
    "select recv": (
        lambda ch: select(None, ch.on_recv(), ch.on_recv(), timeout=3600),
        lambda ch: ch.try_send("x"),
        (1, "x", True),
    ),
    "select send": (
        lambda ch: select(ch.on_send("x"), Chan().on_recv(), timeout=3600),
        lambda ch: ch.try_recv(),
        (0, None, True),
    ),
    "close": (lambda ch: ch.recv_ok(), lambda ch: ch.close(), (None, False)),
}


def on_thread(fn: Callable[[], Any]) -> None:
    """Run fn() on a thread, and block this one meanwhile: no goroutine runs."""
    thread = threading.Thread(target=fn)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("wait, wake, expected", WAITS.values(), ids=WAITS)
@goroutines
def test_cancel_comes_too_late(
    wait: Callable[[Chan], Any], wake: Callable[[Chan], Any], expected: Any
) -> None:
    ch, out = Chan(), Chan(1)

    def body() -> None:
        out.send(wait(ch))
        gopark.gosched()
        raise AssertionError("the cancellation got lost")

    g = go(body)
    settle()
    on_thread(lambda: wake(ch))
    g.cancel()
    assert out.recv() == expected
    assert g.join(timeout=10)
    assert isinstance(g.exception, Cancelled)


@pytest.mark.parametrize("wait, wake, expected", WAITS.values(), ids=WAITS)
@goroutines
def test_timer_comes_too_late(
    wait: Callable[[Chan], Any], wake: Callable[[Chan], Any], expected: Any
) -> None:
    ch = Chan()
    g = go(wait, ch)
    settle()
    on_thread(lambda: wake(ch))
    proc.park_timeout(g, g.parkseq)
    assert g.result(timeout=10) == expected
