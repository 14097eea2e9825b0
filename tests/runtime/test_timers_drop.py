"""What timers held last is let go of between steps: its finalizers may stop, arm and drop other timers."""

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import context, net, time
from gopark.runtime.timers import Timer, TimerHeap
from support import goroutines


class Owner:
    """Its end does something to a heap."""

    def __init__(self, at_end: Callable[[], object]) -> None:
        self.at_end = at_end

    def __del__(self) -> None:
        self.at_end()


def nothing(arg: Any, seq: int) -> None:
    pass


def full_heap(n: int) -> tuple[TimerHeap, list[Timer]]:
    heap = TimerHeap()
    timers = [Timer(nothing, None) for _ in range(n)]
    for i, t in enumerate(timers):
        heap.modify(t, 1000 + i, 0)
    return heap, timers


def in_order(heap: TimerHeap) -> list[int]:
    """Fires all that are left: their deadlines, in the order in which they fired."""
    fired: list[int] = []
    while heap.armed():
        before = heap.fired
        when = heap.first
        heap.run(when)
        fired += [when] * (heap.fired - before)
    return fired


@pytest.mark.parametrize("n", [2, 65, 129, 1000])
def test_fired_timer_whose_argument_stops_all_the_others(n: int) -> None:
    heap, timers = full_heap(n)

    def stop_all() -> None:
        for t in timers:
            heap.stop(t)

    first = Timer(nothing, Owner(stop_all))
    heap.modify(first, 1, 0)
    del first
    heap.run(10**6)
    assert (heap.armed(), heap.fired) == (0, 1)


def test_fired_timer_whose_argument_arms_the_next_one_again_does_not_fire_it_early() -> None:
    heap, _ = full_heap(70)
    fired: list[int] = []
    other = Timer(lambda arg, seq: fired.append(seq), None)
    first = Timer(nothing, Owner(lambda: heap.modify(other, 5000, 2)))
    heap.modify(first, 1, 0)
    heap.modify(other, 2, 1)
    del first
    heap.run(4000)
    assert fired in ([], [1])  # what was due may have fired before; what was armed for later has not
    heap.run(5000)
    assert fired[-1] == 2


@pytest.mark.parametrize("n", [3, 100, 300])
def test_sweep_whose_drops_stop_arm_and_drop_timers(n: int) -> None:
    heap, timers = full_heap(n)
    more = [Timer(nothing, None) for _ in range(200)]

    def churn() -> None:
        for t in timers[: n // 2]:
            heap.stop(t)
        for i, t in enumerate(more):
            heap.modify(t, 1500 + i, 0)

    doomed = [Timer(nothing, Owner(churn))] + [Timer(nothing, None) for _ in range(400)]
    for t in doomed:
        heap.modify(t, 10**6, 0)
    while doomed:
        heap.stop(doomed.pop())
    del t
    heap.retain(lambda arg: True)  # a sweep, if there was none
    assert heap.armed() == n - n // 2 + 200
    fired = in_order(heap)
    assert fired == sorted(fired) and len(fired) == n - n // 2 + 200


def test_stopped_timers_at_the_top_whose_drops_stop_the_next() -> None:
    heap, timers = full_heap(40)
    for i in range(0, 40, 2):
        following = timers[i + 1]
        t = Timer(nothing, Owner(lambda t=following: heap.stop(t)))
        heap.modify(t, 999 + i, 0)
        heap.stop(t)
        del t
    heap.settle()
    heap.run(2000)
    assert (heap.armed(), heap.fired) == (0, 20)


def test_retain_whose_drops_stop_those_that_are_kept() -> None:
    heap, timers = full_heap(130)

    def stop_half() -> None:
        for t in timers[::2]:
            heap.stop(t)

    heap.modify(Timer(nothing, Owner(stop_half)), 7, 0)
    heap.retain(lambda arg: not isinstance(arg, Owner))
    assert heap.armed() == 65
    assert len(in_order(heap)) == 65


class Pool:
    """Connections with deadlines; nobody else has them."""

    def __init__(self, n: int) -> None:
        self.conns = [c for _ in range(n // 2) for c in net.pipe()]
        for c in self.conns:
            c.set_read_deadline(time.now() + 1000)

    def close(self) -> None:
        for c in self.conns:
            c.close()

    def __del__(self) -> None:
        self.close()


@pytest.mark.parametrize("n", [4, 64, 128, 130])
def test_run_ends_with_the_last_owner_of_connections_in_a_timer(n: int) -> None:
    def main() -> None:
        time.after_func(60, Pool(n).close)

    gopark.run(main)
    assert gopark.statistics().timers == 0


@goroutines
def test_forked_child_drops_the_last_owner_of_connections_with_a_timer() -> None:
    time.after_func(60, Pool(128).close)
    pid = os.fork()
    if pid == 0:
        os._exit(100 + min(gopark.statistics().timers, 100))
    assert os.waitstatus_to_exitcode(gopark.blocking(os.waitpid, pid, 0)[1]) == 100


@goroutines
def test_dropped_tree_of_contexts_with_the_last_owner_of_connections() -> None:
    parent = context.with_cancel(context.with_cancel())
    context.after_func(parent, Pool(128).close)
    with context.with_timeout(3600, parent) as child:
        assert not child.done.closed
    del parent, child
    gc.collect()
    for _ in range(70):
        with context.with_timeout(3600) as ctx:
            assert not ctx.done.closed
    gopark.sleep(0.001)
    assert gopark.statistics().timers == 0
