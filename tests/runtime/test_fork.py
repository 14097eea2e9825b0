"""os.fork: the child has a working runtime of its own, the parent notices nothing."""

import sys
import textwrap

import pytest

from support import python

ECHO = """
    import gopark, os, sys
    from gopark import go, net
    def handle(conn):
        with conn:
            while data := conn.read(): conn.write(data)
    def serve(listener):
        for conn in listener: go(handle, conn)
    def talk(listener, text):
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as conn:
            conn.write(text)
            return conn.read_exactly(len(text))
    def wait(pid):
        return os.waitstatus_to_exitcode(gopark.blocking(os.waitpid, pid, 0)[1])
"""


def run(program: str) -> str:
    return str(python(ECHO + program, timeout=40).stdout)


def test_the_child_has_a_poller_and_only_the_forking_goroutine() -> None:
    out = run("""
    def main():
        with net.listen("tcp", "127.0.0.1:0") as listener:
            go(serve, listener)
            assert talk(listener, b"before") == b"before"
            go(gopark.sleep, 1000)
            gopark.sleep(0.001)
            if (pid := os.fork()) == 0:
                assert gopark.num_goroutine() == 1, gopark.num_goroutine()
                assert gopark.statistics().netpoll_waiters == 0
                go(serve, listener)                     # the parent was parked in accept on the same descriptor
                for _ in range(20): assert talk(listener, b"child") == b"child"
                gopark.sleep(0.001)
                os._exit(7)
            for _ in range(20): assert talk(listener, b"parent") == b"parent"
            assert wait(pid) == 7
            assert talk(listener, b"after") == b"after"
    gopark.run(main)
    print("ok")
    """)
    assert out.strip() == "ok"


def test_nothing_of_the_parents_goroutines_runs_in_the_child() -> None:
    out = run("""
    parent = os.getpid()
    def other():
        try: gopark.sleep(1000)
        finally: os.write(1, b"parent\\n" if os.getpid() == parent else b"CHILD\\n")
    def main():
        for _ in range(50): go(other)
        gopark.sleep(0.001)
        if (pid := os.fork()) == 0:
            import gc; gc.collect()
            gopark.sleep(0.01)
            sys.exit(3)                                 # a normal exit, with all that Python does then
        assert wait(pid) == 3
    gopark.run(main)
    """)
    assert out.split() == ["parent"] * 50


def test_a_goroutine_that_forks_is_the_childs_program() -> None:
    out = run("""
    def forker():
        if (pid := os.fork()) == 0:
            gopark.sleep(0.001)
            print("child", gopark.num_goroutine())
            return
        print("status", wait(pid))
    def main():
        go(forker).result()
        print("main")
    gopark.run(main)
    """)
    assert out.split("\n")[:-1] == ["child 1", "status 0", "main"]


def test_deadlines_survive_and_descriptors_can_be_closed_in_the_child() -> None:
    out = run("""
    def main():
        a, b = net.pipe()
        reader = go(a.read)
        gopark.sleep(0.001)
        a.set_read_deadline(gopark.time.now() + 0.2)
        if (pid := os.fork()) == 0:
            try: a.read()                               # the parent's reader holds the lock: not here
            except net.DeadlineExceeded: pass
            else: os._exit(1)
            a.close(); b.close()
            os._exit(0)
        assert wait(pid) == 0
        try: reader.result()
        except net.DeadlineExceeded: print("ok")
        b.write(b"x"); a.set_read_deadline(None); print(a.read())
    gopark.run(main)
    """)
    assert out.split("\n")[:2] == ["ok", "b'x'"]


def test_fork_from_another_thread() -> None:
    out = run("""
    import threading
    def fork():
        if (pid := os.fork()) == 0:
            def child():
                a, b = net.pipe()
                go(a.write, b"x")
                return b.read()
            os._exit(0 if gopark.run(child) == b"x" else 1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    def main():
        go(gopark.sleep, 1000)
        print(gopark.blocking(fork))
    gopark.run(main)
    """)
    assert out.strip() == "0"


def test_multiprocessing_with_fork_and_spawn_from_a_goroutine() -> None:
    out = run("""
    import multiprocessing
    def job(queue):
        def child():
            a, b = net.pipe()
            go(a.write, b"x")
            return b.read()
        queue.put(gopark.run(child))
    def parent(method):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=job, args=(queue,))
        process.start()
        value = gopark.blocking(queue.get)
        gopark.blocking(process.join)
        return value, process.exitcode
    def main():
        print(go(parent, "fork").result())
        # spawn imports the main module again, which a program given with -c has not got
        context = multiprocessing.get_context("spawn")
        def spawned():
            process = context.Process(target=gopark.run, args=(gopark.sleep, 0.001))
            process.start()
            gopark.blocking(process.join)
            return process.exitcode
        print(go(spawned).result())
    if __name__ == "__main__": gopark.run(main)
    """)
    assert out.split("\n")[:2] == ["(b'x', 0)", "0"]


