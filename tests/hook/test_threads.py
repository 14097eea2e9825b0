"""Threads are goroutines: what threading, _thread and sys say of them is what they say of threads."""

from hooked import patched


def test_threads_are_goroutines_and_threading_knows_them() -> None:
    patched("""
        import _thread
        tasks = lambda: len(os.listdir("/proc/self/task"))
        before = tasks(), _thread._count(), gopark.num_goroutine()
        go_on = threading.Event()
        seen = []
        def work():
            seen.append((threading.get_ident(), threading.current_thread(), threading.get_native_id()))
            go_on.wait()
        threads = [threading.Thread(target=work, name=f"worker {i}", daemon=i == 2) for i in range(5)]
        for t in threads:
            assert not t.is_alive()
            t.start()
            assert t.is_alive() and t.ident
        assert (tasks(), _thread._count(), gopark.num_goroutine()) == (before[0], before[1] + 5, before[2] + 5)
        assert threading.enumerate() == [threading.main_thread(), *threads] and threading.active_count() == 6
        assert [s[0] for s in seen] == [t.ident for t in threads] and len({s[0] for s in seen}) == 5
        assert [s[1] for s in seen] == threads
        assert {s[2] for s in seen} == {os.getpid()} == {t.native_id for t in threads}
        assert threading.get_ident() == threading.main_thread().ident not in {s[0] for s in seen}
        assert all(f"worker {i}" in gopark.stack(True) for i in range(5))
        go_on.set()
        for t in threads:
            t.join()
            assert not t.is_alive()
        assert (_thread._count(), gopark.num_goroutine(), threading.enumerate()) == (*before[1:], [threading.main_thread()])
    """)


def test_what_is_kept_for_a_thread_is_each_ones_own() -> None:
    patched("""
        import contextvars
        local, var = threading.local(), contextvars.ContextVar("var", default=0)
        local.x = "main"
        var.set(1)
        died = []
        class Value:
            def __del__(self): died.append(threading.get_ident())
        def work(i):
            assert not hasattr(local, "x") and var.get() == 0 and len(contextvars.copy_context()) == 0
            local.x, local.value = i, Value()
            var.set(i)
            for _ in range(3):
                time.sleep(0.001)
                assert local.x == i and var.get() == i
        threads = [threading.Thread(target=work, args=(i,)) for i in range(5)] + [go(contextvars.Context().run, work, 7)]
        for t in threads[:5]: t.start()
        idents = [t.ident for t in threads[:5]]
        for t in threads: t.join()
        threads[5].result()
        assert local.x == "main" and var.get() == 1
        assert len(died) == 6 and set(idents) <= set(died)  # each in its own thread, at its end
    """)


def test_exceptions_are_reported_as_threads() -> None:
    done = patched("""
        import _thread
        def fails(): raise ValueError("a thread's")
        def exits(): raise SystemExit(3)
        for f in (fails, exits, gopark.goexit):
            t = threading.Thread(target=f, name=f"runs {f.__name__}")
            t.start()
            t.join()
        _thread.start_new_thread(fails, ())
        _thread.start_new_thread(exits, ())
        kept = []
        threading.excepthook = kept.append
        t = threading.Thread(target=fails)
        t.start()
        t.join()
        assert kept[0].exc_type is ValueError and kept[0].thread is t
        t = threading.Thread(target=time.sleep, args=(60,))
        t.start()
        from gopark.runtime import proc
        next(gp for gp in list(proc.getp().allgs) if gp.thread.started).cancel()
        t.join(10)
        assert not t.is_alive()
    """)
    assert done.stderr.count("Exception in thread runs fails:") == 1, done.stderr
    assert done.stderr.count("Exception ignored in thread started by") == 1, done.stderr
    assert done.stderr.count("Traceback") == 2 and "SystemExit" not in done.stderr, done.stderr


