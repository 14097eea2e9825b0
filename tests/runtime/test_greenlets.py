"""A program's own greenlets inside a goroutine: it parks and is preempted in whichever runs, and goes on there."""

import time
from collections.abc import Iterator

import greenlet
import pytest

import gopark
from gopark import Chan, go
from gopark.runtime import sysmon
from support import goroutines


@pytest.fixture
def short_slice() -> Iterator[None]:
    sysmon.set_slice(200_000)
    yield
    sysmon.set_slice(sysmon.SLICE_NS)


def nested(depth: int, ch: Chan) -> str:
    if depth == 0:
        return f"got {ch.recv()}"
    return str(greenlet.greenlet(nested).switch(depth - 1, ch))


@goroutines
def test_goroutine_that_parks_in_a_greenlet_goes_on_in_it() -> None:
    chans = [Chan() for _ in range(3)]
    gs = [go(nested, depth, ch) for depth, ch in enumerate(chans)]
    for i, ch in enumerate(reversed(chans)):
        ch.send(i)
    assert [g.result(10) for g in gs] == ["got 2", "got 1", "got 0"]


@goroutines
def test_so_does_the_main_goroutine() -> None:
    ch = Chan()
    go(ch.send, 1)
    assert nested(2, ch) == "got 1"


@goroutines
def test_goroutine_parks_in_its_greenlets_by_turns() -> None:
    """As a generator made of greenlets does, while others run."""

    def produce(n: int) -> None:
        for i in range(n):
            gopark.sleep(0.0001)
            parent = greenlet.getcurrent().parent
            assert parent is not None
            parent.switch(i)

    def consume() -> list[int]:
        producer = greenlet.greenlet(produce)
        out = [producer.switch(20)]
        while not producer.dead:
            gopark.gosched()
            value = producer.switch()
            if not producer.dead:
                out.append(value)
        return out

    assert [g.result(10) for g in [go(consume) for _ in range(10)]] == [list(range(20))] * 10


@goroutines
def test_cancelled_in_a_greenlet_comes_out_of_it() -> None:
    def outer() -> str:
        try:
            greenlet.greenlet(gopark.sleep).switch(1000)
        except gopark.Cancelled:
            return "cancelled"
        return "not"

    g = go(outer)
    while not g.waitreason:
        gopark.gosched()
    g.cancel()
    assert g.result(10) == "cancelled"


@goroutines
def test_preempted_in_a_greenlet_goes_on_in_it(short_slice: None) -> None:
    def busy(x: int) -> int:
        end = time.monotonic() + 0.005
        while time.monotonic() < end:
            pass
        return x + 1

    def work() -> list[int]:
        return [greenlet.greenlet(busy).switch(i) for i in range(5)]

    before = gopark.statistics().preemptions
    assert [g.result(10) for g in [go(work), go(work)]] == [[1, 2, 3, 4, 5]] * 2
    assert gopark.statistics().preemptions > before


@goroutines
def test_stack_that_ran_greenlets_is_reused_clean() -> None:
    ch: Chan = Chan(100)
    for i in range(50):
        ch.send(i)
        assert go(nested, i % 3, ch).result(10) == f"got {i}"


def left_behind(consumer: greenlet.greenlet) -> None:
    for i in range(3):
        gopark.sleep(0.001)
        consumer.switch(i)


def test_greenlet_that_a_goroutine_leaves_behind_is_nobody_elses_stack() -> None:
    kept: list[greenlet.greenlet] = []

    def first() -> object:
        kept.append(greenlet.greenlet(left_behind))
        return kept[0].switch(greenlet.getcurrent())

    def main() -> list[object]:
        go(lambda: [gopark.sleep(0.0003) for _ in range(20)])  # so that the park is a switch
        return [go(first).result(10), go(lambda: "another").result(10)]

    assert gopark.run(main) == [0, "another"]
    kept.clear()
