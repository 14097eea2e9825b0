"""The micro-benchmarks for operating system threads with the standard library's threading and queue."""

import os
import socket
import threading
import time
from itertools import repeat
from queue import SimpleQueue

from _micro import BATCH, CHUNK, Result, anonymous_bytes, cpu, main, overshoot

FEW = 1_000  # where a switch between threads makes an operation slow


def nothing() -> None:
    pass


def go_join(seconds: float) -> Result:
    def chunk() -> None:
        threads = [threading.Thread(target=nothing) for _ in range(BATCH)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return cpu(chunk, BATCH, seconds)


def channel_unbuffered(seconds: float) -> Result:
    # There is no rendezvous in the standard library; its fastest queue is the nearest.
    ping: SimpleQueue[None] = SimpleQueue()
    pong: SimpleQueue[None] = SimpleQueue()

    def echo() -> None:
        while True:
            pong.put(ping.get())

    def chunk() -> None:
        for _ in repeat(None, FEW):
            ping.put(None)
            pong.get()

    threading.Thread(target=echo, daemon=True).start()
    return cpu(chunk, FEW, seconds)


def channel_buffered(seconds: float) -> Result:
    queue: SimpleQueue[None] = SimpleQueue()  # Queue, which can be bounded, costs about ten times as much

    def chunk() -> None:
        for _ in repeat(None, CHUNK):
            queue.put(None)
            queue.get()

    return cpu(chunk, CHUNK, seconds)


def wake(seconds: float) -> Result:
    mine, other = threading.Semaphore(0), threading.Semaphore(0)

    def answer() -> None:
        while True:
            other.acquire()
            mine.release()

    def chunk() -> None:
        for _ in repeat(None, FEW // 2):
            other.release()
            mine.acquire()

    threading.Thread(target=answer, daemon=True).start()
    return cpu(chunk, FEW, seconds)


def lock(seconds: float) -> Result:
    mutex = threading.Lock()

    def chunk() -> None:
        for _ in repeat(None, CHUNK):
            mutex.acquire()
            mutex.release()

    return cpu(chunk, CHUNK, seconds)


def pipe(seconds: float) -> Result:
    r, w = os.pipe()

    def chunk() -> None:
        for _ in repeat(None, CHUNK):
            os.write(w, b"x")
            os.read(r, 1)

    return cpu(chunk, CHUNK, seconds)


def set_deadline(seconds: float) -> Result:
    timeouts = [30 + i * 1e-3 for i in range(CHUNK)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as conn:

            def chunk() -> None:
                for timeout in timeouts:
                    conn.settimeout(timeout)

            return cpu(chunk, CHUNK, seconds)


def sleep_overshoot(seconds: float) -> Result:
    return overshoot(time.sleep, seconds)


def parked_memory(threads: float) -> Result:
    """Idle Thread objects that have all started, and wait for an Event."""
    count = min(int(threads), 10_000)
    end = threading.Event()
    started = threading.Semaphore(0)

    def idle() -> None:
        started.release()
        end.wait()

    threading.stack_size(64 * 1024)
    before = anonymous_bytes()
    for _ in range(count):
        threading.Thread(target=idle, daemon=True).start()
    for _ in range(count):
        started.acquire()
    used = anonymous_bytes() - before
    end.set()
    return {"value": used / count}


CASES = (
    go_join,
    channel_unbuffered,
    channel_buffered,
    wake,
    lock,
    pipe,
    set_deadline,
    sleep_overshoot,
    parked_memory,
)

main({case.__name__: case for case in CASES})
