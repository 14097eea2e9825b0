"""A lock's waiters in every order of releases, new takers, cancellations and turns; and at random, beside threads."""

from hooked import patched


def test_every_order_of_five_events_forgets_nobody() -> None:
    # release: by main, if it has it; take: by main, if it is free; 0, 1, 2: who is cancelled; turn: of all.
    patched("""
        import itertools
        from gopark.hook import _hook
        def story(events):
            lock = threading.Lock()
            got = []
            def waits(i):
                with lock:
                    got.append(i)
                    gopark.gosched()
            lock.acquire()
            mine = True
            waiters = [go(waits, i) for i in range(3)]
            gopark.gosched()
            for event in events:
                if event == "release" and mine:
                    mine = False
                    lock.release()
                elif event == "take" and not mine:
                    mine = lock.acquire(False)
                elif event == "turn":
                    gopark.gosched()
                elif isinstance(event, int):
                    waiters[event].cancel()
            if mine:
                lock.release()
            for i, g in enumerate(waiters):
                assert g.join(10), f"waits for ever: {i} of {events}"
                assert i in got or isinstance(g.exception, gopark.Cancelled), (i, events)
            assert not lock.locked() and _hook.locks_waiting() == 0, events
        for events in itertools.product(("release", "take", "turn", 0, 1, 2), repeat=5):
            story(events)
    """)


def test_random_mix_of_goroutines_threads_timeouts_and_cancellations() -> None:
    patched("""
        import random
        from gopark.hook import _hook
        from gopark.runtime import sysmon
        sysmon.set_slice(1_000_000)
        seed = random.randrange(1 << 30)
        print("seed", seed)
        rnd = random.Random(seed)
        locks = [threading.Lock() for _ in range(3)]
        inside = [0, 0, 0]
        def uses(turns, rest):
            for _ in range(turns):
                k = rnd.randrange(3)
                if locks[k].acquire(timeout=rnd.choice((-1, 0.0001, 0.002))):
                    try:
                        inside[k] += 1
                        assert inside[k] == 1
                        rest()
                        inside[k] -= 1
                    finally:
                        if inside[k]:
                            inside[k] = 0  # cancelled in rest
                        locks[k].release()
        def rests():
            gopark.sleep(rnd.random() / 3000) if rnd.random() < 0.5 else sum(range(500))
        users = [go(uses, 60, rests) for _ in range(60)]
        users += [go(gopark.blocking, uses, 60, lambda: sum(range(500))) for _ in range(4)]
        def cancels():
            for g in rnd.sample(users[:60], 20):
                gopark.sleep(0.001)
                g.cancel()
        go(cancels).result()
        for g in users:
            assert g.join(25), gopark.stack()
            assert g.exception is None or isinstance(g.exception, gopark.Cancelled), repr(g.exception)
        assert not any(lock.locked() for lock in locks) and _hook.locks_waiting() == 0
    """)
