"""In which order the scheduler looks for work, and that no source of work starves another."""

import socket

import gopark
from gopark.runtime import _sys, netpoll, polldesc, proc
from gopark.runtime.pollstate import MODE_R
from gopark.runtime.sema import WaitQ
from gopark.runtime.timers import Timer
from support import eventually, goroutines, parked, started

FAIR = 61


def align() -> None:
    """Leave a full round until the next tick that prefers the global queue.  (While only main runs.)"""
    while proc.getp().schedtick % FAIR != 1:
        gopark.gosched()


@goroutines
def test_new_goroutines_run_in_their_order() -> None:
    log: list[int] = []
    align()
    gs = [gopark.go(log.append, i) for i in range(40)]
    for g in gs:
        g.join(5)
    assert log == list(range(40))


@goroutines
def test_local_queue_comes_before_the_global_one() -> None:
    """gosched goes to the global queue's tail: all that is on the local queue runs first."""
    log: list[str] = []

    def body(name: str) -> None:
        log.append(name)
        gopark.gosched()
        log.append(name + " again")

    align()
    gopark.go(body, "a")
    gopark.go(body, "b")
    gopark.gosched()
    log.append("main")
    gopark.sleep(0.001)
    # main went to the global queue first, then a, then b
    assert log == ["a", "b", "main", "a again", "b again"]


@goroutines
def test_readied_goroutine_runs_next() -> None:
    q = WaitQ()
    log: list[str] = []

    def waiter() -> None:
        q.park("test")
        log.append("waiter")

    g = parked(gopark.go(waiter))
    align()
    others = [gopark.go(log.append, "other") for _ in range(3)]
    q.wake_one()
    gopark.gosched()
    assert log[0] == "waiter"
    for other in (*others, g):
        other.join(5)


@goroutines
def test_every_61st_tick_takes_from_the_global_queue() -> None:
    """A local queue that never empties does not starve the global one."""
    turns = 0
    stop = False

    def respawn() -> None:
        nonlocal turns
        turns += 1
        if not stop:
            gopark.go(respawn)  # the local queue is never empty

    align()
    for _ in range(3):
        gopark.go(respawn)
    before = turns
    gopark.gosched()  # main waits on the global queue
    assert turns - before <= FAIR + 1
    stop = True


@goroutines
def test_preempted_goroutine_runs_beside_one_that_only_calls_gosched() -> None:
    """Both kinds of waiting share the fair ticks: gosched alone keeps the global queue from ever being empty."""
    stop = False
    runs = 0

    def hog() -> None:
        nonlocal runs
        while not stop:
            runs += 1
            proc.getp().preempt()  # what the SIGURG handler does

    align()
    g = gopark.go(hog)
    gopark.gosched()
    for n in range(2, 7):
        tick = proc.getp().schedtick
        while runs < n and proc.getp().schedtick - tick < 10 * FAIR:
            gopark.gosched()
        assert runs == n and proc.getp().schedtick - tick <= 2 * FAIR + 1
    stop = True
    g.join(5)


@goroutines
def test_two_that_ready_each_other_starve_nobody() -> None:
    """A runnext chain is bounded: a third goroutine, a timer and the network get their turns."""
    ping, pong = WaitQ(), WaitQ()
    stop = False
    hops = 0

    def player(mine: WaitQ, other: WaitQ) -> None:
        nonlocal hops
        while not stop:
            hops += 1
            other.wake_one()
            mine.park("its turn")
        other.wake_one()

    a, b = socket.socketpair()
    a.setblocking(False)
    pd = netpoll.poll_open(a.fileno())
    netpoll.poll_reset(pd, MODE_R)
    reader = parked(gopark.go(netpoll.poll_wait, pd, MODE_R))
    players = [started(gopark.go(player, ping, pong)), gopark.go(player, pong, ping)]
    third = gopark.go(lambda: hops)
    b.send(b"x")
    assert third.join(10) and reader.join(10)
    begin = hops
    gopark.sleep(0.001)
    assert hops > begin, "they did not play meanwhile"
    stop = True
    ping.wake_all()
    pong.wake_all()
    assert all(p.join(5) for p in players)
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    a.close()
    b.close()


@goroutines
def test_network_is_polled_while_the_queues_never_empty() -> None:
    stop = False

    def busy() -> None:
        while not stop:
            gopark.gosched()

    gs = [gopark.go(busy) for _ in range(3)]
    a, b = socket.socketpair()
    a.setblocking(False)
    pd = netpoll.poll_open(a.fileno())
    for _ in range(20):
        netpoll.poll_reset(pd, MODE_R)
        reader = parked(gopark.go(netpoll.poll_wait, pd, MODE_R), "IO wait")
        tick = proc.getp().schedtick
        b.send(b"x")
        assert reader.join(10)
        # 256 ticks until it is polled, then one turn of a queue with a handful of goroutines
        assert proc.getp().schedtick - tick < 2 * 256
        assert a.recv(1) == b"x"
    stop = True
    assert all(g.join(5) for g in gs)
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    a.close()
    b.close()


@goroutines
def test_expired_timers_come_first() -> None:
    log: list[str] = []
    timers = proc.getp().timers
    gopark.go(log.append, "goroutine")
    when = proc.nanotime()
    timers.modify(Timer(lambda arg, seq: log.append(arg), "timer"), when, 0)
    while _sys.coarsetime() < when:  # between two goroutines the scheduler looks at the coarse clock
        pass
    gopark.gosched()
    eventually(lambda: len(log) == 2)
    assert log == ["timer", "goroutine"]


@goroutines
def test_pollwork_is_known_before_blocking() -> None:
    """G15: with work in a queue the scheduler does not block; without, it polls and counts that."""
    polls = proc.getp().poller.counters()[0]
    gopark.sleep(0.001)
    assert proc.getp().poller.counters()[0] > polls
    assert proc.getp().runqsize() == 0
    g = gopark.go(int)
    assert proc.getp().runqsize() == 1
    assert g.result(5) == 0


@goroutines
def test_gosched_alone_returns_at_once() -> None:
    for _ in range(1000):
        gopark.gosched()
    assert polldesc.waiters() == 0
