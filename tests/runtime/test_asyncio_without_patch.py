"""asyncio.run in goroutines of a process that is not patched: what docs/runtime.md says of it."""

import asyncio
import threading

import pytest

import gopark
from gopark import go
from support import goroutines, parked


@goroutines
def test_a_second_asyncio_run_is_refused_and_does_not_harm_the_first() -> None:
    gate = gopark.Chan()

    async def first() -> str:
        gate.recv()
        await asyncio.sleep(0)
        return "first"

    async def second() -> str:
        return "second"

    g = parked(go(lambda: asyncio.run(first())))
    coroutine = second()
    with pytest.raises(RuntimeError, match="running event loop"):
        asyncio.run(coroutine)
    coroutine.close()
    gate.send(None)
    assert g.result(5) == "first"
    assert asyncio.run(second()) == "second"


@goroutines
def test_event_loops_on_threads_of_their_own_run_at_once() -> None:
    both = threading.Barrier(2)

    async def meet() -> int:
        await asyncio.sleep(0)
        return both.wait(5)

    gs = [go(gopark.blocking, asyncio.run, meet()) for _ in range(2)]
    assert sorted(g.result(10) for g in gs) == [0, 1]
