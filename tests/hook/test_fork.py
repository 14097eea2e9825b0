"""Forked children: the goroutine that forked is the program there, and hooked calls park."""

from hooked import patched


def test_hooked_calls_park_in_a_forked_child() -> None:
    patched("""
        a, b = socket.socketpair()
        waiting = [go(a.recv, 1), go(time.sleep, 30)]
        time.sleep(0.01)
        pid = os.fork()
        if pid == 0:
            c, d = socket.socketpair()
            readers = [go(c.recv, 1), go(a.recv, 1)]
            time.sleep(0.01)
            d.send(b"x"); b.send(b"yy")  # one for each process
            assert [r.result() for r in readers] == [b"x", b"y"]
            began = time.monotonic()
            sleepers = [go(time.sleep, 0.1) for _ in range(20)]
            for s in sleepers: s.result()
            assert time.monotonic() - began < 1
            grandchild = os.fork()
            if grandchild == 0:
                time.sleep(0.01)
                os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 3
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert waiting[0].result() == b"y"
    """)


def test_goroutine_that_forks_is_the_childs_program() -> None:
    patched("""
        def forks():
            pid = os.fork()
            if pid == 0:
                time.sleep(0.01)
                signal.signal(signal.SIGUSR2, lambda *a: os._exit(7))
                os.kill(os.getpid(), signal.SIGUSR2)
                time.sleep(10)
                os._exit(1)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        gs = [go(forks) for _ in range(3)]
        assert [g.result() for g in gs] == [7, 7, 7]
    """)


def test_subprocess_leaves_the_parents_descriptors_alone() -> None:
    # Between vfork and exec the child closes descriptors in its parent's memory.
    patched("""
        import subprocess
        a, b = socket.socketpair()
        os.set_inheritable(a.fileno(), True)
        reader = go(a.recv, 1)
        time.sleep(0.01)
        for args in ({}, {"close_fds": False}, {"preexec_fn": lambda: time.sleep(0.01)}, {"pass_fds": [a.fileno()]}):
            assert subprocess.run(["true"], stdin=subprocess.DEVNULL, **args).returncode == 0
            assert not reader.done
        b.send(b"x")
        assert reader.result() == b"x"
        try:
            subprocess.run(["/nonexistent"])
        except FileNotFoundError:
            pass
        assert os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0
    """)


def test_fork_warns_of_the_programs_threads_alone() -> None:
    patched("""
        import warnings
        warnings.simplefilter("error")
        go(time.sleep, 5)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """)


def test_native_thread_may_fork() -> None:
    patched("""
        statuses = []
        def forks():
            pid = os.fork()
            if pid == 0:
                time.sleep(0.01)
                os._exit(4)
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        gopark.blocking(forks)
        assert statuses == [4]
        b, a = os.pipe()
        def says():
            os.dup2(a, 2)
            forks()
        gopark.blocking(says)
        os.close(a); os.close(2)
        assert os.read(b, 100) == b""
    """)


def test_spawned_childrens_queues_lose_nothing() -> None:
    patched("""
        import multiprocessing
        for method in ("fork", "spawn", "forkserver"):
            context = multiprocessing.get_context(method)
            queue = context.Queue()
            child = context.Process(target=queue.put, args=(method,))
            child.start()
            assert queue.get(timeout=20) == method
            child.join()
            assert child.exitcode == 0
    """)
