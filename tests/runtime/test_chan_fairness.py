"""A hot channel does not keep others from running, nor others a channel."""

import gopark
from gopark import Chan, go, select
from support import goroutines


def echo(ping: Chan, pong: Chan) -> None:
    for value in ping:
        pong.send(value)


@goroutines
def test_timer_fires_beside_a_hot_channel_loop() -> None:
    ping, pong, fired = Chan(), Chan(), Chan(1)

    def timer() -> None:
        gopark.sleep(0.005)
        fired.send("fired")

    go(echo, ping, pong)
    go(timer)
    while not len(fired):  # ends by the test's time limit if the pair keeps the scheduler for itself
        ping.send(1)
        pong.recv()
    ping.close()


@goroutines
def test_select_time_out_fires_beside_a_hot_channel_loop() -> None:
    ping, pong, never = Chan(), Chan(), Chan()
    go(echo, ping, pong)
    waiter = go(select, never.on_recv(), timeout=0.005)
    while not waiter.done:
        ping.send(1)
        pong.recv()
    assert waiter.result() == (-1, None, False)
    ping.close()


@goroutines
def test_hot_channel_pair_does_not_starve_a_runnable_goroutine() -> None:
    ping, pong = Chan(), Chan()
    turns = 0

    def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            gopark.gosched()

    go(echo, ping, pong)
    g = go(other)
    while turns < 100:
        ping.send(1)
        pong.recv()
    ping.close()
    g.cancel()


@goroutines
def test_hogs_that_only_yield_do_not_starve_a_channel_pair() -> None:
    ping, pong = Chan(), Chan()
    stop = False

    def hog() -> None:
        while not stop:
            gopark.gosched()

    hogs = [go(hog) for _ in range(10)]
    go(echo, ping, pong)
    for i in range(1000):
        ping.send(i)
        assert pong.recv() == i
    stop = True
    ping.close()
    for g in hogs:
        g.result()


@goroutines
def test_all_channels_of_a_busy_select_are_served() -> None:
    chans = [Chan() for _ in range(5)]

    def producer(ch: Chan) -> None:
        while True:
            ch.send(None)

    gs = [go(producer, ch) for ch in chans]
    cases = [ch.on_recv() for ch in chans]
    counts = [0] * len(chans)
    while min(counts) < 50:
        counts[select(*cases)[0]] += 1
    for g in gs:
        g.cancel()
