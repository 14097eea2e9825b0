"""The micro-benchmarks for gevent."""

from itertools import repeat

import gevent
from _micro import BATCH, CHUNK, TIMERS, Result, anonymous_bytes, cpu, main, overshoot
from gevent.lock import BoundedSemaphore, Semaphore
from gevent.queue import Channel, Queue


def nothing():
    pass


def go_join(seconds: float) -> Result:
    return cpu(lambda: gevent.joinall([gevent.spawn(nothing) for _ in range(BATCH)]), BATCH, seconds)


def gosched(seconds: float) -> Result:
    def yielding():
        for _ in repeat(None, CHUNK // 2):
            gevent.sleep(0)

    return cpu(lambda: gevent.joinall([gevent.spawn(yielding), gevent.spawn(yielding)]), CHUNK, seconds)


def channel_unbuffered(seconds: float) -> Result:
    ping, pong = Channel(), Channel()

    def echo():
        while True:
            pong.put(ping.get())

    def chunk():
        for _ in repeat(None, CHUNK):
            ping.put(1)
            pong.get()

    gevent.spawn(echo)
    return cpu(chunk, CHUNK, seconds)


def channel_buffered(seconds: float) -> Result:
    queue = Queue(16)

    def chunk():
        for _ in repeat(None, CHUNK):
            queue.put(None)
            queue.get()

    return cpu(chunk, CHUNK, seconds)


def wake(seconds: float) -> Result:
    mine, other = Semaphore(0), Semaphore(0)

    def answer():
        while True:
            other.acquire()
            mine.release()

    def chunk():
        for _ in repeat(None, CHUNK // 2):
            other.release()
            mine.acquire()

    gevent.spawn(answer)
    return cpu(chunk, CHUNK, seconds)


def lock(seconds: float) -> Result:
    mutex = BoundedSemaphore(1)  # what gevent puts in the place of threading.Lock

    def chunk():
        for _ in repeat(None, CHUNK):
            mutex.acquire()
            mutex.release()

    return cpu(chunk, CHUNK, seconds)


def set_deadline(seconds: float) -> Result:
    # gevent has no deadline on a socket: bounding one wait means starting and closing a Timeout around it.
    timeouts = [30 + i * 1e-3 for i in range(CHUNK)]

    def chunk():
        for timeout in timeouts:
            gevent.Timeout.start_new(timeout).close()

    return cpu(chunk, CHUNK, seconds)


def timers(seconds: float) -> Result:
    loop = gevent.get_hub().loop

    def chunk():
        armed = [loop.timer(30) for _ in repeat(None, TIMERS)]
        for timer in armed:
            timer.start(nothing)
        for timer in armed:
            timer.close()

    return cpu(chunk, TIMERS, seconds)


def sleep_overshoot(seconds: float) -> Result:
    return overshoot(gevent.sleep, seconds)


def parked_memory(count: float) -> Result:
    started = 0

    def parked():
        nonlocal started
        started += 1
        gevent.sleep(3600)

    n = int(count)
    before = anonymous_bytes()
    for _ in range(n):
        gevent.spawn(parked)
    while started < n:
        gevent.sleep(0.01)
    return {"value": (anonymous_bytes() - before) / n}


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

main({case.__name__: case for case in CASES})
