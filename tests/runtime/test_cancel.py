"""Goroutine.cancel: wherever a goroutine is, it gets Cancelled once, at once; its wait leaves no trace."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

import gopark
from gopark import net
from gopark.poll.fd_mutex import FDMutex
from gopark.runtime import netpoll, polldesc, proc
from gopark.runtime.pollstate import MODE_R
from gopark.runtime.sema import WaitQ
from support import eventually, goroutines, parked


def cancelled(g: gopark.Goroutine) -> bool:
    return g.join(10) and isinstance(g.exception, gopark.Cancelled)


def locked_mutex() -> FDMutex:
    mu = FDMutex()
    assert mu.rwlock(True)
    return mu


def both(pair: tuple[net.Conn, net.Conn]) -> Callable[[], Any]:
    return lambda: (pair[0].read(), pair[1])  # the peer lives as long


WAITS: dict[str, Callable[[], Callable[[], Any]]] = {
    "sleep": lambda: lambda: gopark.sleep(1e6),
    "join": lambda: gopark.go(gopark.sleep, 1e6).join,
    "join with timeout": lambda: lambda: gopark.go(gopark.sleep, 1e6).join(1e6),
    "IO wait": lambda: both(net.pipe()),
    "accept": lambda: net.listen("tcp", "127.0.0.1:0").accept,
    "blocking call": lambda: lambda: gopark.blocking(threading.Event().wait, 0.3),
    "fd read lock": lambda: partial(locked_mutex().rwlock, True),
    "WaitQ": lambda: partial(WaitQ().park, "test"),
    "WaitQ with timeout": lambda: partial(WaitQ().park_until, "test", proc.nanotime() + 10**15),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("wait", WAITS)
@goroutines
def test_cancel_ends_every_kind_of_wait(wait: str) -> None:
    g = parked(gopark.go(WAITS[wait]()))
    g.cancel()
    assert cancelled(g)
    assert proc.getp().curg is gopark.current()
    for other in list(proc.getp().allgs):
        if other is not gopark.current():
            other.cancel()
    eventually(lambda: gopark.num_goroutine() == 1)
    assert polldesc.waiters() == 0


@goroutines
def test_cancelled_before_its_first_run_it_never_runs() -> None:
    ran: list[int] = []
    g = gopark.go(ran.append, 1)
    g.cancel()
    assert cancelled(g) and ran == []


@goroutines
def test_cancel_twice_before_it_runs_is_one_cancellation() -> None:
    count = 0

    def body() -> None:
        nonlocal count
        for _ in range(2):
            try:
                gopark.sleep(0.01)
            except gopark.Cancelled:
                count += 1

    g = parked(gopark.go(body))
    g.cancel()
    g.cancel()
    assert g.join(5) and g.exception is None
    assert count == 1


@goroutines
def test_swallowed_cancel_goes_on_and_the_next_one_is_raised_again() -> None:
    log: list[str] = []

    def body() -> str:
        for i in range(3):
            try:
                gopark.sleep(1e6)
            except gopark.Cancelled:
                log.append(str(i))
        gopark.sleep(0.001)  # not cancelled: it works
        return "done"

    g = gopark.go(body)
    for i in range(3):
        eventually(lambda i=i: len(log) == i and parked(g))
        g.cancel()
    assert g.result(5) == "done" and log == ["0", "1", "2"]


@goroutines
def test_cancel_of_a_running_goroutine_is_raised_at_its_next_park() -> None:
    def body() -> str:
        me = gopark.current()
        me.cancel()
        try:
            gopark.sleep(1e6)
        except gopark.Cancelled:
            return "next park"
        return "never"

    assert gopark.go(body).result(5) == "next park"


@goroutines
def test_gosched_raises_a_pending_cancel() -> None:
    turns = 0

    def spin() -> None:
        nonlocal turns
        while True:
            turns += 1
            gopark.gosched()

    g = gopark.go(spin)
    eventually(lambda: turns > 10)
    g.cancel()
    assert cancelled(g)


@goroutines
def test_cancel_after_the_wake_does_not_lose_the_wake() -> None:
    """Woken by data but not run yet: it keeps the data; Cancelled comes at its next park."""
    q = WaitQ()
    log: list[str] = []

    def body() -> None:
        q.park("test")
        log.append("woken")
        q.park("test")
        log.append("not reached")

    g = parked(gopark.go(body))
    q.wake_one()
    g.cancel()
    assert cancelled(g) and log == ["woken"] and len(q) == 0


@goroutines
def test_cancelled_reader_leaves_the_edge_for_the_next_one() -> None:
    a, b = socket.socketpair()
    a.setblocking(False)
    pd = netpoll.poll_open(a.fileno())
    assert netpoll.poll_reset(pd, MODE_R) == 0
    g = parked(gopark.go(netpoll.poll_wait, pd, MODE_R), "IO wait")
    g.cancel()
    assert cancelled(g) and polldesc.waiters() == 0
    b.send(b"x")
    assert gopark.go(netpoll.poll_wait, pd, MODE_R).result(5) == 0
    assert a.recv(1) == b"x"
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    a.close()
    b.close()


@goroutines
def test_cancel_of_the_finished_does_nothing() -> None:
    g = gopark.go(lambda: 1)
    assert g.result(5) == 1
    g.cancel()
    assert g.result() == 1 and g.exception is None


@goroutines
def test_main_can_be_cancelled_too() -> None:
    main = gopark.current()
    gopark.go(main.cancel)
    with pytest.raises(gopark.Cancelled):
        gopark.sleep(1e6)
    gopark.sleep(0.001)


@goroutines
def test_except_exception_does_not_swallow_cancelled() -> None:
    def body() -> None:
        while True:
            try:
                gopark.sleep(1e6)
            except Exception:  # the habit that asyncio's users had to unlearn
                continue

    g = parked(gopark.go(body))
    g.cancel()
    assert cancelled(g)


@goroutines
def test_cancelling_ten_in_the_middle_of_a_queue_leaves_the_others_in_order() -> None:
    q = WaitQ()
    order: list[int] = []

    def body(i: int) -> None:
        q.park("test")
        order.append(i)

    gs = [gopark.go(body, i) for i in range(30)]
    parked(gs[-1])
    for i in range(10, 20):
        gs[i].cancel()
    assert all(cancelled(gs[i]) for i in range(10, 20))
    assert len(q) == 20
    for i in (*range(10), *range(20, 30)):
        assert q.wake_one() is gs[i]
        gs[i].result(5)
    assert order == [*range(10), *range(20, 30)]


@goroutines
def test_shield_and_no_preempt_do_nothing_on_a_thread_without_goroutines() -> None:
    """Clean-up code need not know where it runs."""

    def clean_up() -> str:
        with gopark.shield(), gopark.no_preempt():
            return "clean"

    assert gopark.blocking(clean_up) == "clean"
    assert gopark.current().shield == gopark.current().nopreempt == 0


@pytest.mark.parametrize("block, count", [(gopark.shield, "shield"), (gopark.no_preempt, "nopreempt")])
@goroutines
def test_a_block_counts_for_the_goroutine_that_entered_whoever_leaves_it(
    block: Callable[[], AbstractContextManager[None]], count: str
) -> None:
    """A generator is suspended inside the block; another goroutine closes it, or drops the last reference."""

    def rows() -> Iterator[int]:
        with block():
            yield 1

    def reader() -> None:
        suspended.append(rows())
        next(suspended[0])
        gopark.sleep(100)

    def closer() -> None:
        suspended.pop().close()  # type: ignore[attr-defined]
        gopark.sleep(100)

    def dropper() -> None:
        del suspended[:]
        gopark.sleep(100)

    for leave in (closer, dropper):
        suspended: list[Iterator[int]] = []
        entered = parked(gopark.go(reader))
        assert getattr(entered, count) == 1
        left = parked(gopark.go(leave))
        assert (getattr(entered, count), getattr(left, count)) == (0, 0)
        entered.cancel()
        left.cancel()
        assert cancelled(entered) and cancelled(left)


@goroutines
def test_a_shield_that_another_goroutine_leaves_lasts_until_then() -> None:
    shield = gopark.shield()

    def worker() -> None:
        shield.__enter__()
        gopark.sleep(0.02)  # cancelled meanwhile
        leave.recv()  # and left meanwhile: from here on Cancelled may come
        gopark.sleep(100)

    leave: gopark.Chan[None] = gopark.Chan()
    g = parked(gopark.go(worker))
    g.cancel()
    assert not g.join(0.05), "the shield did not hold"
    gopark.go(shield.__exit__, None, None, None).join()
    assert gopark.current().shield == 0
    leave.try_send(None)
    assert cancelled(g)


@goroutines
def test_one_block_shared_by_two_goroutines_counts_for_each_until_it_leaves() -> None:
    shield = gopark.shield()

    def worker() -> None:
        with shield:
            gate.recv()
        gopark.sleep(100)

    gate: gopark.Chan[None] = gopark.Chan()
    first, second = parked(gopark.go(worker)), parked(gopark.go(worker))
    gate.send(None)  # the first leaves, though the second entered last
    parked(first, "sleep")
    assert (first.shield, second.shield) == (0, 1)
    gate.send(None)
    parked(second, "sleep")
    assert (first.shield, second.shield) == (0, 0)
    for g in (first, second):
        g.cancel()
        assert cancelled(g)
