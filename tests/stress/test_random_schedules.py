"""A thousand goroutines do random things to one another; afterwards everything is where it was.

GOPARK_STRESS_SECONDS sets how long (default 12), GOPARK_STRESS_SEED repeats a run's random choices."""

import os
import random
import time
from typing import Any

import pytest

import gopark
from gopark import go, net, sync
from gopark.runtime import polldesc, proc, sysmon
from gopark.runtime.sema import WaitQ
from support import descriptors, eventually

SECONDS = float(os.environ.get("GOPARK_STRESS_SECONDS", "12"))
GOROUTINES = 1000


class World:
    """What the goroutines share: connections that anybody may close, locks, channels, and one another."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.end = time.monotonic() + SECONDS
        self.pairs: list[tuple[net.Conn, net.Conn]] = [net.pipe() for _ in range(100)]
        self.chans: list[gopark.Chan] = [gopark.Chan(i % 4) for i in range(20)]
        self.queue = WaitQ()
        self.mutexes = [sync.Mutex() for _ in range(10)]
        self.holders = [0] * len(self.mutexes)  # goroutines that hold each: 0 or 1
        self.rwmutex = sync.RWMutex()
        self.writers = 0
        self.readers: set[gopark.Goroutine] = set()
        self.semaphore = sync.Semaphore(20)
        self.acquired: dict[gopark.Goroutine, int] = {}
        self.cond = sync.Cond(sync.Mutex())
        self.goroutines: list[gopark.Goroutine] = []
        self.listener = net.listen("tcp", "127.0.0.1:0")
        self.ops = 0
        self.cancelled = 0

    def over(self) -> bool:
        return time.monotonic() >= self.end


def io(w: World) -> None:
    a, b = w.rng.choice(w.pairs)
    a.set_deadline(gopark.time.now() + w.rng.random() * 0.02)
    if w.rng.random() < 0.5:
        a, b = b, a
    if w.rng.random() < 0.5:
        a.read(w.rng.choice((1, 100, 65536)))
    else:
        a.write(bytes(w.rng.choice((1, 100, 100_000))))


def close(w: World) -> None:
    i = w.rng.randrange(len(w.pairs))
    with gopark.no_preempt():  # or two of them would take the same pair, and lose a new one
        pair, w.pairs[i] = w.pairs[i], net.pipe()
    for conn in pair:
        conn.close()


def tcp(w: World) -> None:
    with net.dial("tcp", f"127.0.0.1:{w.listener.addr[1]}", timeout=2) as conn:
        conn.set_timeout(0.5)
        data = os.urandom(w.rng.choice((1, 1000)))
        conn.write(data)
        assert conn.read_exactly(len(data)) == data


def sleeping(w: World) -> None:
    gopark.sleep(w.rng.choice((0, 0.0001, 0.001, 0.01)))


def channels(w: World) -> None:
    ch, other = w.rng.choice(w.chans), w.rng.choice(w.chans)
    gopark.select(ch.on_recv(), other.on_send(w.ops), timeout=w.rng.random() * 0.01)


def waiting(w: World) -> None:
    if w.rng.random() < 0.5:
        w.queue.park_until("stress", proc.deadline_after(w.rng.randrange(1, 10_000_000)))
    else:
        w.queue.wake_one()


def pause(w: World) -> None:
    # With the lock held, so that others come to wait for it.
    how = w.rng.random()
    if how < 0.3:
        gopark.gosched()
    elif how < 0.4:
        gopark.sleep(w.rng.random() * 0.001)


def locks(w: World) -> None:
    i = w.rng.randrange(len(w.mutexes))
    if w.mutexes[i].lock(w.rng.choice((None, 0, 0.0005))):
        try:
            w.holders[i] += 1
            pause(w)
            assert w.holders[i] == 1, "two hold one mutex"
        finally:
            w.holders[i] -= 1
            w.mutexes[i].unlock()


def rwlocks(w: World) -> None:
    if w.rng.random() < 0.8:
        if w.rwmutex.rlock(w.rng.choice((None, 0, 0.0005))):
            try:
                w.readers.add(gopark.current())
                pause(w)
                assert w.writers == 0, "a reader beside a writer"
            finally:
                w.readers.remove(gopark.current())
                w.rwmutex.runlock()
    elif w.rwmutex.lock(w.rng.choice((None, 0, 0.0005))):
        try:
            w.writers += 1
            pause(w)
            assert (w.writers, len(w.readers)) == (1, 0), "a writer beside others"
        finally:
            w.writers -= 1
            w.rwmutex.unlock()


def semaphores(w: World) -> None:
    n = w.rng.choice((1, 1, 2, 20))
    if w.semaphore.acquire(n, timeout=w.rng.choice((None, 0, 0.0005))):
        try:
            w.acquired[gopark.current()] = n
            pause(w)
            assert sum(list(w.acquired.values())) <= 20, "more than there are"
        finally:
            del w.acquired[gopark.current()]
            w.semaphore.release(n)


def conditions(w: World) -> None:
    if w.rng.random() < 0.5:
        with w.cond:
            w.cond.wait(w.rng.random() * 0.005)
            assert w.cond.mutex.locked
    else:
        w.rng.choice((w.cond.signal, w.cond.broadcast))()


def cancelling(w: World) -> None:
    w.rng.choice(w.goroutines).cancel()


def joining(w: World) -> None:
    go(gopark.gosched).join(w.rng.random() * 0.001)


def threads(w: World) -> None:
    gopark.blocking(time.sleep, 0.0001)


def deadlines(w: World) -> None:
    a, _ = w.rng.choice(w.pairs)
    a.set_read_deadline(w.rng.choice((None, 0, gopark.time.now() + 0.001)))


LOCKS = (locks, rwlocks, semaphores, conditions)
OPERATIONS = (io, io, io, close, tcp, sleeping, channels, waiting, *LOCKS, cancelling, joining, deadlines)


def worker(w: World) -> None:
    while not w.over():
        operation = threads if w.rng.random() < 0.01 else w.rng.choice(OPERATIONS)
        try:
            operation(w)
            if w.rng.random() < 0.2:
                gopark.gosched()
        except (net.ClosedError, TimeoutError, OSError, EOFError):
            pass
        except gopark.Cancelled:
            w.cancelled += 1
        w.ops += 1


def echo(conn: net.Conn) -> None:
    with conn:
        try:
            while data := conn.read():
                conn.write(data)
        except OSError:
            pass


def serve(w: World) -> None:
    for conn in w.listener:
        go(echo, conn)


def main(seed: int) -> tuple[int, int]:
    sysmon.set_slice(50_000)
    w = World(random.Random(seed))
    go(serve, w)
    with gopark.no_preempt():  # they choose among all
        w.goroutines = [go(worker, w) for _ in range(GOROUTINES)]
    while not w.over():
        gopark.sleep(0.1)
    # Somebody may read without a deadline what nobody will write any more.
    while any(not g.done for g in w.goroutines):
        for pair in w.pairs:
            for conn in pair:
                conn.close()
        gopark.sleep(0.01)
    w.listener.close()
    for g in w.goroutines:
        if not isinstance(g.exception, gopark.Cancelled):  # before its first round, or after its last
            g.result()
    eventually(lambda: gopark.num_goroutine() == 1)
    for lock in (*w.mutexes, w.semaphore, w.cond, w.cond.mutex):
        assert lock.statistics().waiting == 0
    assert not any(mutex.locked for mutex in (*w.mutexes, w.rwmutex, w.cond.mutex))
    stats = w.rwmutex.statistics()
    assert (stats.readers, stats.waiting_readers, stats.waiting_writers) == (0, 0, 0)
    assert w.semaphore.statistics().free == 20 and not any(w.holders)
    return w.ops, w.cancelled


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 90)
def test_everything_is_consistent_after_random_operations() -> None:
    seed = int(os.environ.get("GOPARK_STRESS_SEED", random.randrange(1 << 30)))
    print(f"GOPARK_STRESS_SEED={seed}")
    fds = len(descriptors())
    open_before = open_polldescs()
    before = gopark.statistics().preemptions
    try:
        ops, cancelled = gopark.run(main, seed)
    finally:
        sysmon.set_slice(sysmon.SLICE_NS)
    print(f"{ops} operations, {cancelled} cancelled, {gopark.statistics().preemptions - before} preemptions")
    assert ops > GOROUTINES
    assert polldesc.waiters() == 0
    p = proc.getp()
    assert (p.runqsize(), len(p.timers), p.external) == (0, 0, 0)
    assert open_polldescs() == open_before
    assert len(descriptors()) <= fds + 8  # the poller's and the runtime's own, if this was the first run


def open_polldescs() -> int:
    s: Any = gopark.statistics()
    return int(s.polldescs - s.free_polldescs)
