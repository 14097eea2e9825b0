"""Collections and the network: one that ends polls it (S1), and none disturbs a switch."""

import gc
import socket

import pytest

import gopark
from gopark.runtime import netpoll, proc
from gopark.runtime.pollstate import MODE_R
from support import IS_COMPILED, eventually, goroutines, parked


@pytest.mark.parametrize("generation", [0, 2])
@goroutines
def test_collection_polls_the_network(generation: int) -> None:
    """S1: at the end of a collection netpoll is called, and whom it finds becomes runnable."""
    a, b = socket.socketpair()
    a.setblocking(False)
    pd = netpoll.poll_open(a.fileno())
    proc.getp().poller.netpoll(0)
    netpoll.poll_reset(pd, MODE_R)
    reader = parked(gopark.go(netpoll.poll_wait, pd, MODE_R), "IO wait")
    b.send(b"x")
    if IS_COMPILED:
        before = pd.state()[0]
        assert before == "G"

        def collected() -> bool:  # no scheduling decision in here
            gc.collect(generation)
            return pd.state()[0] == "PD_READY"

        # Not sooner than 100 us after the last poll: by the coarse clock, so it takes a few collections.
        for _ in range(1_000_000):
            if collected():
                break
        assert pd.state()[0] == "PD_READY" and not reader.done
    else:
        gc.collect(generation)
    assert reader.result(5) == 0
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    a.close()
    b.close()


@goroutines
def test_collections_at_every_allocation_disturb_nothing() -> None:
    from gopark import net

    a, b = net.pipe()

    def echo() -> None:
        while data := a.read():
            a.write(data)

    old = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        g = gopark.go(echo)
        for i in range(50):
            message = str(i).encode()
            b.write(message)
            assert b.read_exactly(len(message)) == message
            gopark.go(gopark.gosched).join(5)
        b.close()
        g.result(5)
    finally:
        gc.set_threshold(*old)
    a.close()


@goroutines
def test_cycle_through_a_finished_goroutine_is_collected() -> None:
    """A cycle through a finished goroutine is collected like any other."""
    import weakref

    class Node:
        pass

    node = Node()
    node.g = gopark.go(lambda n=node: n)  # type: ignore[attr-defined]
    node.g.join(5)  # type: ignore[attr-defined]
    ref = weakref.ref(node)
    del node
    gopark.go(int).join(5)
    gc.collect()
    assert eventually(lambda: gc.collect() is not None and ref() is None, 5)


@goroutines
def test_finalizers_that_use_the_runtime_are_harmless() -> None:
    ran: list[str] = []

    class Finalized:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            gopark.go(ran.append, "from a finalizer")

    for _ in range(10):
        Finalized()
    gc.collect()
    eventually(lambda: len(ran) == 10)
