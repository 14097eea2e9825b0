"""The micro-benchmarks for asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import repeat

from _micro import BATCH, CHUNK, TIMERS, Result, anonymous_bytes, cpu_async, main, overshoot_async


async def nothing() -> None:
    pass


async def go_join(seconds: float) -> Result:
    async def chunk() -> None:
        await asyncio.gather(*[asyncio.create_task(nothing()) for _ in range(BATCH)])

    return await cpu_async(chunk, BATCH, seconds)


async def gosched(seconds: float) -> Result:
    async def yielding() -> None:
        for _ in repeat(None, CHUNK // 2):
            await asyncio.sleep(0)

    async def chunk() -> None:
        await asyncio.gather(yielding(), yielding())

    return await cpu_async(chunk, CHUNK, seconds)


async def channel_unbuffered(seconds: float) -> Result:
    # asyncio has no rendezvous; a queue of one is the nearest.
    ping: asyncio.Queue[None] = asyncio.Queue(1)
    pong: asyncio.Queue[None] = asyncio.Queue(1)

    async def echo() -> None:
        while True:
            await pong.put(await ping.get())

    async def chunk() -> None:
        for _ in repeat(None, CHUNK):
            await ping.put(None)
            await pong.get()

    task = asyncio.create_task(echo())
    result = await cpu_async(chunk, CHUNK, seconds)
    task.cancel()
    return result


async def channel_buffered(seconds: float) -> Result:
    queue: asyncio.Queue[None] = asyncio.Queue(16)

    async def chunk() -> None:
        for _ in repeat(None, CHUNK):
            await queue.put(None)
            await queue.get()

    return await cpu_async(chunk, CHUNK, seconds)


async def wake(seconds: float) -> Result:
    mine, other = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def answer() -> None:
        while True:
            await other.acquire()
            mine.release()

    async def chunk() -> None:
        for _ in repeat(None, CHUNK // 2):
            other.release()
            await mine.acquire()

    task = asyncio.create_task(answer())
    result = await cpu_async(chunk, CHUNK, seconds)
    task.cancel()
    return result


async def lock(seconds: float) -> Result:
    mutex = asyncio.Lock()

    async def chunk() -> None:
        for _ in repeat(None, CHUNK):
            await mutex.acquire()
            mutex.release()

    return await cpu_async(chunk, CHUNK, seconds)


async def set_deadline(seconds: float) -> Result:
    # asyncio has no deadline on a connection; the nearest is to move that of a timeout block.
    start = asyncio.get_running_loop().time() + 30
    deadlines = [start + i * 1e-3 for i in range(CHUNK)]

    async def chunk() -> None:
        async with asyncio.timeout_at(start) as timeout:
            for when in deadlines:
                timeout.reschedule(when)
        await asyncio.sleep(0)  # the loop sweeps out the cancelled timers

    return await cpu_async(chunk, CHUNK, seconds)


async def timers(seconds: float) -> Result:
    loop = asyncio.get_running_loop()

    async def chunk() -> None:
        armed = [loop.call_later(30, int) for _ in repeat(None, TIMERS)]
        for timer in armed:
            timer.cancel()
        await asyncio.sleep(0)  # the loop sweeps out the cancelled timers

    return await cpu_async(chunk, TIMERS, seconds)


async def sleep_overshoot(seconds: float) -> Result:
    return await overshoot_async(asyncio.sleep, seconds)


async def parked_memory(count: float) -> Result:
    started = 0

    async def parked() -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(3600)

    n = int(count)
    before = anonymous_bytes()
    tasks = [asyncio.create_task(parked()) for _ in range(n)]  # the loop itself holds them only weakly
    while started < n:
        await asyncio.sleep(0.01)
    result = {"value": (anonymous_bytes() - before) / n}
    for task in tasks:
        task.cancel()
    return result


def under_run(case: Callable[[float], Awaitable[Result]]) -> Callable[[float], Result]:
    async def run(amount: float) -> Result:
        return await case(amount)

    return lambda amount: asyncio.run(run(amount))


CASES = (
    go_join,
    gosched,
    channel_unbuffered,
    channel_buffered,
    wake,
    lock,
    set_deadline,
    timers,
    sleep_overshoot,
    parked_memory,
)

main({case.__name__: under_run(case) for case in CASES})
