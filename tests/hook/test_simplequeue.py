"""queue.SimpleQueue: written in C, with CPython 3.13's parking lot under it, and locks before."""

from hooked import patched


def test_goroutines_and_native_threads_share_one() -> None:
    patched("""
        import queue
        q = queue.SimpleQueue()
        got = []
        def takes(n):
            for _ in range(n):
                got.append(q.get())
        def puts(k):
            for i in range(200):
                q.put((k, i))
        workers = [go(takes, 200) for _ in range(15)] + [go(puts, k) for k in range(10)]
        workers += [go(gopark.blocking, puts, k) for k in range(10, 20)]
        workers += [go(gopark.blocking, takes, 200) for _ in range(5)]
        for g in workers:
            g.result(25)
        assert sorted(got) == [(k, i) for k in range(20) for i in range(200)] and q.empty()
    """)


def test_timeout_and_cancellation_lose_no_item() -> None:
    patched("""
        import queue
        q = queue.SimpleQueue()
        began = time.monotonic()
        try:
            q.get(timeout=0.1)
        except queue.Empty:
            pass
        assert 0.1 <= time.monotonic() - began < 2
        got = []
        def takes():
            got.append(q.get())
        takers = [go(takes) for _ in range(20)]
        while gopark.stack().count("[lock") < 20:
            gopark.gosched()
        for g in takers[::2]:
            g.cancel()
        for i in range(20):  # one that is cancelled may have been given one just before
            q.put(i)
        for g in takers:
            assert g.join(10)
        while not q.empty():
            got.append(q.get())
        assert sorted(got) == list(range(20))
    """)


def test_nothing_writes_into_a_parked_goroutines_c_stack() -> None:
    # The item is handed over where the waiter's frame was; that place belongs to another one by then.
    patched("""
        import queue
        q = queue.SimpleQueue()
        def deep(n, work):
            return deep(n - 1, work) if n else work()
        def takes(depth):
            return deep(depth, lambda: [q.get() for _ in range(50)])
        def disturbs():
            for _ in range(300):
                sorted([3, 2, 1], key=lambda x: deep(x * 10, gopark.gosched) or x)
        takers = [go(takes, i % 40) for i in range(30)]
        noise = [go(disturbs) for _ in range(5)]
        def puts():
            for i in range(30 * 50):
                q.put(str(i))
                if i % 7 == 0:
                    gopark.gosched()
        go(puts)
        got = [item for g in takers for item in g.result(25)]
        assert sorted(map(int, got)) == list(range(30 * 50))
        for g in noise:
            g.result(25)
    """)
