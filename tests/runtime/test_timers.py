"""The timers' heap: against a naive model, its two kinds of laziness, tickers, and the clock it follows."""

import random
from fractions import Fraction
from typing import Any

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.timers import NEVER, Timer, TimerHeap
from support import IS_COMPILED, goroutines, parked, python


class Model:
    """What a heap of timers should do, by linear search."""

    def __init__(self) -> None:
        self.armed: dict[int, tuple[int, int]] = {}  # timer -> (when, seq)

    def run(self, now: int, periods: list[int]) -> set[tuple[int, int]]:
        due = {(i, seq) for i, (when, seq) in self.armed.items() if when <= now}
        for i, _ in due:
            when, seq = self.armed.pop(i)
            if periods[i]:
                while when <= now:
                    when += periods[i]
                self.armed[i] = (when, seq)
        return due

    def first(self) -> int:
        return min((when for when, _ in self.armed.values()), default=NEVER)


def check(heap: TimerHeap, model: Model, timers: list[Timer], label: object) -> None:
    assert len(heap) == heap.armed() == len(model.armed), label
    assert heap.first <= model.first(), label
    for i, t in enumerate(timers):
        assert t.when == model.armed.get(i, (0, 0))[0], label
        assert not t.when or t.heapwhen <= t.when, label
    if not IS_COMPILED:
        for i, t in enumerate(heap.heap):
            assert t.index == i and heap.heap[(i - 1) // 4 if i else 0].heapwhen <= t.heapwhen, label


@pytest.mark.parametrize("population", [3, 20, 300])
def test_random_operations_agree_with_a_naive_model(population: int) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    heap, model = TimerHeap(), Model()
    fired: list[tuple[int, int]] = []
    periods = [rng.choice([0, 0, 0, 7]) for _ in range(population)]
    timers = [Timer(lambda i, seq: fired.append((i, seq)), i, periods[i]) for i in range(population)]
    now = 1
    for step in range(4000):
        label = (seed, step)
        i = rng.randrange(population)
        match rng.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                when = now + rng.randrange(-5, 200)
                heap.modify(timers[i], when, step)
                model.armed[i] = (max(when, 1), step)
            case 5 | 6 | 7:
                assert heap.stop(timers[i]) == (model.armed.pop(i, None) is not None), label
            case _:
                now += rng.randrange(30)
                heap.run(now)
                expected = model.run(now, periods)
                assert set(fired) == expected and len(fired) == len(expected), label
                fired.clear()
                assert heap.first > now, label
        if step % 10 == 0:
            check(heap, model, timers, label)
    heap.run(now + 10_000)
    model.run(now + 10_000, periods)
    check(heap, model, timers, seed)


def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    heap = TimerHeap()
    fired: list[int] = []
    whens = random.sample(range(1, 1000), 200)
    for when in whens:
        heap.modify(Timer(lambda w, seq: fired.append(w), when), when, 0)
    heap.run(1000)
    assert fired == sorted(whens)
    assert heap.fired == 200 and heap.first == NEVER


def test_moving_a_timer_later_costs_nothing_until_it_is_reached() -> None:
    heap = TimerHeap()
    fired: list[int] = []
    t = Timer(lambda a, seq: fired.append(seq), None)
    for seq in range(10_000):
        heap.modify(t, 100 + seq, seq)
    assert (t.heapwhen, heap.first) == (100, 100), "the heap was touched"
    heap.run(100)
    assert fired == [] and heap.first == 100 + 9999
    heap.run(100 + 9999)
    assert fired == [9999]


def test_stopped_timers_are_swept_once_they_are_a_quarter() -> None:
    heap = TimerHeap()
    timers = [Timer(lambda a, s: None, None) for _ in range(1000)]
    for i, t in enumerate(timers):
        heap.modify(t, i + 1, 0)
    for t in timers[1:251]:
        assert heap.stop(t)
    assert heap.stale <= 250 and len(heap) == 750
    assert heap.stop(timers[999]) and heap.stale <= 1 and timers[1].index == -1
    assert sum(t.index >= 0 for t in timers) == len(heap) + heap.stale
    heap.run(2000)
    assert heap.fired == 749


def test_stopped_first_timer_leaves_no_early_wake_up_once_settled() -> None:
    """The scheduler settles the heap before it waits."""
    heap = TimerHeap()
    early, late = Timer(lambda a, s: None, None), Timer(lambda a, s: None, None)
    heap.modify(early, 10, 0)
    heap.modify(late, 50, 0)
    assert heap.first == 10
    heap.stop(early)
    heap.settle()
    assert heap.first == 50
    heap.stop(late)
    heap.settle()
    assert heap.first == NEVER
    assert not heap.stop(late)


def test_many_stopped_first_timers_are_dropped_in_one_sweep() -> None:
    heap = TimerHeap()
    timers = [Timer(lambda a, s: None, None) for _ in range(1000)]
    for i, t in enumerate(timers):
        heap.modify(t, 10 + i, 0)
    for t in timers[:200]:
        assert heap.stop(t)
    assert heap.stale == 200
    heap.settle()
    assert (heap.first, heap.stale, len(heap)) == (210, 0, 800)


def test_callbacks_may_arm_and_stop_timers() -> None:
    heap = TimerHeap()
    log: list[str] = []
    later = Timer(lambda a, s: log.append("later"), None)
    victim = Timer(lambda a, s: log.append("victim"), None)

    def first(arg: Any, seq: int) -> None:
        log.append("first")
        heap.stop(victim)
        heap.modify(later, 15, 0)
        if len(log) == 1:
            heap.modify(me, 12, 1)

    me = Timer(first, None)
    heap.modify(me, 10, 0)
    heap.modify(victim, 11, 0)
    heap.run(20)
    assert log == ["first", "first", "later"]


def test_ticker_keeps_its_phase_and_skips_what_was_missed() -> None:
    heap = TimerHeap()
    ticks: list[int] = []
    now = 0
    t = Timer(lambda a, s: ticks.append(now), None, 10)
    heap.modify(t, 10, 0)
    for now in (9, 10, 19, 20, 21, 55, 60):
        heap.run(now)
    assert ticks == [10, 20, 55, 60]
    assert t.when == 70
    assert heap.stop(t) and len(heap) == 0


@goroutines
def test_scheduler_runs_a_ticker_at_its_period() -> None:
    times: list[int] = []
    t = Timer(lambda a, s: times.append(proc.nanotime()), None, 1_000_000)
    begin = proc.nanotime()
    proc.getp().timers.modify(t, begin + 1_000_000, 0)
    while len(times) < 10:
        gopark.sleep(0.001)
    proc.getp().timers.stop(t)
    assert all(at - begin >= 1_000_000 * (i + 1) for i, at in enumerate(times))


@goroutines
def test_a_thousand_sleepers_wake_in_order() -> None:
    order: list[int] = []
    base = proc.nanotime() + 5_000_000

    def sleeper(i: int) -> None:
        gopark.sleep((base + i * 1000 - proc.nanotime()) / 1e9)
        order.append(i)

    gs = [gopark.go(sleeper, i) for i in random.sample(range(1000), 1000)]
    for g in gs:
        g.result(10)
    assert sorted(order) == list(range(1000))


@goroutines
def test_time_limit_of_one_park_does_not_end_the_next() -> None:
    """A stale timer of an earlier park is told by its sequence number."""
    from gopark.runtime.sema import WaitQ

    q = WaitQ()

    def body() -> list[bool]:
        out = [q.park_until("test", proc.nanotime() + 50_000_000)]
        out.append(q.park_until("test", proc.nanotime() + 10**15))
        return out

    g = parked(gopark.go(body))
    q.wake_one()
    gopark.sleep(0.06)
    assert not g.done and len(q) == 1
    proc.park_timeout(g, g.parkseq - 1)
    gopark.gosched()
    assert not g.done
    q.wake_one()
    assert g.result(5) == [True, True]


@pytest.mark.skipif(not IS_COMPILED, reason="the interpreted core does not change it")
def test_timer_slack_is_set_for_the_wait_alone() -> None:
    """Threads and processes inherit it from the thread that starts them: they get what that had."""
    out = python("""
        import ctypes, os, subprocess, sys, threading
        import gopark
        libc = ctypes.CDLL(None)
        PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30
        def slack(): return libc.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)
        libc.prctl(PR_SET_TIMERSLACK, 40_000, 0, 0, 0)
        found = []
        def main():
            for _ in range(3): gopark.sleep(0.001)
            found.append(slack())
            t = threading.Thread(target=lambda: found.append(slack()))
            t.start(); t.join()
            found.append(int(subprocess.run(
                [sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).prctl(30, 0, 0, 0, 0))"],
                stdout=subprocess.PIPE).stdout))
            if (pid := os.fork()) == 0: os._exit(slack() == 40_000)
            found.append(40_000 * os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        gopark.run(main)
        found.append(slack())
        print(set(found), len(found))
    """).stdout
    assert out.split() == ["{40000}", "5"]


@pytest.mark.skipif(not IS_COMPILED, reason="the interpreted core does not change it")
def test_short_sleeps_are_not_late_by_the_slack() -> None:
    out = python("""
        import ctypes, time
        import gopark
        ctypes.CDLL(None).prctl(29, 5_000_000, 0, 0, 0)  # 5 ms
        def main():
            late = []
            for _ in range(50):
                start = time.monotonic()
                gopark.sleep(0.0001)
                late.append(time.monotonic() - start)
            print(sorted(late)[10] < 0.004)
        gopark.run(main)
    """).stdout
    assert out.strip() == "True"


@pytest.mark.parametrize(
    "seconds, ns",
    [
        (0.0, 0),
        (1e-9, 1),
        (1.5e-9, 2),
        (-1.5e-9, -1),
        (1e-12, 1),
        (0.1, 100_000_000),
        (9.1e9, 9_100_000_000_000_000_000),
        (9.2e9, NEVER),
        (-9.2e9, -NEVER),
        (float("inf"), NEVER),
        (float("-inf"), -NEVER),
        (10**400, NEVER),
        (-(10**400), -NEVER),
        (2, 2_000_000_000),
        (True, 1_000_000_000),
        (Fraction(1, 3), 333_333_334),
    ],
)
def test_seconds_become_nanoseconds_rounded_up(seconds: float, ns: int) -> None:
    assert proc.seconds_to_ns(seconds, "seconds") == ns


def test_a_subclass_of_float_is_as_long_as_it_says() -> None:
    class Twice(float):
        def __mul__(self, other: float) -> float:
            return 2 * float(self) * other

    assert proc.seconds_to_ns(Twice(1.0), "seconds") == 2_000_000_000


@pytest.mark.parametrize("seconds", [float("nan"), "1", None, 1j])
def test_what_is_no_number_of_seconds_is_refused(seconds: Any) -> None:
    with pytest.raises(TypeError, match="must be a number of seconds"):
        proc.seconds_to_ns(seconds, "sleep: seconds")