def test_exit_waits_for_threads_and_leaves_daemons_in_silence() -> None:
    done = patched("""
        import atexit, concurrent.futures
        atexit.register(lambda: print("atexit"))
        def daemon():
            try:
                time.sleep(60)
            finally:
                print("daemon was interrupted")
        threading.Thread(target=daemon, daemon=True).start()
        def worker():
            time.sleep(0.05)
            t = threading.Thread(target=lambda: (time.sleep(0.05), print("started late")))
            t.start()
            print("worker")
        threading.Thread(target=worker).start()
        pool = concurrent.futures.ThreadPoolExecutor(2)
        pool.submit(lambda: (time.sleep(0.02), print("pooled")))
        go(lambda: time.sleep(60))
        print("main")
    """)
    assert done.stdout.split("\n") == ["main", "pooled", "worker", "started late", "atexit", ""]
    assert done.stderr == ""


def test_join_waits_as_long_as_it_is_told() -> None:
    patched("""
        go_on = threading.Event()
        t = threading.Thread(target=go_on.wait)
        try: t.join()
        except RuntimeError as e: assert "before it is started" in str(e)
        else: raise AssertionError
        t.start()
        try: t.start()
        except RuntimeError as e: assert "once" in str(e)
        else: raise AssertionError
        began = time.monotonic()
        t.join(0.05); t.join(0); t.join(-1)
        assert t.is_alive() and 0.04 < time.monotonic() - began < 5
        others = [threading.Thread(target=t.join) for _ in range(3)]
        for o in others: o.start()
        assert all(o.is_alive() for o in others)
        go_on.set()
        t.join()
        for o in others: o.join(10)
        assert not any(o.is_alive() for o in (t, *others))
        errors = []
        def joins_itself():
            try: threading.current_thread().join()
            except RuntimeError as e: errors.append(e)
        t = threading.Thread(target=joins_itself)
        t.start(); t.join()
        assert len(errors) == 1
    """)


def test_asyncio_loops_run_at_once_in_threads_and_goroutines() -> None:
    patched("""
        import asyncio
        async def work(i):
            loop = asyncio.get_running_loop()
            async def agen():
                for n in range(3):
                    await asyncio.sleep(0.01)
                    yield n
            async for _ in agen():
                assert asyncio.get_running_loop() is loop
            return i
        results = []
        began = time.monotonic()
        threads = [threading.Thread(target=lambda i=i: results.append(asyncio.run(work(i)))) for i in range(10)]
        for t in threads: t.start()
        goroutines = [go(asyncio.run, work(i)) for i in range(10)]
        assert asyncio.run(work(99)) == 99
        for t in threads: t.join()
        assert sorted(results) == [g.result() for g in goroutines] == list(range(10))
        try: asyncio.get_running_loop()
        except RuntimeError: pass
        else: raise AssertionError
    """)


def test_trace_functions_are_each_threads_own() -> None:
    patched("""
        def traced(events):
            def trace(frame, event, arg):
                events.append(frame.f_code.co_name)
                return trace
            return trace
        mine, hers, everyones = [], [], []
        def marked_main(): time.sleep(0)
        def marked_thread(): time.sleep(0)
        ready, go_on = threading.Event(), threading.Event()
        def work():
            sys.settrace(traced(hers))
            ready.set()
            go_on.wait()
            marked_thread()
            sys.settrace(None)
        t = threading.Thread(target=work)
        t.start()
        ready.wait()
        assert sys.gettrace() is None
        sys.settrace(traced(mine))
        marked_main()
        go_on.set()
        t.join()
        marked_main()
        sys.settrace(None)
        assert mine.count("marked_main") >= 2 and "marked_thread" not in mine
        assert hers.count("marked_thread") >= 2 and "marked_main" not in hers
        del hers[:]
        marked_main()
        assert not hers
        def later():
            go_on.wait()
            marked_thread()
        if sys.version_info >= (3, 12):
            go_on.clear()
            threads = [threading.Thread(target=later) for _ in range(3)]
            for t in threads: t.start()
            profile = lambda frame, event, arg: everyones.append((threading.get_ident(), frame.f_code.co_name))
            threading.setprofile_all_threads(profile)
            go_on.set()
            for t in threads: t.join()
            marked_main()
            threading.setprofile_all_threads(None)
            assert {t.ident for t in threads} == {ident for ident, name in everyones if name == "marked_thread"}
            assert (threading.get_ident(), "marked_main") in everyones
    """)


