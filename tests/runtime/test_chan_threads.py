"""Channels between goroutines and threads that gopark does not run on: a thread blocks alone."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import Chan, ChanClosed, go, select
from support import eventually, goroutines

N = 300


def in_thread(fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start fn(*args) on a thread; the function returned joins it, and returns or raises what fn did."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def body() -> None:
        try:
            outcome.put((fn(*args), None))
        except BaseException as e:
            outcome.put((None, e))

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def join() -> Any:
        gopark.blocking(thread.join, 20)
        value, exc = outcome.get(timeout=0)
        if exc is not None:
            raise exc
        return value

    return join


@pytest.mark.parametrize("cap", [0, 3])
@goroutines
def test_values_cross_in_both_directions(cap: int) -> None:
    there, back = Chan(cap), Chan(cap)

    def body() -> None:
        for value in there:
            back.send(value)
        back.close()

    def feed() -> None:
        for i in range(N):
            there.send(i)
        there.close()

    join = in_thread(body)
    go(feed)
    assert list(back) == list(range(N))
    join()


@goroutines
def test_blocked_thread_does_not_stop_the_goroutines() -> None:
    ch = Chan()
    join = in_thread(ch.recv)
    eventually(lambda: ch.statistics().receivers == 1)
    turns = 0
    for _ in range(100):
        gopark.gosched()
        turns += 1
    assert turns == 100
    ch.send("x")
    assert join() == "x"


@goroutines
def test_thread_wakes_a_goroutine_while_the_runtime_is_idle() -> None:
    ch, idle = Chan(), threading.Event()

    def body() -> bool:
        idle.wait(10)
        eventually(lambda: ch.statistics().receivers == 1)
        return ch.try_send("from a thread")

    join = in_thread(body)
    idle.set()
    assert ch.recv() == "from a thread"
    assert join() is True


@goroutines
def test_close_wakes_blocked_threads() -> None:
    ch, full = Chan(), Chan(1)
    full.send(0)
    joins = [
        in_thread(ch.recv_ok),
        in_thread(ch.recv),
        in_thread(full.send, 1),
        in_thread(select, ch.on_recv()),
    ]
    eventually(lambda: (ch.statistics().receivers, full.statistics().senders) == (3, 1))
    ch.close()
    full.close()
    assert joins[0]() == (None, False)
    for join in joins[1:3]:
        with pytest.raises(ChanClosed):
            join()
    assert joins[3]() == (0, None, False)


@goroutines
def test_select_on_a_thread() -> None:
    a, b = Chan(), Chan()
    assert in_thread(lambda: select(a.on_recv(), timeout=0.01))() == (-1, None, False)
    assert a.statistics().receivers == 0
    assert in_thread(lambda: select(a.on_recv(), default=True))() == (-1, None, False)
    join = in_thread(select, a.on_recv(), b.on_recv(), a.on_send(1))
    eventually(lambda: b.statistics().receivers == 1)
    b.send("x")
    assert join() == (1, "x", True)
    assert a.statistics().receivers == a.statistics().senders == 0


@goroutines
def test_threads_and_goroutines_compete_and_nothing_is_lost_or_doubled() -> None:
    ch, done = Chan(2), Chan(64)

    def produce(base: int) -> None:
        for i in range(base, base + N):
            if i % 3 == 0:
                ch.send(i)
            elif i % 3 == 1:
                select(ch.on_send(i))
            else:
                while not ch.try_send(i):
                    select(ch.on_send(-1), timeout=0.001)

    def consume() -> None:
        seen = []
        while True:
            value, ok = ch.recv_ok() if len(seen) % 2 else select(ch.on_recv())[1:]
            if not ok:
                break
            if value >= 0:
                seen.append(value)
        done.send(seen)

    consumers = [in_thread(consume) for _ in range(2)]
    for _ in range(2):
        go(consume)
    joins = [in_thread(produce, i * N) for i in range(2)]
    gs = [go(produce, i * N) for i in range(2, 4)]
    for g in gs:
        g.result()
    for join in joins:
        join()
    ch.close()
    seen = [value for _ in range(4) for value in done.recv()]
    for join in consumers:
        join()
    assert sorted(seen) == list(range(4 * N))


def test_threads_alone_use_try_operations_without_a_runtime() -> None:
    ch = Chan(1)
    assert ch.try_send(1)
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(ch.try_recv()))
    thread.start()
    thread.join(10)
    assert result == [(1, True)]


@goroutines
def test_time_out_on_a_thread_is_not_early() -> None:
    ch = Chan()

    def body() -> float:
        start = time.monotonic()
        assert select(ch.on_recv(), timeout=0.02)[0] == -1
        return time.monotonic() - start

    assert in_thread(body)() >= 0.02
