"""The thread that gopark runs on: who may start it, and what becomes of it when that thread ends."""

from support import python


def test_runtime_does_not_stay_with_a_thread_that_has_ended() -> None:
    done = python("""
        import gopark, threading, warnings
        warnings.simplefilter("ignore")
        def use(i):
            gopark.sleep(0.001)                     # starts gopark on this thread
            gopark.go(gopark.sleep, 1000)
            gopark.sleep(0)
            print(i, gopark.num_goroutine())
        for i in range(3):
            t = threading.Thread(target=use, args=(i,)); t.start(); t.join()
        print(gopark.run(lambda: gopark.sleep(0.001) or gopark.num_goroutine()))
    """)
    assert done.stdout.split("\n")[:4] == ["0 2", "1 2", "2 2", "1"]


def test_goroutines_that_are_left_with_it_are_reported() -> None:
    done = python("""
        import gopark, threading
        def use():
            gopark.go(gopark.sleep, 1000)
            gopark.sleep(0.001)
        def start():
            gopark.sleep(0.001)
            use()
        t = threading.Thread(target=start); t.start(); t.join()
    """)
    assert "its thread has ended; 1 goroutine(s) were abandoned" in done.stderr


def test_thread_of_the_pool_does_not_start_it_again_after_a_run() -> None:
    done = python("""
        import gopark, threading
        go_on, tried = threading.Event(), threading.Event()
        def late():
            go_on.wait()
            for use in (lambda: gopark.go(print), lambda: gopark.sleep(1)):
                try: use()
                except RuntimeError as e: print(e)
            tried.set()
        def main():
            gopark.go(gopark.blocking, late)
            gopark.sleep(0.01)
        gopark.run(main)
        go_on.set()
        tried.wait()
        gopark.run(print, "run again")
    """)
    first, second, last = done.stdout.split("\n")[:3]
    assert "gopark does not run" in first and "does not run any more" in second and last == "run again"


def test_of_several_threads_that_use_it_first_one_gets_it() -> None:
    done = python("""
        import gopark, sys, threading, warnings
        warnings.simplefilter("ignore")
        sys.setswitchinterval(1e-6)
        got, all_tried = [], threading.Barrier(8)
        def use():
            try:
                gopark.sleep(0.001)
                got.append("slept")
            except RuntimeError as e:
                assert "gopark runs on another thread" in str(e), e
            all_tried.wait(20)                      # who got it keeps it until all have tried
        threads = [threading.Thread(target=use) for _ in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(got)
    """)
    assert done.stdout == "['slept']\n"


def test_thread_that_receives_before_gopark_runs_blocks_and_does_not_start_it() -> None:
    done = python("""
        import gopark, threading
        ch, other = gopark.Chan(), gopark.Chan()
        def receive():
            for v in ch:
                i, _, _ = gopark.select(other.on_send(v))
        t = threading.Thread(target=receive); t.start()
        while ch.statistics().receivers == 0: pass
        def main():
            for v in range(3):
                ch.send(v)
                print(other.recv())
            ch.close()
        gopark.run(main)
        t.join()
    """)
    assert done.stdout.split() == ["0", "1", "2"] and done.stderr == ""


def test_thread_that_has_ended_is_not_known_to_threading_again() -> None:
    done = python("""
        import gopark, threading, warnings
        warnings.simplefilter("ignore")
        t = threading.Thread(target=gopark.sleep, args=(0.001,)); t.start(); t.join()
        assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
    """)
    assert done.stderr == ""


def test_threads_that_run_by_turns_do_not_end_each_others_runs() -> None:
    done = python("""
        import gopark, sys, threading, time, warnings
        warnings.simplefilter("ignore")
        sys.setswitchinterval(1e-5)
        wrong, runs, end = [], [0, 0], time.monotonic() + 10
        def worker(n):
            while not wrong and runs[n] < 200 and time.monotonic() < end:
                try:
                    if gopark.run(lambda: gopark.go(lambda: n).result()) != n: wrong.append("another's result")
                    runs[n] += 1
                except RuntimeError as e:
                    if "another thread" not in str(e): wrong.append(repr(e))
                    time.sleep(0.0001)
                except BaseException as e: wrong.append(repr(e))
        threads = [threading.Thread(target=worker, args=(n,)) for n in range(2)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(wrong, min(runs) > 0)
    """)
    assert done.stdout == "[] True\n"


def test_runs_on_threads_leave_no_greenlets() -> None:
    done = python("""
        import gc, gopark, greenlet, threading, warnings
        from gopark.runtime import fork
        warnings.simplefilter("ignore")
        def job():
            for g in [gopark.go(gopark.sleep, 0.0001) for _ in range(10)]: g.join()
        def once():
            t = threading.Thread(target=gopark.run, args=(job,)); t.start(); t.join()
        def greenlets():
            gc.collect()
            return sum(isinstance(o, greenlet.greenlet) for o in gc.get_objects())
        once()
        before = greenlets()
        for _ in range(10): once()
        print(greenlets() - before <= 1, len(fork._kept))     # (greenlet forgets a thread's own one a little later)
    """)
    assert done.stdout == "True 0\n"