def test_threads_that_compute_are_preempted() -> None:
    patched("""
        stop, counts = False, [0, 0, 0]
        def hog(i):
            while not stop:
                counts[i] += 1
        threads = [threading.Thread(target=hog, args=(i,)) for i in range(3)]
        for t in threads: t.start()
        deadline = time.monotonic() + 20
        while not all(counts) and time.monotonic() < deadline:
            time.sleep(0.01)
        stop = True
        assert all(counts), counts
        for t in threads: t.join()
    """)


def test_ten_thousand_threads_are_cheap() -> None:
    patched(
        """
        def rss(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
        go_on = threading.Event()
        threads = [threading.Thread(target=go_on.wait) for _ in range(10_000)]
        before = rss()
        for t in threads: t.start()
        each = (rss() - before) / len(threads)
        assert threading.active_count() == 10_001 and len(os.listdir("/proc/self/task")) < 10
        go_on.set()
        for t in threads: t.join()
        assert threading.active_count() == 1
        assert each < 15_000, each
    """,
        timeout=60,
    )


def test_exception_is_sent_to_a_thread() -> None:
    patched("""
        import ctypes
        class Sent(Exception): pass
        send = lambda ident, exc: ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(exc))
        got, entered = [], threading.Event()
        def work():
            entered.set()
            try:
                while True: time.sleep(0.001)
            except Sent as e:
                got.append(threading.get_ident())
        t = threading.Thread(target=work)
        t.start()
        entered.wait()
        assert send(t.ident, Sent) == 1
        t.join(10)
        assert got == [t.ident]
        assert send(t.ident + 2, Sent) == 0
        try:
            assert send(threading.get_ident(), Sent) == 1
            for _ in range(1000): pass
        except Sent: pass
        else: raise AssertionError("not raised here")
    """)


def test_frames_of_threads_are_seen() -> None:
    patched("""
        go_on = threading.Event()
        def waits_here(): go_on.wait()
        t = threading.Thread(target=waits_here)
        t.start()
        def names(frame):
            while frame is not None:
                yield frame.f_code.co_name
                frame = frame.f_back
        frames = sys._current_frames()
        assert "waits_here" in names(frames[t.ident]) and frames[threading.get_ident()] is sys._getframe()
        assert t.ident in sys._current_exceptions()
        go_on.set()
        t.join()
        assert t.ident not in sys._current_frames()
    """)


def test_forked_thread_is_the_childs_main_thread() -> None:
    patched("""
        local, pids = threading.local(), []
        def work():
            local.x = 5
            ident, me = threading.get_ident(), threading.current_thread()
            pid = os.fork()
            if pid == 0:
                try:
                    assert threading.main_thread() is me is threading.current_thread() and threading.enumerate() == [me]
                    assert threading.get_ident() == ident == me.ident and local.x == 5
                    done = []
                    t = threading.Thread(target=lambda: (time.sleep(0.01), done.append(threading.get_ident())))
                    t.start(); t.join()
                    assert done == [t.ident]
                    os._exit(0)
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
            pids.append(pid)
        other = threading.Thread(target=time.sleep, args=(0.2,))
        other.start()
        t = threading.Thread(target=work)
        t.start(); t.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
        pid = os.fork()
        if pid == 0:
            ok = threading.enumerate() == [threading.main_thread()] and not other.is_alive()
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        other.join()
    """)


def test_goroutines_that_ask_for_their_thread_leave_few_behind() -> None:
    patched("""
        def ask():
            assert isinstance(threading.current_thread(), threading._DummyThread)
            time.sleep(0.001)
            assert threading.current_thread().ident == threading.get_ident()
        for g in [go(ask) for _ in range(200)]: g.result()
        # CPython forgets them from 3.13 on; before, the last ones are kept for who looks them up.
        assert len(threading.enumerate()) <= (1 if sys.version_info >= (3, 13) else 65), threading.enumerate()
    """)


