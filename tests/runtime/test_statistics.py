"""gopark.statistics(): who waits for what, for how long one waits for its turn, and who kept everybody waiting."""

import json
import os
import textwrap
import threading
import time

import pytest

import gopark
from gopark import net
from gopark.cli import _attach
from gopark.runtime import proc, sysmon, tally
from support import IS_COMPILED, eventually, goroutines, parked, python, settle


@goroutines
def test_goroutines_are_counted_by_state_and_by_what_they_wait_for() -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        waiting = [parked(gopark.go(listener.accept), "IO wait")]
        waiting += [parked(gopark.go(gopark.Chan().recv)) for _ in range(3)]
        waiting += [parked(gopark.go(gopark.sleep, 1e6)) for _ in range(2)]
        runnable = [gopark.go(gopark.gosched) for _ in range(4)]
        seen = gopark.statistics()
        assert seen.states == {"running": 1, "runnable": 4, "waiting": 6}
        assert seen.wait_reasons == {"IO wait": 1, "chan receive": 3, "sleep": 2}
        assert sum(seen.states.values()) == seen.goroutines
        for gp in (*waiting, *runnable):
            gp.cancel()
            gp.join()
    assert gopark.statistics().states == {"running": 1}


def test_without_a_run_there_are_none() -> None:
    seen = gopark.statistics()
    assert (seen.states, seen.wait_reasons, seen.holding) == ({}, {}, 0.0)


def samples() -> int:
    return sum(gopark.statistics().latencies.values())


@pytest.mark.parametrize("how", ["gosched", "channel", "network", "go", "thread"])
@goroutines
def test_the_time_from_runnable_to_running_is_sampled(how: str) -> None:
    before = samples()
    rounds = 10 * tally.TRACK_TICKS
    if how == "gosched":
        for _ in range(rounds):
            gopark.gosched()
    elif how == "channel":
        there, back = gopark.Chan(), gopark.Chan()
        echo = gopark.go(lambda: [back.send(value) for value in there])
        for i in range(rounds):
            there.send(i)
            back.recv()
        there.close()
        echo.join()
    elif how == "network":
        with net.listen("tcp", "127.0.0.1:0") as listener:
            with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as conn, listener.accept() as peer:
                echo = gopark.go(lambda: [peer.write(peer.read()) for _ in range(rounds)])
                for _ in range(rounds):
                    conn.write(b"x")
                    conn.read()
                echo.join()
    elif how == "go":
        for _ in range(rounds):
            gopark.go(int).join()
    else:
        for _ in range(2 * tally.TRACK_TICKS):
            gopark.blocking(int)
    assert samples() > before
    assert all(
        bound * 1e6 == 2 ** round(bound * 1e6).bit_length() // 2 for bound in gopark.statistics().latencies
    )


@goroutines
def test_a_goroutine_that_waits_long_for_its_turn_is_seen_in_the_histogram() -> None:
    def slow() -> int:
        return sum(n for bound, n in gopark.statistics().latencies.items() if 0.02 < bound < 1)

    before = slow()
    for _ in range(2 * tally.TRACK_TICKS):
        gopark.gosched()
    with gopark.no_preempt():
        # Whoever is tracked next: it has to wait until this ends.
        while proc.getp().schedtick < proc.getp().tracktick:
            gopark.gosched()
        gp = gopark.go(int)
        time.sleep(0.05)
    gp.join()
    assert slow() == before + 1


@goroutines
def test_peaks_stay_when_what_they_are_of_has_gone() -> None:
    gs = [gopark.go(gopark.sleep, 0.2) for _ in range(300)]
    for gp in gs:
        gp.join()
    seen = gopark.statistics()
    assert seen.goroutines == 1 and seen.timers == 0
    assert seen.peak_goroutines >= 301
    assert seen.peak_timers >= 300
    assert seen.peak_runqueue >= 1
    with net.listen("tcp", "127.0.0.1:0") as listener:
        waiting = parked(gopark.go(listener.accept), "IO wait")
        gopark.sleep(0.001)
        waiting.cancel()
        waiting.join()
    assert gopark.statistics().netpoll_waiters == 0 < gopark.statistics().peak_netpoll_waiters


PROGRAM = """
    import time, gopark
    began = time.monotonic()
    sum(range(1_000_000))
    enough = int(200_000 / (time.monotonic() - began))
    def hog():
        sum(range(enough))  # 0.2 s in C, without a look for signals
    def polite():
        while True:
            gopark.sleep(0.001)
    def main():
        gopark.go(polite)
        gopark.go(polite)
        gopark.sleep(0.01)
        before = gopark.statistics()
        body()
        after = gopark.statistics()
        print(after.holds - before.holds)
        print(after.held_seconds - before.held_seconds)
        print(after.longest_hold)
        print(after.longest_hold_stack)
"""


