"""The end of a run: every clean-up runs to its end, nothing that was raised is lost, and nothing goes on in the next run."""

import _thread
import errno
import os
import signal
import sys
import threading
import time as clock
import warnings
from collections.abc import Callable, Iterator

import pytest

import gopark
from gopark import go, net, time
from gopark.runtime import lifecycle, proc
from support import IS_COMPILED, descriptors, eventually, parked, python


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Goroutines that will not end are given up soon."""
    monkeypatch.setattr(lifecycle, "_CANCEL_GRACE", 0.05)
    monkeypatch.setattr(lifecycle, "_CANCEL_AGAIN", 0.01)
    yield


def test_sys_exit_of_a_goroutine_counts_although_main_returns_without_a_park() -> None:
    def main() -> str:
        go(sys.exit, 3).join()
        return "main returned"

    with pytest.raises(SystemExit) as e:
        gopark.run(main)
    assert e.value.code == 3


def test_interrupt_while_another_goroutine_runs_counts_although_main_returns_without_a_park() -> None:
    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

    with pytest.raises(KeyboardInterrupt):
        gopark.run(lambda: go(interrupted).join())


def cleaner(log: list[str], seconds: float = 0.05) -> None:
    try:
        gopark.sleep(100)
    finally:
        with gopark.shield():
            gopark.sleep(seconds)
            log.append("cleaned up")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGINT), id="KeyboardInterrupt"),
        pytest.param(lambda: sys.exit(4), id="SystemExit"),
    ],
)
def test_what_is_raised_in_main_during_the_clean_up_waits_for_its_end(how: Callable[[], None]) -> None:
    log: list[str] = []

    def another() -> None:
        try:
            gopark.sleep(100)
        finally:
            how()

    def main() -> None:
        for g in [go(cleaner, log), go(another), go(cleaner, log)]:
            parked(g)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        gopark.run(main)
    assert log == ["cleaned up"] * 2
    gopark.run(gopark.sleep, 0.1)
    assert log == ["cleaned up"] * 2  # nothing goes on in the next run


def test_cancelling_main_at_its_end_changes_neither_its_result_nor_the_clean_up() -> None:
    log: list[str] = []

    def main() -> int:
        parked(go(cleaner, log, 0.001))
        gopark.current().cancel()
        return 7

    assert gopark.run(main) == 7
    assert log == ["cleaned up"]


def test_error_of_main_is_raised_and_the_exit_of_a_goroutine_is_not_in_its_way() -> None:
    def main() -> None:
        g = go(sys.exit, 3)
        g.join()
        raise LookupError("main's own")

    with pytest.raises(SystemExit) as e:
        gopark.run(main)
    assert isinstance(e.value.__context__, LookupError)


def stubborn() -> None:
    while True:
        try:
            gopark.sleep(100)
        except gopark.Cancelled:
            pass


def test_thread_that_joins_a_goroutine_which_is_given_up_goes_on(no_patience: None) -> None:
    joined: list[object] = []

    def main() -> threading.Thread:
        g = parked(go(stubborn))

        def join() -> None:
            joined.append(g.join())
            joined.append(type(g.exception))

        t = threading.Thread(target=join)
        t.start()
        eventually(lambda: g.watchers)
        return t

    with pytest.warns(RuntimeWarning, match="1 goroutine.*abandoned"):
        t = gopark.run(main)
    t.join(20)
    assert joined == [True, gopark.Cancelled]


def test_threads_that_start_goroutines_while_run_ends_never_wait_for_ever() -> None:
    def keep_starting() -> None:
        while True:
            try:
                go(int).result()
            except gopark.Cancelled:
                continue
            except RuntimeError as e:
                assert "gopark does not run" in str(e)
                return

    for _ in range(30):
        t = threading.Thread(target=keep_starting, daemon=True)

        def main(t: threading.Thread = t) -> None:
            t.start()
            gopark.sleep(0.002)

        gopark.run(main)
        t.join(20)
        assert not t.is_alive()
        assert gopark.run(gopark.num_goroutine) == 1  # none of them begins now


def test_after_func_of_a_run_does_not_fire_in_the_next() -> None:
    fired: list[int] = []

    def main() -> None:
        time.after_func(0.01, fired.append, 1)

    gopark.run(main)
    assert proc.getp().timers.armed() == 0
    gopark.run(gopark.sleep, 0.03)
    assert fired == []


def test_timer_armed_before_a_run_fires_in_it() -> None:
    fired: list[int] = []
    time.after_func(0.001, fired.append, 1)

    gopark.run(lambda: eventually(lambda: fired))
    assert fired == [1]


def test_thread_that_outlives_the_script_is_told_that_gopark_does_not_run() -> None:
    """Started by first use; the script ends, its threads do not."""
    done = python("""
        import gopark, threading, time
        gopark.sleep(0.001)
        def late():
            threading.main_thread().join()      # it has ended when Python waits for the other threads
            try: print(gopark.go(lambda: 7).result())
            except RuntimeError as e: print(e)
        threading.Thread(target=late).start()
    """)
    assert "gopark does not run" in done.stdout


def test_goexit_in_a_script_lets_the_others_go_on_and_exits_with_0() -> None:
    done = python("""
        import gopark
        def other():
            gopark.sleep(0.02)
            print("the other went on")
        gopark.go(other)
        try: gopark.goexit()
        finally: print("finally")
    """)
    assert done.stdout.split("\n")[:2] == ["finally", "the other went on"]
    assert done.stderr == ""


def test_exception_that_nobody_collected_is_reported_at_exit_although_its_goroutine_is_referenced() -> None:
    done = python("""
        import gopark
        kept = []
        def main():
            for fn in (lambda: 1 / 0, lambda: [][1]):
                kept.append(gopark.go(fn))
            gopark.sleep(0.001)
        gopark.run(main)
        try: kept[1].result()
        except IndexError: pass
    """)
    assert done.stderr.count("never collected") == 1
    assert "ZeroDivisionError" in done.stderr and "IndexError" not in done.stderr


def test_clean_up_that_does_not_end_is_given_up_after_an_interrupt(no_patience: None) -> None:
    def main() -> None:
        parked(go(cleaner, [], 1000))
        os.kill(os.getpid(), signal.SIGINT)
        gopark.sleep(1000)

    begun = clock.monotonic()
    with pytest.warns(RuntimeWarning, match="abandoned"), pytest.raises(KeyboardInterrupt):
        gopark.run(main)
    assert clock.monotonic() - begun < 30


def test_goroutines_that_the_clean_up_starts_are_cancelled_when_the_others_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "_CANCEL_GRACE", 1000.0)  # nobody waits for so long
    log: list[str] = []

    def starts(depth: int) -> None:
        try:
            gopark.sleep(1000)
        finally:
            if depth:
                go(starts, depth - 1)
            log.append(f"ended {depth}")

    gopark.run(lambda: parked(go(starts, 15)))
    assert log == [f"ended {depth}" for depth in range(15, -1, -1)]


def test_clean_up_may_use_goroutines() -> None:
    log: list[str] = []

    def owner() -> None:
        try:
            gopark.sleep(1000)
        finally:
            with gopark.shield():
                log.append(go(lambda: gopark.sleep(0.01) or "helped").result(10))

    gopark.run(lambda: parked(go(owner)))
    assert log == ["helped"]


def compute(log: list[str]) -> None:
    try:
        while True:
            sum(range(100))
    finally:
        log.append("finally")


def test_goroutine_that_only_computes_ends_with_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never parks: after an interrupt it gets its Cancelled where it is preempted."""
    monkeypatch.setattr(lifecycle, "_CANCEL_GRACE", 1000.0)  # nobody waits for so long
    log: list[str] = []

    def main() -> None:
        go(compute, log)
        gopark.go(os.kill, os.getpid(), signal.SIGINT)
        gopark.sleep(1000)

    with pytest.raises(KeyboardInterrupt):
        gopark.run(main)
    assert log == ["finally"]


