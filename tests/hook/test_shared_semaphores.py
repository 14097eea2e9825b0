"""multiprocessing's semaphores: another process posts them, and goroutines wait for that in their turn."""

from hooked import patched


def test_goroutine_waits_for_another_process_while_others_run() -> None:
    patched("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        lock = context.Lock()
        lock.acquire()
        pid = os.fork()
        if pid == 0:
            time.sleep(0.2)
            lock.release()
            os._exit(0)
        ticks = []
        def ticker():
            while True:
                time.sleep(0.01)
                ticks.append(1)
        t = go(ticker)
        def waits():
            assert lock.acquire(timeout=20)
            lock.release()
        for g in [go(waits) for _ in range(5)]:
            g.result()
        t.cancel()
        assert len(ticks) >= 5
        os.waitpid(pid, 0)
    """)


def test_timeout_and_cancellation_take_nothing_from_other_processes() -> None:
    patched("""
        import multiprocessing
        semaphore = multiprocessing.get_context("fork").Semaphore(0)
        began = time.monotonic()
        assert not semaphore.acquire(timeout=0.1)
        assert 0.1 <= time.monotonic() - began < 2
        for _ in range(20):
            g = go(semaphore.acquire)
            gopark.sleep(0.002)
            g.cancel()
            assert g.join(10) and isinstance(g.exception, gopark.Cancelled)
        threads = lambda: len(os.listdir("/proc/self/task"))
        before = threads()
        assert semaphore.get_value() == 0
        semaphore.release()
        assert semaphore.get_value() == 1 and semaphore.acquire(timeout=10) and threads() == before
    """)


def test_post_of_this_process_is_seen() -> None:
    patched("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        condition = context.Condition()
        event = context.Event()
        def waits():
            with condition:
                assert condition.wait(20)
            assert event.wait(20)
        waiters = [go(waits) for _ in range(10)]
        while condition._sleeping_count.get_value() < 10:
            gopark.sleep(0.001)
        with condition:
            condition.notify_all()
        event.set()
        for g in waiters:
            g.result()
    """)


def test_queue_between_processes() -> None:
    patched("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        asked, answered = context.Queue(), context.Queue()
        def serves():
            while (n := asked.get()) is not None:
                answered.put(n * 2)
        process = context.Process(target=serves)
        process.start()
        def asks(n):
            asked.put(n)
        for g in [go(asks, n) for n in range(100)]:
            g.result()
        takers = [go(answered.get) for _ in range(100)]
        assert sorted(g.result() for g in takers) == [n * 2 for n in range(100)]
        asked.put(None)
        process.join()
        assert process.exitcode == 0
    """)