def test_frozen_objects_and_subclasses_forget_who_is_not_there() -> None:
    """The waiting goroutines are found by what they do, not by the collector, which does not list what is frozen."""
    out = run("""
    import gc
    from gopark import sync
    class OwnMutex(sync.Mutex): pass
    class OwnChan(gopark.Chan): pass
    def main():
        for new_mutex, new_chan in ((sync.Mutex, gopark.Chan), (OwnMutex, OwnChan)):
            mutex, ch = new_mutex(), new_chan()
            mutex.lock()
            waiters = [go(mutex.lock), go(ch.recv), go(gopark.select, ch.on_recv(), gopark.Chan().on_recv())]
            gopark.sleep(0.001)
            gc.freeze()
            if (pid := os.fork()) == 0:
                assert not ch.try_send(1)
                mutex.unlock()
                assert mutex.lock(timeout=0)
                os._exit(0)
            print(wait(pid))
            for g in waiters: g.cancel()
    gopark.run(main)
    """)
    assert out.split() == ["0", "0"]


def test_goroutines_that_do_not_exist_count_as_ended() -> None:
    out = run("""
    from gopark import errgroup, sync
    def main():
        wg = sync.WaitGroup()
        sleeper = wg.go(gopark.sleep, 1000)
        with errgroup.Group(limit=1) as group:
            group.go(gopark.sleep, 1000)
            waiting = go(lambda: group.go(int))                 # for a slot
            gopark.sleep(0.001)
            if (pid := os.fork()) == 0:
                assert sleeper.done and sleeper.join(1) and wg.wait(1)
                assert isinstance(sleeper.exception, gopark.Cancelled)
                assert group.go(lambda: 7).result(5) == 7       # the slot is free
                os._exit(0)
            print(wait(pid))
            assert not sleeper.done
            group.cancel()
    gopark.run(main)
    """)
    assert out.split() == ["0"]


def test_threads_that_do_not_exist_hold_nothing_up() -> None:
    """One may have been in the middle of a channel operation, or blocked in a lock."""
    out = run("""
    import signal, threading
    from gopark import sync
    def main():
        ch, mutex, empty = gopark.Chan(1), sync.Mutex(), gopark.Chan()
        mutex.lock()
        def hammer():
            while True:
                ch.try_send(1); ch.try_recv()
        for fn in (hammer, hammer, mutex.lock, empty.recv):
            threading.Thread(target=fn, daemon=True).start()
        while not (mutex.statistics().waiting and empty.statistics().receivers): gopark.sleep(0.001)
        statuses = set()
        for _ in range(20):
            gopark.sleep(0.001)
            if (pid := os.fork()) == 0:
                signal.alarm(20)
                gopark.Chan(1).try_send(1)
                assert not empty.try_send(1)
                mutex.unlock()
                assert mutex.lock(timeout=0)
                os._exit(0)
            statuses.add(wait(pid))
        print(statuses, flush=True)
        os._exit(0)
    gopark.run(main)
    """)
    assert out.strip() == "{0}"


def test_forked_goroutine_may_run_gopark_itself() -> None:
    out = run("""
    def forker(again):
        if (pid := os.fork()) == 0:
            gopark.run(gopark.sleep, 0.001)
            if again:
                gopark.sleep(0.001)
            return
        return wait(pid)
    def main():
        print(go(forker, False).result(), go(forker, True).result())
    gopark.run(main)
    """)
    assert out.strip() == "0 0"


def test_timers_of_objects_go_on_and_functions_are_the_parents() -> None:
    out = run("""
    from gopark import context, time
    parent = os.getpid()
    def main():
        ctx = context.with_timeout(0.05)
        ctx.done
        timer, ticker = time.Timer(0.05), time.Ticker(0.02)
        time.after_func(0.05, lambda: print("function in the", "parent" if os.getpid() == parent else "CHILD", flush=True))
        if (pid := os.fork()) == 0:
            for ch in (ctx.done, timer.c, ticker.c, ticker.c):
                assert gopark.select(ch.on_recv(), timeout=10)[0] == 0
            os._exit(0)
        print(wait(pid), flush=True)
        gopark.sleep(0.1)
    gopark.run(main)
    """)
    assert sorted(out.split("\n")) == ["", "0", "function in the parent"]


