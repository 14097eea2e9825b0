"""Signals: handlers run promptly while all goroutines are parked; Ctrl-C is the main goroutine's alone."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import gopark
from gopark.runtime import proc
from support import eventually, goroutines, parked, python


def interrupted(program: str, signum: int = signal.SIGINT) -> tuple[int, str, str, float]:
    """Run *program*, send *signum* once it says "ready"; (status, output, errors, seconds until it ended)."""
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        begin = time.monotonic()
        child.send_signal(signum)
        try:
            out, err = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            raise AssertionError(
                "the signal did not end it: " + "".join(map(str, child.communicate()))
            ) from None
        return child.returncode, out, err, time.monotonic() - begin


PARKED = {
    "asleep": "gopark.sleep(1e6)",
    "in the network": "net.listen('tcp', '127.0.0.1:0').accept()",
    "joining": "gopark.go(gopark.sleep, 1e6).join()",
    "deadlocked but for the network": "pair = net.pipe(); gopark.go(pair[0].read); WaitQ().park('for ever')",
    "beside a busy goroutine": "gopark.go(spin); gopark.sleep(1e6)",
}


@pytest.mark.parametrize("where", PARKED)
def test_ctrl_c_reaches_the_parked_main_goroutine(where: str) -> None:
    status, out, err, seconds = interrupted(f"""
        import gopark, sys, warnings
        from gopark import net
        from gopark.runtime.sema import WaitQ
        warnings.simplefilter("ignore", ResourceWarning)
        def spin():
            while True:
                gopark.gosched()
        def main():
            gopark.go(print, "ready", flush=True)
            try:
                {PARKED[where]}
            except KeyboardInterrupt:
                print("interrupted", gopark.current().name)
                sys.exit(3)
        gopark.run(main)
    """)
    assert (status, out) == (3, "interrupted main\n"), err
    assert seconds < 10


def test_ctrl_c_is_raised_in_main_although_another_goroutine_runs() -> None:
    """The goroutine that happens to run sees nothing of it."""
    status, out, err, _ = interrupted("""
        import gopark, time
        def busy():
            try:
                print("ready", flush=True)
                end = time.monotonic() + 0.5
                while time.monotonic() < end:
                    pass
            except KeyboardInterrupt:
                print("in the wrong goroutine")
                return
            print("busy went on")
        def main():
            g = gopark.go(busy)
            try:
                g.join()
                gopark.sleep(1e6)
            except KeyboardInterrupt:
                g.join()
                print("in main")
        gopark.run(main)
    """)
    assert status == 0, err
    assert out.splitlines() == ["busy went on", "in main"]


def test_ctrl_c_in_running_main_is_immediate() -> None:
    status, out, err, _ = interrupted("""
        import gopark, time
        def main():
            try:
                print("ready", flush=True)
                while True:
                    pass
            except KeyboardInterrupt:
                print("in main")
        gopark.run(main)
    """)
    assert (status, out) == (0, "in main\n"), err


def test_uncaught_ctrl_c_ends_the_program_as_python_does() -> None:
    status, _, err, _ = interrupted("""
        import gopark
        def main():
            print("ready", flush=True)
            gopark.sleep(1e6)
        gopark.run(main)
    """)
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in err


def test_ctrl_c_without_run() -> None:
    status, _, err, _ = interrupted("""
        import gopark
        print("ready", flush=True)
        gopark.sleep(1e6)
    """)
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in err


@goroutines
def test_handler_runs_promptly_while_all_are_parked() -> None:
    seen: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda s, f: seen.append(s))
    try:
        t = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        t.start()
        g = gopark.go(gopark.sleep, 1e6)
        eventually(lambda: seen)
        g.cancel()
        assert g.join(5) and isinstance(g.exception, gopark.Cancelled)
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_handler_wakes_a_goroutine_while_everybody_is_parked() -> None:
    done = python("""
        import gopark, os, signal, threading
        from gopark import net
        from gopark.runtime.sema import WaitQ
        q = WaitQ()
        a, b = net.pipe()
        def main():
            signal.signal(signal.SIGUSR1, lambda s, f: gopark.go(q.wake_one))
            reader = gopark.go(a.read)  # so that this is no deadlock
            for i in range(50):
                kill = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
                gopark.go(kill.start)
                q.park("a signal")
            b.write(b"x")
            assert reader.result() == b"x"
            a.close(); b.close()
            print("ok")
        gopark.run(main)
    """)
    assert done.stdout == "ok\n"


def test_what_a_handler_raises_goes_to_the_main_goroutine() -> None:
    done = python(
        """
        import gopark, signal
        class Hup(Exception): pass
        def handler(s, f):
            raise Hup
        def main():
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                gopark.sleep(1e6)
            except Hup:
                print("hup", gopark.current().name)
        gopark.run(main)
        """
    )
    assert done.stdout == "hup main\n"


def test_signal_just_before_the_wait_is_not_overslept() -> None:
    """A timer's signal falls anywhere, also between the last bytecode and epoll_wait: the handler runs.

    (A lost one would be noticed only at the end of the 5 s sleep.)"""
    done = python("""
        import gopark, signal, time
        def main():
            me = gopark.current()
            signal.signal(signal.SIGALRM, lambda s, f: me.cancel())
            for i in range(3000):
                signal.setitimer(signal.ITIMER_REAL, 0.00001 + i % 50 / 1e6)
                begin = time.monotonic()
                try:
                    gopark.sleep(5)
                except gopark.Cancelled:
                    pass
                assert time.monotonic() - begin < 4, f"overslept at {i}"
        gopark.run(main)
    """)
    assert done.returncode == 0


def test_run_gives_the_wakeup_fd_back_and_leaves_another_ones_alone() -> None:
    gopark.run(lambda: gopark.sleep(0.001))
    assert signal.set_wakeup_fd(-1) == -1
    r, w = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(w)
    try:
        gopark.run(lambda: gopark.sleep(0.001))
    finally:
        assert signal.set_wakeup_fd(-1) == w
        os.close(r)
        os.close(w)


def test_run_gives_the_sigint_handler_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    gopark.run(lambda: gopark.sleep(0.001))
    assert signal.getsignal(signal.SIGINT) is before


def test_system_exit_in_a_goroutine_ends_the_program() -> None:
    done = python(
        """
        import gopark, sys
        def main():
            gopark.go(sys.exit, 7)
            try:
                gopark.sleep(1e6)
            finally:
                print("main's finally")
        gopark.run(main)
        """,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "main's finally\n", "")


@goroutines
def test_parked_goroutine_is_undisturbed_by_a_signal() -> None:
    """A signal cuts the wait short inside the scheduler only: no call of a goroutine sees EINTR."""
    old = signal.signal(signal.SIGUSR1, lambda s, f: None)
    try:
        from gopark import net

        a, b = net.pipe()
        g = parked(gopark.go(a.read), "IO wait")
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
            gopark.sleep(0.001)
        b.write(b"x")
        assert g.result(5) == b"x"
        a.close()
        b.close()
    finally:
        signal.signal(signal.SIGUSR1, old)


@goroutines
def test_wakeup_fd_that_asyncio_has_taken_away_is_set_again() -> None:
    async def handles_a_signal() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, print)

    ours = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(ours)
    asyncio.run(handles_a_signal())
    assert signal.set_wakeup_fd(-1) == -1
    proc.getp().watched = 0  # it was looked at more than a second ago
    gopark.sleep(0.001)
    assert signal.set_wakeup_fd(ours) == ours >= 0


def test_signals_that_fill_the_wakeup_pipe_say_nothing() -> None:
    """Nor after the descriptor was looked after, which happens once a second."""
    done = python(
        """
        import signal
        import gopark
        from gopark.runtime import interrupts

        def main():
            signal.signal(signal.SIGUSR1, lambda *args: None)
            interrupts.rewatch_signals()
            for _ in range(70_000):  # a pipe has room for 65,536
                signal.raise_signal(signal.SIGUSR1)

        gopark.run(main)
        """
    )
    assert done.stderr == ""
