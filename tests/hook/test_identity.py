"""Each goroutine is a thread of its own to the interpreter, in everything that belongs to a thread."""

from hooked import patched


def test_each_goroutine_has_an_ident_of_its_own_also_for_who_imported_it_early() -> None:
    patched("""
        from _thread import get_ident  # not looked up again
        main = threading.main_thread().ident
        assert get_ident() == main
        idents = {}
        def tells(i):
            idents[i] = get_ident()
            for _ in range(5):
                gopark.gosched()
                assert get_ident() == idents[i] != main
        for g in [go(tells, i) for i in range(50)]:
            g.result()
        assert len(set(idents.values())) == 50 and get_ident() == main
    """)


def test_early_rlock_keeps_other_goroutines_out() -> None:
    # Also of those that were made before patch().
    patched("""
        import logging
        inside = 0
        lock = logging._lock
        def enters(i):
            global inside
            with lock, lock:
                assert lock._is_owned()
                inside += 1
                assert inside == 1
                gopark.sleep(0.001)
                inside -= 1
        for g in [go(enters, i) for i in range(30)]:
            g.result()
        def steals():
            try:
                lock.release()
            except RuntimeError as e:
                return str(e)
        with lock:
            assert go(steals).result() == "cannot release un-acquired lock"
    """)


def test_buffered_file_that_another_goroutine_uses_is_waited_for() -> None:
    patched("""
        import io
        class Raw(io.RawIOBase):
            def __init__(self):
                self.parts = []
            def writable(self):
                return True
            def write(self, data):
                data = bytes(data)
                gopark.sleep(0.001)  # the others want to write meanwhile
                self.parts.append(data)
                return len(data)
        raw = Raw()
        file = io.BufferedWriter(raw, 64)
        def writes(i):
            for k in range(10):
                file.write(b"%03d" % i * 10 + b"\\n")
        for g in [go(writes, i) for i in range(20)]:
            g.result()
        file.flush()
        lines = b"".join(raw.parts).split()
        assert len(lines) == 200 and all(line == line[:3] * 10 for line in lines)
    """)


def test_module_that_another_goroutine_imports_is_waited_for() -> None:
    patched("""
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            sys.path.insert(0, folder)
            with open(folder + "/parks.py", "w") as f:
                f.write("import time; time.sleep(0.1); VALUE = 1")
            def by_name():
                import parks
                return parks.VALUE
            def by_from():
                from parks import VALUE
                return VALUE
            for g in [go(f) for f in (by_name, by_from) * 5]:
                assert g.result() == 1
    """)


def test_signal_to_a_goroutines_ident_reaches_its_thread() -> None:
    patched("""
        seen = []
        signal.signal(signal.SIGUSR2, lambda *args: seen.append(1))
        def kills():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        go(kills).result()
        assert seen == [1]
        assert go(lambda: time.clock_gettime(time.pthread_getcpuclockid(threading.get_ident()))).result() > 0
    """)


def test_computing_goroutine_is_preempted_whoever_it_is() -> None:
    # The interpreter runs signal handlers in its main thread alone: every goroutine passes for it.
    patched("""
        done = []
        def computes():
            while not done:
                pass
        spinners = [go(computes) for _ in range(3)]
        go(lambda: done.append(1))
        for g in spinners:
            assert g.join(10)
    """)


def test_forked_child_goes_on_under_the_ident_of_who_forked() -> None:
    patched("""
        lock = threading.RLock()
        def forks():
            me = threading.get_ident()
            with lock:
                pid = os.fork()
                if pid == 0:
                    ok = threading.get_ident() == me and lock._is_owned()
                    gopark.sleep(0.01)
                    ok = ok and threading.get_ident() == me and threading.main_thread().ident == me
                    os._exit(0 if ok else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        go(forks).result()
    """)


def test_unpatched_again_all_goroutines_are_the_thread() -> None:
    patched("""
        main = threading.get_ident()
        gopark.unpatch()
        assert go(threading.get_ident).result() == main == threading.get_ident()
    """)


def test_thread_that_blocks_signals_takes_preemption_from_nobody() -> None:
    patched("""
        def deaf():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            return signal.pthread_sigmask(signal.SIG_BLOCK, ())
        thread = threading.Thread(target=deaf)
        thread.start()
        thread.join()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        ended = []
        def hog():
            while not ended:
                pass
        hogs = [go(hog)]
        time.sleep(0.05)  # comes back although the hog never parks
        ended.append(True)
        hogs[0].result()
        # The main goroutine's mask is the thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR2}
    """)