def test_or_after_its_time_is_up(no_patience: None) -> None:
    log: list[str] = []

    def main() -> None:
        go(compute, log)
        gopark.sleep(0.001)

    gopark.run(main)
    assert log == ["finally"]


def test_thread_that_keeps_starting_goroutines_does_not_keep_a_run_from_its_end(no_patience: None) -> None:
    stopped: list[str] = []

    def keep_starting() -> None:
        try:
            while True:
                go(gopark.sleep, 100)
        except RuntimeError as e:
            stopped.append(str(e))

    def main() -> threading.Thread:
        for _ in range(1000):
            go(gopark.sleep, 100)
        t = threading.Thread(target=keep_starting, daemon=True)
        t.start()
        gopark.sleep(0.002)
        return t

    gopark.run(main).join(20)  # no warning that any was abandoned, which would be an error here
    assert "gopark does not run" in stopped[0]


def test_warning_of_abandoned_goroutines_raised_as_an_error_has_abandoned_them(no_patience: None) -> None:
    turns = 0

    def undead() -> None:
        nonlocal turns
        while True:
            turns += 1
            try:
                gopark.sleep(0.0001)
            except gopark.Cancelled:
                pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match=r"1 goroutine.*abandoned.*undead"):
            gopark.run(lambda: parked(go(undead)))
    before = turns
    gopark.run(gopark.sleep, 0.01)
    assert turns == before and proc.getp().thread == 0