def holds(body: str, **env: str) -> tuple[int, float, float, str]:
    """What a program counts whose body is that."""
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(body) + "\ngopark.run(main)\n"
    out = python(program, **env).stdout
    count, total, longest, stack = out.split("\n", 3)
    return int(count), float(total), float(longest), stack


def test_who_kept_everybody_waiting_in_c_is_found_at_the_line_that_did() -> None:
    count, total, longest, stack = holds("""
    def guilty():
        hog()
        gopark.sleep(0.001)
    def body():
        gp = gopark.go(guilty)
        gp.name = "the hog"
        gp.join()
    """)
    assert count >= 1
    assert 0.05 < longest <= total < 2
    lines = stack.splitlines()
    assert lines[0].startswith("goroutine 4 [") and lines[1] == "    name: the hog"
    if IS_COMPILED:
        assert lines[2] == "__main__.hog(...)" and lines[4] == "__main__.guilty(...)"
    else:
        # Its sysmon needs the GIL itself, and comes too late: where the goroutine parks next.
        assert "__main__.guilty(...)" in lines
    assert "body in goroutine 1\n" in stack


def test_who_parks_after_a_long_time_is_found_where_it_parks() -> None:
    count, _, longest, stack = holds(
        """
    def body():
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass
        gopark.sleep(0.001)
    """,
        GOPARK_ASYNCPREEMPT="0",
    )
    assert count >= 1 and 0.09 < longest < 2
    assert stack.startswith("goroutine 1 [running]:\n    name: main\n")
    assert "__main__.body(...)" in stack


def test_a_goroutine_alone_keeps_nobody_waiting() -> None:
    out = python("""
        import time, gopark
        def main():
            time.sleep(0.1)
            gopark.sleep(0.001)
            print(gopark.statistics().holds)
        gopark.run(main)
    """).stdout
    assert out == "0\n"


def test_waiting_is_no_hold() -> None:
    out = python("""
        import time, gopark
        def main():
            gopark.go(gopark.sleep, 1e6)
            gopark.sleep(0.3)
            gopark.blocking(time.sleep, 0.3)
            print(gopark.statistics().longest_hold)
        gopark.run(main)
    """).stdout
    assert float(out) < 0.25  # not 0: a busy machine may run others in our time


def test_the_longest_hold_keeps_nothing_alive() -> None:
    out = python(
        """
        import gc, time, weakref, gopark
        class Local: pass
        refs = []
        def guilty():
            local = Local()
            refs.append(weakref.ref(local))
            time.sleep(0.05)
            gopark.gosched()
        def main():
            gopark.go(guilty).join()
            gc.collect()
            print(refs[0]() is None, "guilty" in gopark.statistics().longest_hold_stack)
        gopark.run(main)
        """,
        GOPARK_ASYNCPREEMPT="0",
    ).stdout
    assert out == "True True\n"


@goroutines
def test_who_has_the_thread_now_is_seen_from_outside() -> None:
    seen: list[dict[str, object]] = []
    gopark.go(gopark.sleep, 1e6)
    gopark.gosched()

    def ask() -> None:
        with _attach.Target(os.getpid()) as target:
            eventually(lambda: json.loads(target.ask("stats"))["holding"] > 0.05)
            seen.append(json.loads(target.ask("stats")))
            assert "the goroutine that runs has had the thread for 0." in target.ask("dump")

    thread = threading.Thread(target=ask)
    with gopark.no_preempt():
        thread.start()
        thread.join(20)
    assert seen and seen[0]["states"] == {"running": 1, "waiting": 1}


@goroutines
def test_a_dump_ends_with_the_numbers() -> None:
    parked(gopark.go(gopark.sleep, 1e6))
    settle()

    def ask() -> str:
        with _attach.Target(os.getpid()) as target:
            return target.ask("dump")

    text = gopark.blocking(ask)
    head, _, tail = text.partition("\n\nscheduler:\n")
    assert head.count("goroutine ") >= 2
    assert "\tnow: 2 waiting; at most " in tail
    assert "\twaiting: 1 blocking call, 1 sleep\n" in tail
    assert "scheduler:" not in gopark.stack()


def test_preemption_is_still_what_it_was() -> None:
    assert sysmon.SLICE_NS == tally.HOLD_NS
