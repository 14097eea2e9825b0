"""Semaphores under threading.Lock and all that is made of it: who waits parks, in turn, and nobody is forgotten."""

from hooked import patched


def test_contended_lock_parks_and_goes_round_in_turn() -> None:
    patched("""
        lock = threading.Lock()
        order = []
        def holds(i):
            with lock:
                order.append(i)
                gopark.sleep(0.001)
        for g in [go(holds, i) for i in range(50)]:
            g.result()
        assert order == list(range(50))
    """)


def test_who_takes_a_lock_again_and_again_starves_nobody() -> None:
    patched("""
        lock = threading.Lock()
        turns = {"hog": 0, "other": 0}
        def takes(name, n):
            for _ in range(n):
                with lock:
                    turns[name] += 1
                    gopark.gosched()
            return dict(turns)
        hog = go(takes, "hog", 10_000)
        other = go(takes, "other", 10)
        # Woken once and too late, it is given the lock at the second release.
        assert other.result()["hog"] <= 30
        hog.result()
    """)


def test_timeout_of_a_lock_is_exact_and_leaves_nothing_behind() -> None:
    patched("""
        lock = threading.Lock()
        lock.acquire()
        def waits(seconds):
            began = time.monotonic()
            assert not lock.acquire(timeout=seconds)
            return time.monotonic() - began
        for seconds in (0.0001, 0.05, 0.2):
            many = [go(waits, seconds) for _ in range(20)]
            for g in many:
                took = g.result()
                assert seconds <= took < seconds + 1, took
        lock.release()
        assert lock.acquire(False)
    """)


def test_cancelled_waiter_leaves_the_lock_to_the_next() -> None:
    patched("""
        lock = threading.Lock()
        got = []
        def waits(i):
            with lock:
                got.append(i)
        lock.acquire()
        waiters = [go(waits, i) for i in range(6)]
        gopark.gosched()
        for g in waiters[::2]:
            g.cancel()
        for g in waiters[::2]:
            assert g.join(10) and isinstance(g.exception, gopark.Cancelled)
        lock.release()
        for g in waiters[1::2]:
            g.result()
        assert got == [1, 3, 5] and not lock.locked()
    """)


def test_cancelled_after_it_was_given_the_lock_has_it() -> None:
    # The cancellation waits for its next park: a lock that was taken for it is not lost.
    patched("""
        lock = threading.Lock()
        held = []
        def waits():
            lock.acquire()
            held.append(lock.locked())
            try:
                gopark.sleep(60)
            finally:
                lock.release()
        lock.acquire()
        g = go(waits)
        gopark.gosched()
        lock.release()
        g.cancel()
        assert g.join(10) and held == [True] and not lock.locked()
    """)


def test_ctrl_c_ends_the_main_goroutines_wait() -> None:
    patched("""
        lock = threading.Lock()
        lock.acquire()
        def interrupts():
            gopark.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
        go(interrupts)
        for wait in (lock.acquire, threading.Event().wait, lambda: lock.acquire(timeout=60)):
            g = go(interrupts)
            try:
                wait()
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("not interrupted")
            g.join()
    """)


def test_signal_handler_that_does_not_raise_does_not_end_a_wait() -> None:
    patched("""
        event = threading.Event()
        ran = []
        def handler(*args):
            ran.append(threading.get_ident())
            if len(ran) == 3:
                event.set()
        signal.signal(signal.SIGUSR2, handler)
        def signals():
            for i in range(3):
                gopark.sleep(0.01)
                os.kill(os.getpid(), signal.SIGUSR2)
        go(signals)
        assert event.wait(20) and len(ran) == 3
    """)


def test_native_threads_wake_goroutines() -> None:
    patched("""
        import queue
        ready, answers = queue.Queue(), queue.Queue()
        def native():  # gopark.blocking: an OS thread
            for i in range(300):
                ready.put(i)
                if i % 7 == 0:
                    answers.get()
        def takes():
            while (i := ready.get()) is not None:
                if i % 7 == 0:
                    answers.put(i)
                seen.append(i)
        seen = []
        takers = [go(takes) for _ in range(10)]
        for g in [go(gopark.blocking, native) for _ in range(4)]:
            g.result()
        for _ in takers:
            ready.put(None)
        for g in takers:
            g.result()
        assert sorted(seen) == sorted(list(range(300)) * 4)
    """)


def test_post_by_a_thread_that_python_does_not_know_wakes_a_goroutine() -> None:
    # As the threads of gRPC or librdkafka: sem_post without the GIL, and without a thread state.
    patched("""
        import ctypes
        from gopark.hook import _hook
        libc = ctypes.CDLL(None)
        lock = threading.Lock()
        # struct of _thread.lock: object head, then the semaphore's address.
        where = ctypes.c_void_p.from_address(id(lock) + object.__basicsize__).value
        post = _hook.slots_function("sem_post")
        def waits():
            lock.acquire()
            return True
        for _ in range(200):
            lock.acquire()
            g = go(waits)
            gopark.gosched()
            thread = ctypes.c_ulong()
            assert libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(post), ctypes.c_void_p(where)) == 0
            assert g.result(20)
            libc.pthread_join(thread, None)
            lock.release()
    """)


def test_hundreds_wait_for_a_condition_and_all_are_notified() -> None:
    patched("""
        cond = threading.Condition()
        def waits():
            with cond:
                assert cond.wait(30)
        waiters = [go(waits) for _ in range(200)]
        while len(cond._waiters) < 200:
            gopark.gosched()
        assert gopark.stack().count("[lock") == 200, gopark.stack()
        with cond:
            cond.notify_all()
        for g in waiters:
            g.result(20)
    """)


def test_everything_of_threading_in_hundreds_of_goroutines() -> None:
    patched("""
        import queue, random
        seed = random.randrange(1 << 30)
        print("seed", seed)
        rnd = random.Random(seed)
        from gopark.runtime import sysmon
        sysmon.set_slice(1_000_000)
        barrier = threading.Barrier(50)
        semaphore = threading.BoundedSemaphore(3)
        inside = peak = 0
        q = queue.PriorityQueue(7)
        s = queue.SimpleQueue()
        got = []
        def works(i):
            global inside, peak
            for n in range(5):
                barrier.wait(30)
                with semaphore:
                    inside += 1
                    peak = max(peak, inside)
                    if rnd.random() < 0.3:
                        gopark.sleep(rnd.random() / 1000)
                    inside -= 1
                if i % 2:
                    q.put((rnd.random(), i))
                    got.append(s.get(timeout=30))
                else:
                    q.get(timeout=30)
                    s.put(1)
                for _ in range(rnd.randrange(3000)):
                    pass
        for g in [go(works, i) for i in range(50)]:
            g.result(30)
        assert peak <= 3 and inside == 0
        assert len(got) == 125 and q.empty() and s.empty(), (len(got), q.qsize(), s.qsize())
    """)


def test_unpatched_while_somebody_waits_goes_on() -> None:
    patched("""
        lock = threading.Lock()
        lock.acquire()
        g = go(lock.acquire)
        gopark.gosched()
        gopark.unpatch()
        lock.release()
        assert g.result(20) is True
    """)
