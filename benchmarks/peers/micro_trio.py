"""The micro-benchmarks for trio."""

from collections.abc import Awaitable, Callable
from itertools import repeat

import trio
from _micro import BATCH, CHUNK, Result, anonymous_bytes, cpu_async, main, overshoot_async


async def nothing() -> None:
    pass


async def go_join(seconds: float) -> Result:
    async def chunk() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(nothing)

    return await cpu_async(chunk, BATCH, seconds)


async def gosched(seconds: float) -> Result:
    async def yielding() -> None:
        for _ in repeat(None, CHUNK // 2):
            await trio.sleep(0)

    async def chunk() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(yielding)
            nursery.start_soon(yielding)

    return await cpu_async(chunk, CHUNK, seconds)


async def channel_unbuffered(seconds: float) -> Result:
    send_ping, receive_ping = trio.open_memory_channel[None](0)
    send_pong, receive_pong = trio.open_memory_channel[None](0)

    async def echo() -> None:
        async for value in receive_ping:
            await send_pong.send(value)

    async def chunk() -> None:
        for _ in repeat(None, CHUNK):
            await send_ping.send(None)
            await receive_pong.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        result = await cpu_async(chunk, CHUNK, seconds)
        nursery.cancel_scope.cancel()
    return result


async def channel_buffered(seconds: float) -> Result:
    send, receive = trio.open_memory_channel[None](16)

    async def chunk() -> None:
        for _ in repeat(None, CHUNK):
            await send.send(None)
            await receive.receive()

    return await cpu_async(chunk, CHUNK, seconds)


async def wake(seconds: float) -> Result:
    mine, other = trio.Semaphore(0), trio.Semaphore(0)

    async def answer() -> None:
        while True:
            await other.acquire()
            mine.release()

    async def chunk() -> None:
        for _ in repeat(None, CHUNK // 2):
            other.release()
            await mine.acquire()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        result = await cpu_async(chunk, CHUNK, seconds)
        nursery.cancel_scope.cancel()
    return result


async def lock(seconds: float) -> Result:
    mutex = trio.Lock()

    async def chunk() -> None:
        for _ in repeat(None, CHUNK):
            await mutex.acquire()
            mutex.release()

    return await cpu_async(chunk, CHUNK, seconds)


async def set_deadline(seconds: float) -> Result:
    # trio has no deadline on a stream; the nearest is to move that of a cancel scope.
    start = trio.current_time() + 30
    deadlines = [start + i * 1e-3 for i in range(CHUNK)]

    async def chunk() -> None:
        with trio.CancelScope() as scope:
            for when in deadlines:
                scope.deadline = when
            await trio.sleep(0)

    return await cpu_async(chunk, CHUNK, seconds)


async def sleep_overshoot(seconds: float) -> Result:
    return await overshoot_async(trio.sleep, seconds)


async def parked_memory(count: float) -> Result:
    started = 0

    async def parked() -> None:
        nonlocal started
        started += 1
        await trio.sleep(3600)

    n = int(count)
    before = anonymous_bytes()
    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(parked)
        while started < n:
            await trio.sleep(0.01)
        result = {"value": (anonymous_bytes() - before) / n}
        nursery.cancel_scope.cancel()
    return result


def under_run(case: Callable[[float], Awaitable[Result]]) -> Callable[[float], Result]:
    return lambda amount: trio.run(case, amount)


CASES = (
    go_join,
    gosched,
    channel_unbuffered,
    channel_buffered,
    wake,
    lock,
    set_deadline,
    sleep_overshoot,
    parked_memory,
)

main({case.__name__: under_run(case) for case in CASES})
