"""The program's signal handlers run in the main goroutine, whose blocking call goes on after them (PEP 475)."""

from hooked import patched

WAITS = """
    import select, subprocess, queue
    a, b = socket.socketpair()
    p = subprocess.Popen(["sh", "-c", "read x; exit 3"], stdin=subprocess.PIPE)
    sleeping = lambda: time.sleep(0.3)
    WAITS = {
        "sleep": (sleeping, lambda: None),
        "recv": (lambda: a.recv(1), lambda: b.send(b"x")),
        "poll": (lambda: select.poll().poll(300), lambda: None),
        "wait": (lambda: os.waitpid(p.pid, 0), p.stdin.close),
    }
    main = gopark.current()
"""


def test_handler_runs_in_the_main_goroutine_whose_call_goes_on() -> None:
    patched(
        WAITS
        + """
    ran = []
    def handler(signum, frame):
        ran.append((signum, gopark.current() is main))
    signal.signal(signal.SIGUSR2, handler)
    for name, (wait, ends) in WAITS.items():
        def other():
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.05)
            assert ran == [(signal.SIGUSR2, True)], (name, ran)
            ends()
        g = go(other)
        wait()
        g.result()
        assert ran == [(signal.SIGUSR2, True)], (name, ran)
        ran.clear()
    """
    )


def test_what_a_handler_raises_ends_the_main_goroutines_call_alone() -> None:
    patched(
        WAITS
        + """
    class Stop(Exception): pass
    def handler(signum, frame):
        raise Stop
    signal.signal(signal.SIGUSR2, handler)
    for name, (wait, ends) in WAITS.items():
        others = [go(time.sleep, 0.2) for _ in range(3)]
        def kill():
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGUSR2)
            for _ in range(1000): pass
        g = go(kill)
        try:
            wait()
        except Stop:
            pass
        else:
            raise AssertionError(name)
        for o in (g, *others):
            o.result()
    """
    )


def test_interrupt_ends_every_wait_of_the_main_goroutine() -> None:
    patched(
        WAITS
        + """
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for name, (wait, ends) in WAITS.items():
        g = go(lambda: (time.sleep(0.02), os.kill(os.getpid(), signal.SIGINT)))
        try:
            wait()
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError(name)
        g.result()
    """
    )


def test_signal_reaches_the_main_goroutine_while_another_computes() -> None:
    patched("""
        main = gopark.current()
        ran = []
        signal.signal(signal.SIGALRM, lambda *a: ran.append(gopark.current() is main))
        def computes():
            while not ran:
                pass
        g = go(computes)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(1)
        g.result()
        assert ran == [True], ran
    """)


def test_signal_reaches_a_main_goroutine_that_computes() -> None:
    patched("""
        main = gopark.current()
        ran = []
        signal.signal(signal.SIGALRM, lambda *a: ran.append(gopark.current() is main))
        def computes():
            while not ran:
                pass
        gs = [go(computes) for _ in range(3)]
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        computes()
        for g in gs:
            g.result()
        assert ran == [True], ran
    """)


def test_handler_may_park_wherever_the_main_goroutine_waits() -> None:
    patched("""
        done = []
        def handler(signum, frame):
            time.sleep(0.05)
            done.append(signum)
        signal.signal(signal.SIGUSR2, handler)
        kill = lambda: os.kill(os.getpid(), signal.SIGUSR2)
        go(kill)
        time.sleep(0.3)
        assert len(done) == 1
        # In a wait of gopark's own, too.
        go(kill)
        ticks = []
        def tick():
            while len(done) < 2:
                time.sleep(0.005)
                ticks.append(1)
        g = go(tick)
        gopark.sleep(0.3)
        assert len(done) == 2 and len(ticks) > 3
        def raises(signum, frame):
            raise LookupError
        signal.signal(signal.SIGUSR2, raises)
        go(kill)
        try:
            gopark.sleep(5)
        except LookupError:
            pass
        else:
            raise AssertionError
    """)