def test_run_leaves_threads_alone() -> None:
    patched("""
        go_on = threading.Event()
        t = threading.Thread(target=go_on.wait)
        t.start()
        before = go(lambda: go_on.wait())
        ended = []
        def main():
            def other():
                try: time.sleep(60)
                finally: ended.append(1)
            go(other)
            time.sleep(0.001)
            return 5
        assert gopark.run(main) == 5 == gopark.run(main)
        assert ended == [1, 1] and t.is_alive() and not before.done
        go_on.set()
        t.join()
        before.result()
    """)


def test_unpatch_is_refused_while_threads_are_goroutines() -> None:
    patched("""
        go_on = threading.Event()
        t = threading.Thread(target=go_on.wait, name="the one")
        t.start()
        try: gopark.unpatch()
        except RuntimeError as e: assert "the one" in str(e)
        else: raise AssertionError
        assert gopark.is_patched()
        go_on.set(); t.join()
        gopark.unpatch()
        natives = []
        t = threading.Thread(target=lambda: natives.append(threading.get_native_id()))
        t.start(); t.join()
        assert natives and natives[0] != os.getpid()
        gopark.patch()
        t = threading.Thread(target=lambda: natives.append(threading.get_native_id()))
        t.start(); t.join()
        assert natives[1] == os.getpid()
    """)


def test_what_is_made_of_threads_works() -> None:
    patched("""
        import concurrent.futures, logging, queue, sched
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            began = time.monotonic()
            assert sum(pool.map(lambda i: (time.sleep(0.05), i)[1], range(100))) == 4950
            assert time.monotonic() - began < 3
        q, out = queue.Queue(3), queue.SimpleQueue()
        def consume():
            while (item := q.get()) is not None: out.put(item * 2); q.task_done()
        consumers = [threading.Thread(target=consume) for _ in range(4)]
        for c in consumers: c.start()
        for i in range(100): q.put(i)
        q.join()
        for c in consumers: q.put(None)
        assert sorted(out.get() for _ in range(100)) == [2 * i for i in range(100)]
        for c in consumers: c.join()
        barrier, passed = threading.Barrier(3), []
        threads = [threading.Thread(target=lambda: passed.append(barrier.wait())) for _ in range(3)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert sorted(passed) == [0, 1, 2]
        fired = threading.Event()
        threading.Timer(0.01, fired.set).start()
        assert fired.wait(10)
        condition, order = threading.Condition(), []
        def waiter(i):
            with condition:
                condition.wait()
                order.append(i)
        threads = [threading.Thread(target=waiter, args=(i,)) for i in range(3)]
        for t in threads: t.start()
        with condition: condition.notify_all()
        for t in threads: t.join()
        assert sorted(order) == [0, 1, 2]
        s = sched.scheduler()
        s.enter(0.01, 1, order.append, ("late",)); s.run()
        assert order[-1] == "late"
        log = logging.getLogger("x"); records = []
        class Handler(logging.Handler):
            def emit(self, record): time.sleep(0.001); records.append((record.threadName, record.thread))
        log.addHandler(Handler()); log.propagate = False
        threads = [threading.Thread(target=log.error, args=("hello",)) for _ in range(5)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert sorted(records) == sorted((t.name, t.ident) for t in threads)
        assert threading.active_count() == 1
    """)


def test_a_threads_ident_is_none_of_the_kernels() -> None:
    patched("""
        got = []
        signal.signal(signal.SIGUSR1, lambda *_: got.append(threading.current_thread()))
        def work():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            time.pthread_getcpuclockid(threading.get_ident())
        t = threading.Thread(target=work)
        t.start(); t.join()
        deadline = time.monotonic() + 10
        while not got and time.monotonic() < deadline: time.sleep(0.001)
        assert len(got) == 1
    """)
