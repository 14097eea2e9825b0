"""Whole programs over channels: many goroutines, nothing lost, nothing doubled."""

import random
import time

import gopark
from gopark import Chan, go, select
from support import IS_COMPILED, goroutines


@goroutines
def test_token_goes_around_a_ring_of_ten_thousand() -> None:
    n = 10_000
    links = [Chan() for _ in range(n + 1)]

    def node(i: int) -> None:
        links[i + 1].send(links[i].recv() + 1)

    gs = [go(node, i) for i in range(n)]
    links[0].send(0)
    assert links[n].recv() == n
    for g in gs:
        g.result()


@goroutines
def test_concurrent_prime_sieve() -> None:
    def generate(out: Chan) -> None:
        for i in range(2, 1 << 30):
            out.send(i)

    def sieve(prime: int, source: Chan, out: Chan) -> None:
        for i in source:
            if i % prime:
                out.send(i)

    source = Chan()
    gs = [go(generate, source)]
    primes = []
    for _ in range(50):
        prime = source.recv()
        primes.append(prime)
        out = Chan()
        gs.append(go(sieve, prime, source, out))
        source = out
    assert primes[:5] == [2, 3, 5, 7, 11]
    assert primes[-1] == 229
    for g in gs:
        g.cancel()
    for g in gs:
        assert g.join(timeout=10)


@goroutines
def test_pipeline_of_stages_keeps_the_order() -> None:
    def stage(source: Chan, out: Chan) -> None:
        for v in source:
            out.send(v + 1)
        out.close()

    first = source = Chan(3)
    for cap in (0, 1, 5, 0):
        out = Chan(cap)
        go(stage, source, out)
        source = out

    def feed() -> None:
        for i in range(1000):
            first.send(i)
        first.close()

    go(feed)
    assert list(source) == [i + 4 for i in range(1000)]


@goroutines
def test_sends_through_a_thousand_goroutines_in_any_order_arrive_once() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")  # shown if the test fails
    rng = random.Random(seed)
    workers = 1000
    total = 1_000_000 if IS_COMPILED else 50_000
    chans = [Chan(rng.choice((0, 0, 1, 2, 7, 64))) for _ in range(20)]
    results = Chan(100)
    each = total // workers

    def producer(base: int) -> None:
        r = random.Random(seed + base)
        i = base
        end = base + each
        while i < end:
            how = r.random()
            ch = chans[int(how * 1e6) % len(chans)]
            if how < 0.6:
                ch.send(i)
            elif how < 0.8:
                if not ch.try_send(i):
                    continue_later(r)
                    continue
            else:
                other = chans[int(how * 1e9) % len(chans)]
                index, _value, _ok = select(ch.on_send(i), other.on_send(i), timeout=5 if how < 0.9 else None)
                if index < 0:
                    continue
            i += 1

    def continue_later(r: random.Random) -> None:
        if r.random() < 0.5:
            gopark.gosched()

    def consumer(ch: Chan, n: int) -> None:
        r = random.Random(seed - n)
        seen = []
        open_ = True
        while open_:
            how = r.random()
            if how < 0.5:
                value, open_ = ch.recv_ok()
            elif how < 0.6:
                value, ok = ch.try_recv()
                if not ok:
                    gopark.gosched()
                    continue
            else:
                _index, value, open_ = select(ch.on_recv(), None, ch.on_recv())
            if open_:
                seen.append(value)
        results.send(seen)

    producers = [go(producer, n * each) for n in range(workers // 2)]
    producers += [go(producer, n * each) for n in range(workers // 2, workers)]
    consumers = [go(consumer, ch, n) for n in range(3) for ch in chans]
    for g in producers:
        g.result()
    for ch in chans:
        ch.close()
    counts = bytearray(total)
    for _ in consumers:
        for value in results.recv():
            counts[value] += 1
    assert counts == b"\1" * total
