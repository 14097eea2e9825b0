"""Waiting for child processes parks: a known child, any child, a group's, stops; and what is made of it."""

from hooked import patched

BESIDE = """
    import subprocess
    def beside(wait, *, ends):
        "wait() in a goroutine; ends() is called when it is parked: what wait returned"
        waiter = go(wait)
        gopark.gosched()
        time.sleep(0.02)
        assert not waiter.done, "it did not wait"
        ends()
        return waiter.result()
    def child(code="input()"):
        return subprocess.Popen(["sh", "-c", "read x; exit 3"], stdin=subprocess.PIPE)
"""


def test_wait_for_a_child_parks_in_every_form() -> None:
    patched(
        BESIDE
        + """
    for form in (
        lambda pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
        lambda pid: os.waitstatus_to_exitcode(os.wait4(pid, 0)[1]),
        lambda pid: os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]),
        lambda pid: os.waitstatus_to_exitcode(os.waitpid(0, 0)[1]),
        lambda pid: os.waitstatus_to_exitcode(os.wait3(0)[1]),
        lambda pid: os.waitstatus_to_exitcode(os.wait()[1]),
        lambda pid: os.waitid(os.P_PID, pid, os.WEXITED).si_status,
        lambda pid: os.waitid(os.P_ALL, 0, os.WEXITED).si_status,
        lambda pid: os.waitid(os.P_PGID, os.getpgrp(), os.WEXITED).si_status,
        lambda pid: os.waitid(os.P_PIDFD, os.pidfd_open(pid), os.WEXITED).si_status,
    ):
        p = child()
        assert beside(lambda: form(p.pid), ends=p.stdin.close) == 3
        p.returncode = 3
    """
    )


def test_waitid_that_takes_nothing_leaves_the_child_to_the_next() -> None:
    patched(
        BESIDE
        + """
    p = child()
    look = lambda: os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
    assert beside(look, ends=p.stdin.close) == p.pid
    assert look() == p.pid
    assert p.wait() == 3
    """
    )


def test_stop_and_continuation_of_a_child_are_waited_for() -> None:
    patched(
        BESIDE
        + """
    p = child()
    stopped = beside(lambda: os.waitpid(p.pid, os.WUNTRACED)[1], ends=lambda: p.send_signal(signal.SIGSTOP))
    assert os.WIFSTOPPED(stopped)
    going = beside(lambda: os.waitpid(-1, os.WCONTINUED)[1], ends=lambda: p.send_signal(signal.SIGCONT))
    assert os.WIFCONTINUED(going)
    p.stdin.close()
    assert p.wait() == 3
    """
    )


def test_two_waiters_for_one_child_both_come_back() -> None:
    patched(
        BESIDE
        + """
    def wait(*args):
        try:
            return os.waitstatus_to_exitcode(os.waitpid(*args)[1])
        except ChildProcessError:
            return "none"
    for args in ((0,), (-1,)):
        p = child()
        waiters = [go(wait, p.pid, 0), go(wait, p.pid, 0), go(wait, -1, 0), go(wait, -1, 0)]
        time.sleep(0.02)
        p.stdin.close()
        assert sorted(map(str, (w.result() for w in waiters))) == ["3", "none", "none", "none"]
        p.returncode = 3
    """
    )


def test_any_child_is_found_when_it_is_started_after_the_wait_began() -> None:
    patched(
        BESIDE
        + """
    first = child()
    started = []
    def start():
        started.append(subprocess.Popen(["true"]))
    assert beside(lambda: os.wait()[0], ends=start) == started[0].pid
    started[0].returncode = 0
    first.stdin.close()
    assert first.wait() == 3
    """
    )


def test_zombie_that_nobody_asks_for_keeps_no_thread_busy() -> None:
    patched(
        BESIDE
        + """
    zombie = subprocess.Popen(["true"], process_group=0)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    p = child()
    before = time.process_time()
    beside(lambda: os.waitpid(0, 0), ends=lambda: (time.sleep(0.2), p.stdin.close()))
    assert time.process_time() - before < 0.1
    p.returncode = 3
    assert zombie.wait() == 0
    """
    )


def test_interrupted_waits_leave_at_most_one_thread() -> None:
    patched(
        BESIDE
        + """
    p = child()
    threads = lambda: len(os.listdir("/proc/self/task"))
    before = threads()
    for _ in range(20):
        waiter = go(os.wait)
        time.sleep(0.001)
        waiter.cancel()
        assert waiter.join(10)
    assert threads() == before + 1
    assert beside(lambda: os.wait()[0], ends=p.stdin.close) == p.pid
    p.returncode = 3
    """
    )


def test_no_children_is_said_at_once() -> None:
    patched(
        """
    for wait in (os.wait, lambda: os.waitpid(-1, 0), lambda: os.waitpid(os.getppid(), 0), lambda: os.wait3(0)):
        try:
            wait()
        except ChildProcessError:
            continue
        raise AssertionError("there was none")
    """
    )


def test_children_are_waited_for_without_descriptors() -> None:
    patched(
        BESIDE
        + """
    import resource
    p = child()
    free = os.open("/dev/null", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    assert beside(lambda: os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]), ends=p.stdin.close) == 3
    p.returncode = 3
    """
    )


def test_subprocesses_run_beside_one_another() -> None:
    patched("""
        import subprocess
        began = time.monotonic()
        def one(i):
            done = subprocess.run(["sh", "-c", "sleep 0.3; cat"], input=b"%d" % i, capture_output=True, timeout=20)
            return int(done.stdout)
        runs = [go(one, i) for i in range(10)]
        assert [r.result() for r in runs] == list(range(10))
        assert time.monotonic() - began < 2.5
        try:
            subprocess.run(["sleep", "60"], timeout=0.05)
        except subprocess.TimeoutExpired:
            pass
        else:
            raise AssertionError("no timeout")
    """)


def test_system_and_popen_park() -> None:
    patched("""
        began = time.monotonic()
        commands = [go(os.system, "sleep 0.3; exit 5") for _ in range(10)]
        readers = [go(lambda: os.popen("sleep 0.3; echo hello").read()) for _ in range(10)]
        assert {os.waitstatus_to_exitcode(c.result()) for c in commands} == {5}
        assert {r.result() for r in readers} == {"hello\\n"}
        assert os.system("exit 0") == 0 and os.waitstatus_to_exitcode(os.system("/nonexistent/x 2>/dev/null")) == 127
        assert os.waitstatus_to_exitcode(os.system("kill -9 $$")) == -9
        assert time.monotonic() - began < 2.5
    """)


def test_system_ignores_interrupts_until_the_last_one_has_ended() -> None:
    patched("""
        first, second = go(os.system, "sleep 0.1"), go(os.system, "sleep 0.2")
        gopark.gosched()
        os.kill(os.getpid(), signal.SIGINT)
        first.result()
        os.kill(os.getpid(), signal.SIGINT)
        second.result()
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("SIGINT was not given back")
    """)


def test_cancelled_system_kills_its_command() -> None:
    patched("""
        r, w = os.pipe()
        os.set_inheritable(w, True)
        running = go(os.system, f"exec sleep 60")
        gopark.gosched()
        os.close(w)
        running.cancel()
        assert running.join(10)
        assert os.read(r, 1) == b""  # the command had the other end
    """)
