"""A channel keeps what is in it, and nothing else, alive."""

import gc
import weakref
from collections.abc import Iterator

import pytest

import gopark
from gopark import Chan, go, select
from support import goroutines, settle


class Value:
    """Something that can be referred to weakly."""


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Reference counts alone: what only a collection would free counts as kept."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("cap", [0, 1, 20])
def test_received_value_is_not_kept(no_collections: None, cap: int) -> None:
    def main() -> None:
        ch = Chan(cap)
        for operation in (ch.recv, ch.try_recv, lambda: select(ch.on_recv())):
            value = Value()
            ref = weakref.ref(value)
            g = go(ch.send, value)
            settle()
            del value
            operation()
            g.join()
            del g
            assert ref() is None

    gopark.run(main)


@goroutines
def test_value_of_a_cancelled_sender_is_not_kept() -> None:
    ch = Chan()
    for send in (ch.send, lambda value: select(ch.on_send(value), ch.on_recv())):
        value = Value()
        ref = weakref.ref(value)
        g = go(send, value)
        settle()
        g.cancel()
        g.join()
        g.exception.__traceback__ = None  # type: ignore[union-attr]
        del g, value
        assert ref() is None


def test_unused_channel_is_freed_at_once(no_collections: None) -> None:
    def main() -> None:
        a, b, c = Chan(4), Chan(), Chan()
        refs = [weakref.ref(a), weakref.ref(b), weakref.ref(c)]
        a.send(1)
        select(a.on_recv(), b.on_recv())
        assert select(a.on_recv(), b.on_recv(), timeout=0.001)[0] == -1
        g = go(select, a.on_recv(), b.on_send(1), b.on_recv())
        h = go(c.recv)
        settle()
        g.cancel()
        h.cancel()
        g.join()
        h.join()
        g.exception.__traceback__ = h.exception.__traceback__ = None  # type: ignore[union-attr]
        del a, b, c, g, h
        assert [ref() for ref in refs] == [None, None, None]

    gopark.run(main)


@goroutines
def test_finalizer_that_uses_the_channel_it_was_in() -> None:
    log: list[object] = []

    class Talks:
        def __del__(self) -> None:
            log.append(ch.try_recv())
            log.append(ch.try_send("from a finalizer"))

    ch = Chan(2)
    ch.send(Talks())
    ch.send("next")
    ch.recv()  # the value dies at once
    assert log == [("next", True), True]
    assert ch.recv() == "from a finalizer"
    assert ch.try_recv() == (None, False)
