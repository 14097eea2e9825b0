"""Everybody asleep for good is reported, never waited in; and never reported when somebody could still be woken."""

import subprocess
import sys
import textwrap

import pytest

from support import python

PARK = """
    import gopark, os, sys, threading, signal
    from gopark import go, net
    def forever(): gopark.Chan().recv()
"""


def test_a_deadlock_is_reported_with_every_goroutine_and_ends_with_status_2() -> None:
    done = python(PARK + "    gopark.run(lambda: go(forever).join())", check=False)
    assert done.returncode == 2
    assert "fatal error: all goroutines are asleep - deadlock!" in done.stderr
    assert "chan receive" in done.stderr


def test_it_is_raised_in_the_main_goroutine_which_can_go_on() -> None:
    program = """
    def main():
        try: forever()
        except gopark.Deadlock as e: print(e)
        gopark.sleep(0.001)
        print("goes on")
    gopark.run(main)
    """
    assert python(PARK + program).stdout.split("\n")[:2] == [
        "all goroutines are asleep - deadlock!",
        "goes on",
    ]


@pytest.mark.parametrize(
    ("what", "setup"),
    [
        ("a netpoll waiter", "a, b = net.pipe(); go(a.read)"),
        ("a timer", "go(gopark.sleep, 60)"),
        ("a blocking call", "go(gopark.blocking, time.sleep, 60)"),
        ("another thread", "threading.Thread(target=time.sleep, args=(60,)).start()"),
        ("a signal handler", "signal.signal(signal.SIGUSR2, lambda s, f: None)"),
    ],
)
def test_no_false_alarm_with(what: str, setup: str) -> None:
    program = (
        PARK
        + f"""
    import time
    def main():
        {setup}
        go(forever)
        os.write(1, b"parks")
        forever()
    gopark.run(main)
    """
    )
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"parks"
        try:
            # Nothing is to happen: past the moment in which a deadlock is reported, and past the second look.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.3)
        finally:
            process.kill()
        assert process.communicate()[1] == b""


def test_a_thread_may_come_late_and_wake_somebody() -> None:
    program = """
    import time
    ch = gopark.Chan()
    def main():
        def waker():
            time.sleep(0.3)
            ch.send("late")
        threading.Thread(target=waker, daemon=True).start()
        print(ch.recv())
    gopark.run(main)
    """
    assert python(PARK + program).stdout.strip() == "late"


def test_a_thread_that_ends_without_waking_anybody_leaves_a_deadlock() -> None:
    program = """
    import time
    def main():
        threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()
        forever()
    gopark.run(main)
    """
    assert python(PARK + program, check=False).returncode == 2
