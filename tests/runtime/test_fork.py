"""os.fork: the child has a working runtime of its own, the parent notices nothing."""

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
