"""The collector runs where the poller allocates: what the program's finalizers do there finds everything whole."""

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from gopark.runtime import netpoll, proc
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.pollstate import MODE_R, MODE_W
from support import goroutines


class Collections:
    """Runs a function in the first collection after arm(); every allocation may begin one."""

    def __init__(self) -> None:
        self.fn: Callable[[], object] | None = None
        self.threshold = gc.get_threshold()
        gc.callbacks.append(self.on_gc)

    def on_gc(self, phase: str, info: dict[str, int]) -> None:
        fn, self.fn = self.fn, None
        if fn is not None:
            fn()

    def arm(self, fn: Callable[[], object], ahead: int = 0) -> None:
        gc.collect(0)
        self.fn = fn
        gc.set_threshold(gc.get_count()[0] + 1 + ahead, 1000, 1000)

    def disarm(self) -> None:
        self.fn = None
        gc.set_threshold(*self.threshold)


@pytest.fixture
def collections() -> Iterator[Collections]:
    c = Collections()
    yield c
    c.disarm()
    gc.callbacks.remove(c.on_gc)


def pipe() -> tuple[int, int]:
    r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    return r, w


def close(pd: PollDesc, *fds: int) -> None:
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    for fd in fds:
        os.close(fd)


@goroutines
def test_descriptors_opened_in_a_collection_while_a_block_is_allocated_have_places_of_their_own(
    collections: Collections,
) -> None:
    opened: list[tuple[PollDesc, tuple[int, int]]] = []

    def open_one() -> PollDesc:
        ends = pipe()
        pd = netpoll.poll_open(ends[0])
        opened.append((pd, ends))
        return pd

    # As many as are free; the next one needs a block.
    for ahead in range(4):
        while netpoll.pollcache.counts()[1]:
            open_one()
        ends = pipe()
        collections.arm(lambda: [open_one() for _ in range(3)], ahead)
        pd = netpoll.poll_open(ends[0])
        collections.disarm()
        opened.append((pd, ends))
    places = [pd.index for pd, _ in opened]
    assert len(set(places)) == len(places)
    allocated, free = netpoll.pollcache.counts()
    assert max(places) < allocated and free <= allocated - len(places)
    for pd, ends in opened:
        close(pd, *ends)


@pytest.mark.parametrize("ahead", range(3))
@pytest.mark.parametrize("mode", [MODE_R, MODE_W, MODE_R | MODE_W])
@goroutines
def test_close_in_a_collection_while_a_deadline_is_set_leaves_no_timer(
    collections: Collections, mode: int, ahead: int
) -> None:
    p: Any = proc.getp()
    for _ in range(3):
        ends = pipe()
        pd = netpoll.poll_open(ends[0])
        collections.arm(lambda pd=pd: netpoll.poll_unblock(pd), ahead)  # type: ignore[misc]
        netpoll.poll_set_deadline(pd, proc.nanotime() + 10**12, mode)
        collections.disarm()
        if not pd.closing:
            netpoll.poll_unblock(pd)
        assert p.timers.armed() == 0
        netpoll.poll_close(pd)
        for fd in ends:
            os.close(fd)


@goroutines
def test_deadline_changed_in_a_collection_while_it_is_set_is_one_or_the_other(
    collections: Collections,
) -> None:
    ends = pipe()
    pd = netpoll.poll_open(ends[0])
    far, near = proc.nanotime() + 10**12, proc.nanotime() + 10**11
    collections.arm(lambda: netpoll.poll_set_deadline(pd, near, MODE_R))
    netpoll.poll_set_deadline(pd, far, MODE_R | MODE_W)
    collections.disarm()
    assert pd.rd in (far, near) and pd.wd == far
    assert proc.getp().timers.armed() == (1 if pd.rd == far else 2)
    close(pd, *ends)
    gopark.gosched()
    assert proc.getp().timers.armed() == 0