def test_child_that_cannot_have_a_poller_says_so_and_recovers() -> None:
    """Out of descriptors: the wait that needs the poller gets the error; the parent's is never used."""
    out = run("""
    import resource, time
    def main():
        a, b = net.pipe()
        parked = go(a.read)
        gopark.sleep(0.001)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        pid = os.fork()
        if pid == 0:
            said = []
            for park in (lambda: gopark.sleep(5), b.read, lambda: gopark.sleep(5)):
                start = time.monotonic()
                try: park()
                except OSError as e: said.append(e.errno)
                assert time.monotonic() - start < 2
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            g = go(b.read)                     # registered before the fork: now again
            gopark.sleep(0.001)
            a.write(b"x")
            said.append(g.result(5))
            # A signal that comes just before a wait ends it, as in every other process.
            said.append(gopark.runtime.proc.getp().poller.sigfd >= 0)
            os.write(1, repr(said).encode())
            os._exit(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert wait(pid) == 0
        assert not parked.done and gopark.statistics().netpoll_waiters == 1
        b.write(b"y")
        assert parked.result(5) == b"y"
    gopark.run(main)
    """)
    assert out.strip() == "[24, 24, 24, b'x', True]"


STATES = {
    "a goroutine's clean-up at the end of the run": """
        def other():
            try: gopark.sleep(100)
            finally: fork()
        def main():
            gopark.go(other)
            gopark.sleep(0.001)
        gopark.run(main)
    """,
    "a signal handler while all are parked": """
        def main():
            signal.signal(signal.SIGUSR2, lambda *args: fork())
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR2)).start()
            gopark.go(gopark.sleep, 100)
            gopark.sleep(0.1)
        gopark.run(main)
    """,
    "a finalizer of what a goroutine leaves": """
        class Last:
            def __del__(self): fork()
        def main():
            gopark.go(Last)
            gopark.sleep(0.01)
        gopark.run(main)
    """,
    "an atexit handler, after the first use": """
        gopark.go(gopark.sleep, 100)
        gopark.sleep(0.001)
        atexit.register(fork)
    """,
    "another thread while the run ends": """
        forked = threading.Event()
        def thread():
            fork()
            forked.set()
        def other():
            try: gopark.sleep(100)
            finally:
                threading.Thread(target=thread).start()
                with gopark.shield(): gopark.blocking(forked.wait)
        def main():
            gopark.go(other)
            gopark.sleep(0.001)
        gopark.run(main)
    """,
}


@pytest.mark.parametrize("state", STATES)
def test_child_forked_by(state: str) -> None:
    """Either of the two ends, and gopark works in the child, if it is free there."""
    if "atexit" in state and sys.version_info[:2] == (3, 12):
        pytest.skip("CPython 3.12 does not fork at its end")
    fork = """
        import atexit, os, signal, sys, threading, warnings
        import gopark
        warnings.simplefilter("ignore")
        def use():
            return gopark.go(lambda: gopark.sleep(0.001) or "works").result()
        def fork():
            parent = os.getpid()
            pid = os.fork()
            if pid:
                print("child", os.waitpid(pid, 0)[1], flush=True)
                return
            signal.alarm(20)
            try: print("in the child:", use(), flush=True)
            except RuntimeError: print("in the child:", gopark.run(use), flush=True)
    """
    done = python(textwrap.dedent(fork) + textwrap.dedent(STATES[state]))
    assert sorted(done.stdout.splitlines()) == ["child 0", "in the child: works"]
    assert done.stderr == ""


@pytest.mark.parametrize("forker", ["the goroutine", "a thread"])
def test_close_that_a_thread_has_handed_over_is_done_in_the_child_as_well(forker: str) -> None:
    """Else the peer sees no end while the child lives."""
    done = python(
        f"""
        import os, threading
        import gopark
        from gopark import net

        def main():
            a, b = net.pipe()
            fd = a.fileno()
            t = threading.Thread(target=a.close)
            t.start()
            t.join()  # no scheduling decision since

            def fork():
                if os.fork():
                    return
                if {forker == "the goroutine"}:
                    gopark.gosched()
                try:
                    os.fstat(fd)
                    print("open", flush=True)
                except OSError:
                    print("closed", flush=True)
                os._exit(0)

            if {forker == "the goroutine"}:
                fork()
            else:
                t = threading.Thread(target=fork)
                t.start()
                t.join()
            os.wait()
            assert b.read() == b""

        gopark.run(main)
        """
    )
    assert done.stdout == "closed\n"