@pytest.mark.parametrize("use", ["gopark.run(gopark.sleep, 0.001)", "gopark.sleep(0.001)", "pass"])
def test_atexit_handlers_use_gopark_and_what_they_leave_runs_its_clean_up(use: str) -> None:
    done = python(f"""
        import atexit, gopark
        def left(n):
            try: gopark.sleep(100)
            finally: print("finally", n)
        def bye(n):
            gopark.go(left, n)
            gopark.sleep(0.001)
            print("bye", n, gopark.go(lambda: "child").result())
        for n in range(2): atexit.register(bye, n)
        {use}
    """)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["bye 1 child", "bye 0 child"] and sorted(lines[2:]) == ["finally 0", "finally 1"]
    assert done.stderr == ""


def test_start_that_fails_half_way_leaves_nothing_of_itself() -> None:
    done = python("""
        import gc, os, resource, signal, gopark
        from gopark.runtime import proc
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for room in range(5):                       # descriptors that can still be had
            taken = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            try:
                while True: taken.append(os.dup(0))
            except OSError: pass
            for fd in taken[:room]: os.close(fd)
            try: print(room, gopark.run(lambda: "ran"))
            except OSError as e:
                print(room, e)
                assert proc.getp().thread == 0 and proc.getp().g0 is None and not gc.callbacks
                assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
                assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
            for fd in taken[room:]: os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        def main():
            done = []
            def hog():
                while not done: pass
            gopark.go(hog)
            gopark.sleep(0.01)
            done.append(1)
            return gopark.statistics().preemptions > 0
        print(gopark.run(main))
    """)
    lines = done.stdout.splitlines()
    assert lines[0] == "0 [Errno 24] epoll_create1: cannot start the network poller: too many open files"
    assert lines[-2:] == ["4 ran", "True"]


@pytest.mark.parametrize(
    "how",
    [
        "sum(range(1_000_000))",
        "gopark.run(sum, range(1_000_000))",
        "gopark.run(lambda: sum(range(1_000_000)))",
    ],
)
def test_preemption_asked_for_at_the_very_end_says_nothing(how: str) -> None:
    """The call into C is over, the run as well, and the signal has not been looked at."""
    done = python(f"""
        import gopark
        for _ in range(5):
            gopark.go(int).result()
            {how}
    """)
    assert done.stderr == ""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_connections_that_only_a_dropped_timer_owned_are_closed_at_the_end() -> None:
    """Their finalizers run in the middle of the end, and of the timers' heap."""
    gopark.run(gopark.sleep, 0)  # the poller's own descriptors stay
    before = descriptors()

    def main() -> None:
        conns = [c for _ in range(40) for c in net.pipe()]
        for c in conns:
            c.set_read_deadline(time.now() + 1000)
        time.after_func(60, conns.clear)

    gopark.run(main)
    assert gopark.statistics().timers == 0
    assert descriptors() == before


def test_what_threads_hand_over_while_the_run_ends_is_done_without_another_run() -> None:
    """A close, and a deadline: if it comes too late for the P, whoever comes last does it."""

    conns: list[net.Conn] = []
    made: list[net.Conn] = []

    def closer() -> None:
        while conns:
            c = conns.pop()
            c.set_deadline(time.now() + 1000)
            c.close()

    def main(thread: threading.Thread) -> None:
        made[:] = [c for _ in range(20) for c in net.pipe()]
        conns.extend(made)
        thread.start()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            thread = threading.Thread(target=closer)
            gopark.run(main, thread)
            thread.join()
            assert [c for c in made if c.fd.sysfd >= 0] == []
            assert gopark.statistics().timers == 0
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.skipif(IS_COMPILED, reason="the compiled core's sysmon is no thread of Python's")
def test_sysmon_that_finds_no_thread_is_an_error_that_says_so_and_the_next_run_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*args: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as m:
        m.setattr(_thread, "start_new_thread", none)
        with pytest.raises(OSError, match="cannot start sysmon's thread") as e:
            gopark.run(gopark.sleep, 0)
        assert e.value.errno == errno.EAGAIN

    def main() -> int:
        done = False

        def stop() -> None:
            nonlocal done
            done = True

        time.after_func(0.03, stop)
        until = clock.monotonic() + 10
        while not done and clock.monotonic() < until:
            pass
        return gopark.statistics().preemptions

    assert gopark.run(main) > 0


def test_close_that_a_thread_hands_over_just_before_goroutines_are_given_up_is_done(
    no_patience: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving them up voids all operations in flight, and so the closing one's own reference."""
    conns: list[net.Conn] = []
    give_up = lifecycle._abandon_rest

    def closed_just_before(first: int) -> None:
        thread = threading.Thread(target=conns[0].close)
        thread.start()
        thread.join()
        give_up(first)

    monkeypatch.setattr(lifecycle, "_abandon_rest", closed_just_before)

    def stubborn() -> None:
        while True:
            try:
                gopark.sleep(100)
            except BaseException:
                pass

    def main() -> None:
        conns.extend(net.pipe())
        parked(go(stubborn))

    with pytest.warns(RuntimeWarning, match="abandoned"):
        gopark.run(main)
    assert conns[0].fd.sysfd == -1
    conns[1].close()
