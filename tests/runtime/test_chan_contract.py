"""What Chan promises to one goroutine."""

import copy
import dataclasses
import pickle
import weakref
from typing import Any

import pytest

import gopark
from gopark import Chan, ChanClosed
from support import settle


def test_buffer_keeps_the_order_and_wraps_around() -> None:
    ch = Chan(3)
    for i in range(20):
        ch.send(i)
        ch.send(-i)
        assert ch.recv() == i
        assert ch.recv() == -i
    assert len(ch) == 0


@pytest.mark.parametrize("cap", [1, 15, 16, 17, 33, 1000])
def test_ring_grows_in_order_up_to_its_capacity_and_no_further(cap: int) -> None:
    ch = Chan(cap)
    # The oldest value is not in the first slot when the ring has to grow.
    for i in range(cap // 2):
        assert ch.try_send(i)
        assert ch.try_recv() == (i, True)
    for i in range(cap):
        assert ch.try_send(i)
    assert not ch.try_send("too much")
    assert len(ch) == ch.cap == cap
    assert [ch.recv() for _ in range(cap)] == list(range(cap))


def test_huge_capacity_costs_nothing_until_used() -> None:
    ch = Chan(1 << 40)
    for i in range(100):
        ch.send(i)
    assert len(ch) == 100
    assert ch.recv() == 0


def test_try_operations_never_park() -> None:
    ch = Chan()
    assert ch.try_send(1) is False
    assert ch.try_recv() == (None, False)


def test_every_value_can_be_sent() -> None:
    ch = Chan(1)
    for value in (None, False, (None, False), ChanClosed, ch, Exception("as a value")):
        ch.send(value)
        assert ch.recv_ok() == (value, True)


def test_closed_channel_gives_what_is_left_and_then_the_end() -> None:
    ch = Chan(2)
    ch.send(1)
    ch.send(2)
    ch.close()
    assert ch.closed
    assert ch.recv() == 1
    assert ch.recv_ok() == (2, True)
    for _ in range(2):
        assert ch.recv_ok() == (None, False)
        assert ch.try_recv() == (None, False)
        with pytest.raises(ChanClosed, match="receive from closed channel"):
            ch.recv()
        assert list(ch) == []


def test_send_on_closed_and_close_of_closed_raise() -> None:
    ch = Chan(1)
    ch.close()
    with pytest.raises(ChanClosed, match="send on closed channel"):
        ch.send(1)
    with pytest.raises(ChanClosed, match="send on closed channel"):
        ch.try_send(1)
    with pytest.raises(ChanClosed, match="close of closed channel"):
        ch.close()


def test_iteration_ends_at_close() -> None:
    ch = Chan(3)
    for i in range(3):
        ch.send(i)
    ch.close()
    assert list(ch) == [0, 1, 2]


def test_empty_channel_is_true() -> None:
    assert Chan()


@pytest.mark.parametrize(
    "capacity, error",
    [(-1, ValueError), (1.5, TypeError), ("1", TypeError), (None, TypeError), (1 << 63, OverflowError)],
)
def test_wrong_capacity_is_refused(capacity: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="capacity"):
        Chan(capacity)  # type: ignore[arg-type]


def test_repr_and_statistics() -> None:
    ch = Chan(2)
    ch.send(1)
    assert repr(ch) == f"<Chan {id(ch):#x} len=1 cap=2>"
    stats = ch.statistics()
    assert dataclasses.asdict(stats) == {"len": 1, "cap": 2, "senders": 0, "receivers": 0, "closed": False}
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.len = 2  # type: ignore[misc]
    ch.close()
    assert repr(ch).endswith("closed>")


def test_statistics_count_the_waiting_and_dumps_name_the_channel() -> None:
    def main() -> None:
        ch, full = Chan(), Chan(1)
        full.send(0)
        gs = [
            gopark.go(ch.recv),
            gopark.go(gopark.select, ch.on_recv(), full.on_send(1)),
            gopark.go(full.send, 2),
        ]
        settle()
        assert (ch.statistics().receivers, ch.statistics().senders) == (2, 0)
        assert (full.statistics().receivers, full.statistics().senders) == (0, 2)
        assert [g.waitreason for g in gs] == ["chan receive", "select", "chan send"]
        names = [g.parklock.describe(g.parkmode) for g in gs]
        assert names[0] == repr(ch)
        assert names[1] == f"{ch!r}.on_recv(), {full!r}.on_send(...)"
        assert names[2] == repr(full)
        for g in gs:
            g.cancel()
            g.join()
        assert ch.statistics().receivers == full.statistics().senders == 0

    gopark.run(main)


def test_weak_references_work() -> None:
    ch = Chan()
    assert weakref.ref(ch)() is ch


class Forgetful(Chan):
    def __init__(self) -> None:
        pass  # not super().__init__()


@pytest.mark.parametrize(
    "use",
    [
        lambda ch: ch.try_send(1),
        lambda ch: ch.try_recv(),
        lambda ch: ch.send(1),
        lambda ch: ch.recv(),
        lambda ch: ch.close(),
        lambda ch: ch.statistics(),
    ],
)
def test_subclass_that_forgets_to_initialize_gets_an_error(use: Any) -> None:
    with pytest.raises(AttributeError):
        gopark.run(use, Forgetful())


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_channels_cannot_be_copied(copied: Any) -> None:
    with pytest.raises(TypeError, match="a Chan cannot be copied or pickled"):
        copied(Chan(1))


def test_dump_calls_no_code_of_the_values_that_are_sent() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("a dump must not")

    def main() -> None:
        g = gopark.go(gopark.select, Chan().on_send(Loud()), Chan().on_recv())
        settle()
        assert ".on_send(...), <Chan" in gopark.stack()
        g.cancel()

    gopark.run(main)
