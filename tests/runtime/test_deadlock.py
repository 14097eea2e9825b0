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


def test_a_thread_that_has_only_just_been_started_may_wake_somebody() -> None:
    """It has not run yet, so it has no frame; and nobody but Python knows of it."""
    program = """
    import _thread
    def main():
        for i in range(50):
            ch = gopark.Chan()
            _thread.start_new_thread(lambda: ch.send(i), ())
            assert ch.recv() == i
        print("ok")
    gopark.run(main)
    """
    assert python(PARK + program).stdout.strip() == "ok"


def test_stopped_timers_and_infinite_waits_do_not_hide_it() -> None:
    program = """
    from gopark import sync, time
    def main():
        time.Timer(3600).stop()
        waiters = [gopark.go(gopark.sleep, float("inf")), gopark.go(gopark.Chan().recv)]
        waiters.append(gopark.go(gopark.select, gopark.Chan().on_recv(), timeout=float("inf")))
        waiters.append(gopark.go(waiters[0].join, float("inf")))
        gopark.sleep(0.001)
        assert all("select" in g.waitreason or g.waitreason for g in waiters)
        forever()
    gopark.run(main)
    """
    done = python(PARK + program, check=False)
    assert done.returncode == 2 and "all goroutines are asleep" in done.stderr


def test_signal_handler_that_raises_just_then_leaves_the_runtime_sound() -> None:
    """While it is found out whether everybody is asleep no goroutine runs: what a handler raises there is main's."""
    program = """
    import os, signal
    from gopark.runtime import deadlock
    class Timeout(Exception): pass
    def handler(*args): raise Timeout
    look = deadlock._other_threads
    def interrupted():
        deadlock._other_threads = look
        os.kill(os.getpid(), signal.SIGALRM)
        return look()
    def main():
        signal.signal(signal.SIGALRM, handler)
        deadlock._other_threads = interrupted
        for _ in range(2):
            try: gopark.Chan().recv()
            except Timeout: print("timeout")
            assert gopark.current().id == 1
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        signal.setitimer(signal.ITIMER_REAL, 0)
    gopark.run(main)
    """
    assert python(PARK + program).stdout.split() == ["timeout", "timeout"]


def test_thread_of_a_c_library_may_wake_somebody() -> None:
    """One that Python does not know until it calls back: here the C library's timer thread."""
    program = """
    import ctypes, threading, gc
    class sigevent(ctypes.Structure):
        _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int),
                    ("function", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("pad", ctypes.c_char * 64)]
    libc = ctypes.CDLL(None)
    CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def main():
        ch = gopark.Chan(1)
        called = CALLBACK(lambda value: ch.try_send("called back") and None)
        event = sigevent(None, 0, 2, ctypes.cast(called, ctypes.c_void_p).value)        # SIGEV_THREAD
        timer = ctypes.c_void_p()
        assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
        spec = (ctypes.c_long * 4)(0, 0, 0, 200_000_000)
        assert libc.timer_settime(timer, 0, spec, None) == 0
        print(ch.recv())
    gopark.run(main)
    """
    assert python(PARK + program).stdout == "called back\n"


def test_watchdog_of_faulthandler_wakes_nobody() -> None:
    program = """
    import faulthandler
    faulthandler.dump_traceback_later(20, exit=True)
    gopark.run(lambda: gopark.Chan().recv())
    """
    done = python(PARK + program, check=False)
    assert done.returncode == 2 and "all goroutines are asleep" in done.stderr


def test_looking_keeps_nothing_alive_that_the_program_drops() -> None:
    program = """
    import gc, weakref
    class Thing: pass
    def waits(thing):
        done = gopark.Chan()
        thread = threading.Thread(target=lambda: (time.sleep(0.02), go(done.send, 1)))
        thread.start()
        done.recv()  # nothing but that thread can end it
        thread.join()
    def main():
        gc.disable()
        thing = Thing()
        gone = weakref.ref(thing)
        waits(thing)
        del thing
        assert gone() is None
    import time
    gopark.run(main)
    """
    python(PARK + program)