def test_library_that_goes_on_after_eintr_is_not_spun() -> None:
    # What was noted for the main goroutine waits until C code has returned to Python.
    patched("""
        ran = []
        signal.signal(signal.SIGUSR2, lambda *a: ran.append(1))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        def other():
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGUSR2)
            began = time.process_time()
            time.sleep(0.2)
            assert not ran and time.process_time() - began < 0.1
            os.kill(os.getpid(), signal.SIGHUP)
        g = go(other)
        assert signal.sigwait({signal.SIGHUP}) == signal.SIGHUP
        for _ in range(10): pass
        g.result()
        assert ran == [1]
    """)


def test_program_sees_its_own_handlers_only() -> None:
    patched("""
        def mine(signum, frame): pass
        for s in (signal.SIGURG, signal.SIGUSR1, signal.SIGQUIT, signal.SIGUSR2):
            assert signal.getsignal(s) is signal.SIG_DFL, s
            assert signal.signal(s, mine) is signal.SIG_DFL
            assert signal.getsignal(s) is mine
            assert signal.signal(s, signal.SIG_IGN) is mine
            assert signal.signal(s, signal.SIG_DFL) is signal.SIG_IGN, s
        assert signal.signal(signal.SIGINT, mine) is signal.default_int_handler
        assert signal.signal(signal.SIGINT, signal.default_int_handler) is mine
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        for bad in ((signal.SIGUSR2, 7), (999, mine), (signal.SIGURG, "x")):
            try:
                signal.signal(*bad)
            except (TypeError, ValueError):
                continue
            raise AssertionError(bad)
        # Preemption is still there.
        stop = []
        def hog():
            while not stop: pass
        g = go(hog)
        time.sleep(0.05)
        stop.append(1)
        g.result()
    """)


def test_wakeup_descriptor_is_the_programs() -> None:
    patched("""
        a, b = socket.socketpair()
        a.setblocking(False); b.setblocking(False)
        assert signal.set_wakeup_fd(a.fileno()) == -1
        signal.signal(signal.SIGUSR2, lambda *a: None)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert bytes([signal.SIGUSR2]) in b.recv(100)
        assert signal.set_wakeup_fd(-1, warn_on_full_buffer=False) == a.fileno()
        assert signal.set_wakeup_fd(-1) == -1
    """)


def test_asyncio_calls_a_signals_handler_once() -> None:
    patched("""
        import asyncio
        calls = []
        async def main():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR2, calls.append, 1)
            go(lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGUSR2)))
            await asyncio.sleep(0.3)
        asyncio.run(main())
        assert calls == [1]
    """)


def test_handlers_of_before_and_after_patch_are_the_same() -> None:
    patched("""
        gopark.unpatch()
        def mine(signum, frame): ran.append(gopark.current() is main)
        ran, main = [], gopark.current()
        signal.signal(signal.SIGUSR2, mine)
        gopark.patch()
        assert signal.getsignal(signal.SIGUSR2) is mine
        g = go(os.kill, os.getpid(), signal.SIGUSR2)
        time.sleep(0.05)
        assert ran == [True]
        gopark.unpatch()
        assert signal.getsignal(signal.SIGUSR2) is mine
    """)


def test_pause_ends_when_a_handler_has_run() -> None:
    patched("""
        ran = []
        signal.signal(signal.SIGALRM, lambda *a: ran.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        others = go(time.sleep, 0.01)
        signal.pause()
        assert ran == [1] and others.done
    """)


def test_interrupt_reaches_a_main_goroutine_that_is_runnable() -> None:
    patched("""
        import _thread
        for _ in range(20):
            lock = threading.Lock()
            lock.acquire()
            def other():
                lock.release()  # the main goroutine is woken first
                _thread.interrupt_main()
            g = go(other)
            try:
                lock.acquire()
                for _ in range(100):
                    pass
            except KeyboardInterrupt:
                continue
            raise AssertionError("not raised")
    """)


def test_handlers_are_set_by_the_main_thread_alone() -> None:
    patched("""
        said = []
        def sets():
            for call in (lambda: signal.signal(signal.SIGUSR2, print), lambda: signal.set_wakeup_fd(-1)):
                try:
                    call()
                except ValueError as e:
                    said.append(str(e))
        thread = threading.Thread(target=sets)
        thread.start()
        thread.join()
        assert len(said) == 2 and all("only works in main thread" in text for text in said), said
        go(sets).result()  # goroutines that are no threads may
        assert len(said) == 2
    """)
