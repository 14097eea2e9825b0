"""Who waits at most how long for the processor: the bounds of docs/runtime.md, counted in scheduling decisions.

Each is tried beside the worst neighbours that there are: goroutines that keep readying one another, so that the local queue
never empties, pairs that share `runnext`, and hogs."""

import contextlib
from collections.abc import Iterator

import pytest

import gopark
from gopark import Chan, go, net
from gopark.runtime import proc, sysmon
from support import goroutines

# docs/runtime.md, "The fairness promise".
LOCAL = 63  # decisions for each goroutine before one in the local queue, and itself
GLOBAL = 122  # the same, of the global queue and of the preempted
POLL = 256  # decisions between two polls


@contextlib.contextmanager
def neighbours(size: int = 8, tokens: int = 4) -> Iterator[None]:
    """Goroutines that pass tokens round: whenever one parks, others are runnable, one of them in runnext."""
    chans = [Chan(tokens) for _ in range(size)]
    stopped = False

    def pass_on(i: int) -> None:
        for token in chans[i]:
            if stopped:
                break
            chans[(i + 1) % size].send(token)

    members = [go(pass_on, i) for i in range(size)]
    for token in range(tokens):
        chans[token].send(token)
    gopark.gosched()
    before = proc.getp().schedtick
    gopark.gosched()
    assert proc.getp().schedtick - before > 5, "the neighbours are to be busy"
    try:
        yield
    finally:
        stopped = True
        for chan in chans:
            chan.close()
        for member in members:
            member.join()
            assert member.exception is None or isinstance(member.exception, gopark.ChanClosed)


@pytest.mark.parametrize("ahead", [0, 1, 10])
@goroutines
def test_a_new_goroutine_runs_within_the_bound_of_the_local_queue(ahead: int) -> None:
    p = proc.getp()
    waited: list[int] = []

    def probe(created: int, before: int) -> None:
        waited.append((p.schedtick - created) / (before + 1))

    with neighbours():
        for _ in range(50):
            others = [go(int) for _ in range(ahead)]
            goroutine = go(probe, p.schedtick, p.runq.size)
            goroutine.join()
            for other in others:
                other.join()
    assert len(waited) == 50
    assert max(waited) <= LOCAL


@pytest.mark.parametrize("ahead", [0, 1, 5])
@goroutines
def test_who_yields_runs_within_the_bound_of_the_global_queue(ahead: int) -> None:
    p = proc.getp()
    waited: list[float] = []
    done = False

    def yielder() -> None:
        while not done:
            gopark.gosched()

    with neighbours():
        others = [go(yielder) for _ in range(ahead)]
        for _ in range(20):
            before = p.globq.size
            start = p.schedtick
            gopark.gosched()
            waited.append((p.schedtick - start) / (before + 1))
        done = True
        for other in others:
            other.join()
    assert max(waited) <= GLOBAL


@pytest.mark.parametrize("hogs", [1, 3])
@goroutines
def test_who_was_preempted_runs_within_the_bound_of_the_preempted(hogs: int) -> None:
    p = proc.getp()
    waited: list[int] = []

    def hog() -> None:
        last = p.schedtick
        while len(waited) < 20:
            now = p.schedtick
            if now != last:
                waited.append(now - last)
                last = now

    sysmon.set_slice(1_000_000)
    try:
        with neighbours():
            for goroutine in [go(hog) for _ in range(hogs)]:
                goroutine.join()
    finally:
        sysmon.set_slice(sysmon.SLICE_NS)
    assert max(waited) <= GLOBAL * hogs


@goroutines
def test_a_descriptor_that_is_ready_is_seen_within_the_bound_of_polls() -> None:
    p = proc.getp()
    a, b = net.pipe()
    waited: list[int] = []

    def reader() -> None:
        while a.read():
            waited.append(p.schedtick)

    goroutine = go(reader)
    with neighbours():
        for n in range(20):
            start = p.schedtick
            b.write(b"x")
            before = p.runq.size
            while len(waited) == n:
                before = max(before, p.runq.size)
                gopark.gosched()
            waited[n] -= start
            assert waited[n] <= POLL + LOCAL * (before + 1)
    b.close()
    goroutine.join()
    a.close()
