"""The micro-benchmarks for gopark."""

from collections.abc import Callable
from itertools import repeat

from _micro import BATCH, CHUNK, TIMERS, Result, anonymous_bytes, cpu, main, overshoot

import gopark
from gopark import net, sync, time


def nothing() -> None:
    pass


def go_join(seconds: float) -> Result:
    def chunk() -> None:
        gs = [gopark.go(nothing) for _ in range(BATCH)]
        for g in gs:
            g.join()

    return cpu(chunk, BATCH, seconds)


def gosched(seconds: float) -> Result:
    def yielding() -> None:
        for _ in repeat(None, CHUNK // 2):
            gopark.gosched()

    def chunk() -> None:
        gs = [gopark.go(yielding), gopark.go(yielding)]
        for g in gs:
            g.join()

    return cpu(chunk, CHUNK, seconds)


def channel_unbuffered(seconds: float) -> Result:
    ping, pong = gopark.Chan(), gopark.Chan()

    def echo() -> None:
        for value in ping:
            pong.send(value)

    def chunk() -> None:
        for _ in repeat(None, CHUNK):
            ping.send(None)
            pong.recv()

    gopark.go(echo)
    return cpu(chunk, CHUNK, seconds)


def channel_buffered(seconds: float) -> Result:
    ch = gopark.Chan(16)

    def chunk() -> None:
        for _ in repeat(None, CHUNK):
            ch.send(None)
            ch.recv()

    return cpu(chunk, CHUNK, seconds)


def select(seconds: float) -> Result:
    a, b = gopark.Chan(CHUNK), gopark.Chan(CHUNK)

    def chunk() -> None:
        for _ in repeat(None, CHUNK // 2):
            gopark.select(a.on_send(None), b.on_send(None))
        for _ in repeat(None, CHUNK // 2):
            gopark.select(a.on_recv(), b.on_recv())

    return cpu(chunk, CHUNK, seconds)


def wake(seconds: float) -> Result:
    mine, other = sync.Semaphore(1), sync.Semaphore(1)
    mine.acquire()
    other.acquire()

    def answer() -> None:
        while True:
            other.acquire()
            mine.release()

    def chunk() -> None:
        for _ in repeat(None, CHUNK // 2):
            other.release()
            mine.acquire()

    gopark.go(answer)
    return cpu(chunk, CHUNK, seconds)


def lock(seconds: float) -> Result:
    mutex = sync.Mutex()

    def chunk() -> None:
        for _ in repeat(None, CHUNK):
            mutex.lock()
            mutex.unlock()

    return cpu(chunk, CHUNK, seconds)


def set_deadline(seconds: float) -> Result:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as conn, listener.accept():

            def chunk() -> None:
                for when in deadlines:
                    conn.set_read_deadline(when)

            start = time.now() + 30
            deadlines = [start + i * 1e-3 for i in range(CHUNK)]
            return cpu(chunk, CHUNK, seconds)


def timers(seconds: float) -> Result:
    def chunk() -> None:
        armed = [time.Timer(30) for _ in repeat(None, TIMERS)]
        for timer in armed:
            timer.stop()

    return cpu(chunk, TIMERS, seconds)


def sleep_overshoot(seconds: float) -> Result:
    return overshoot(gopark.sleep, seconds)


def parked_memory(count: float) -> Result:
    started = 0

    def parked() -> None:
        nonlocal started
        started += 1
        gopark.sleep(3600)

    n = int(count)
    before = anonymous_bytes()
    for _ in range(n):
        gopark.go(parked)
    while started < n:
        gopark.sleep(0.01)
    return {"value": (anonymous_bytes() - before) / n}


def under_run(case: Callable[[float], Result]) -> Callable[[float], Result]:
    return lambda amount: gopark.run(case, amount)


CASES = (
    go_join,
    gosched,
    channel_unbuffered,
    channel_buffered,
    select,
    wake,
    lock,
    set_deadline,
    timers,
    sleep_overshoot,
    parked_memory,
)

main({case.__name__: under_run(case) for case in CASES})
