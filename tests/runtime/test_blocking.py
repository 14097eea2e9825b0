"""gopark.blocking: results, errors, contexts, cancellation, and a pool that grows and shrinks."""

import contextvars
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import gopark
from gopark.runtime import blocking as pool
from gopark.runtime import proc
from support import eventually, goroutines, parked, python


@pytest.fixture(autouse=True)
def short_idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Idle threads end soon; none is left for the next test."""
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)
    yield
    eventually(lambda: pool.counts() == (0, 0, 0))


@goroutines
def test_result_and_arguments() -> None:
    assert gopark.blocking(lambda *a, **k: (a, k, threading.current_thread().name), 1, x=2)[:2] == (
        (1,),
        {"x": 2},
    )
    assert gopark.blocking(threading.get_ident) != threading.get_ident()


@goroutines
def test_exception_is_raised_with_its_traceback() -> None:
    def fail() -> None:
        raise LookupError("on the thread")

    with pytest.raises(LookupError, match="on the thread") as e:
        gopark.blocking(fail)
    assert any(entry.name == "fail" for entry in e.traceback)
    with pytest.raises(SystemExit):
        gopark.blocking(exit, 3)


@goroutines
def test_it_sees_the_callers_context_and_changes_only_its_copy() -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    var.set(1)
    assert gopark.blocking(var.get) == 1
    gopark.blocking(var.set, 2)
    assert var.get() == 1


@goroutines
def test_others_run_meanwhile() -> None:
    event = threading.Event()
    g = parked(gopark.go(gopark.blocking, event.wait, 10), "blocking call")
    for _ in range(10):
        gopark.sleep(0.0005)
    assert not g.done
    event.set()
    assert g.result(5) is True


@goroutines
def test_a_blocking_call_is_no_deadlock() -> None:
    assert gopark.blocking(time.sleep, 0.02) is None


@goroutines
def test_cancel_returns_at_once_and_drops_the_result() -> None:
    event = threading.Event()
    g = parked(gopark.go(gopark.blocking, event.wait, 10))
    eventually(lambda: pool.counts() == (1, 0, 0))  # a thread has begun with it
    g.cancel()
    assert g.join(5) and isinstance(g.exception, gopark.Cancelled)
    assert not event.is_set() and proc.getp().external == 1
    event.set()
    eventually(lambda: proc.getp().external == 0)


@goroutines
def test_pool_grows_with_demand_and_shrinks_when_idle() -> None:
    event = threading.Event()
    gs = [parked(gopark.go(gopark.blocking, event.wait, 10)) for _ in range(20)]
    assert pool.counts()[0] == 20
    event.set()
    assert all(g.result(5) for g in gs)
    eventually(lambda: pool.counts()[0] == 0)
    assert gopark.blocking(int) == 0


@goroutines
def test_threads_of_the_pool_have_names_and_leave_no_trace() -> None:
    name = gopark.blocking(lambda: threading.current_thread().name)
    assert name.startswith("gopark-blocking-")
    assert gopark.blocking(lambda: threading.current_thread().daemon)
    eventually(lambda: not any("gopark-blocking" in t.name for t in threading.enumerate()))


@goroutines
def test_idle_thread_is_used_again() -> None:
    threads = set()
    for _ in range(50):
        threads.add(gopark.blocking(threading.get_ident))
        eventually(lambda: pool.counts()[1] >= 1)
    assert len(threads) == 1


@goroutines
def test_beyond_the_limit_calls_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_THREADS", 3)
    event = threading.Event()
    gs = [parked(gopark.go(gopark.blocking, event.wait, 10)) for _ in range(10)]
    eventually(lambda: pool.counts() == (3, 0, 7))
    event.set()
    assert all(g.result(5) for g in gs)


@goroutines
def test_thousands_of_calls() -> None:
    gs = [gopark.go(gopark.blocking, int, str(i)) for i in range(3000)]
    assert [g.result(30) for g in gs] == list(range(3000))
    assert proc.getp().external == 0


@goroutines
def test_thousands_of_calls_one_after_another() -> None:
    assert [gopark.blocking(int, str(i)) for i in range(2000)] == list(range(2000))


@goroutines
def test_call_races_with_cancel() -> None:
    """Whichever is first: the outcome is the result or Cancelled, and nothing is left in flight."""
    outcomes = set()
    for i in range(300):
        g = gopark.go(gopark.blocking, int, "7")
        for _ in range(i % 5):
            gopark.gosched()
        g.cancel()
        assert g.join(5)
        outcomes.add(type(g.exception))
        assert isinstance(g.exception, gopark.Cancelled) or g.result() == 7
    assert outcomes <= {gopark.Cancelled, type(None)}
    eventually(lambda: proc.getp().external == 0)


@goroutines
def test_from_a_foreign_thread_it_simply_calls() -> None:
    got: list[object] = []

    def work() -> None:
        got.append(gopark.blocking(threading.get_ident) == threading.get_ident())

    t = threading.Thread(target=work)
    t.start()
    eventually(lambda: not t.is_alive())
    assert got == [True]


def test_hanging_call_does_not_keep_the_program_from_ending() -> None:
    done = python("""
        import gopark, threading
        def main():
            gopark.go(gopark.blocking, threading.Event().wait)
            gopark.sleep(0.05)
            print("main is done")
        gopark.run(main)
    """)
    assert done.stdout == "main is done\n"


def test_blocking_without_run() -> None:
    assert python("import gopark; print(gopark.blocking(int, '5'))").stdout == "5\n"


def test_result_that_comes_after_the_run_does_not_disturb_the_next_run() -> None:
    event = threading.Event()

    def main() -> None:
        parked(gopark.go(gopark.blocking, event.wait, 10))

    gopark.run(main)  # its goroutine is cancelled, the call goes on
    event.set()
    eventually(lambda: pool.counts()[0] == pool.counts()[1])
    assert gopark.run(lambda: gopark.sleep(0.001) or gopark.blocking(int)) == 0
    assert proc.getp().external == 0


@goroutines
def test_call_that_is_cancelled_while_it_queues_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_THREADS", 2)
    event = threading.Event()
    made: list[int] = []
    busy = [parked(gopark.go(gopark.blocking, event.wait, 10)) for _ in range(2)]
    eventually(lambda: pool.counts() == (2, 0, 0))
    queued = [parked(gopark.go(gopark.blocking, made.append, i)) for i in range(5)]
    for g in queued[1:4]:
        g.cancel()
    for g in queued[1:4]:
        assert g.join(10) and isinstance(g.exception, gopark.Cancelled)
    assert pool.counts()[2] == 2 and proc.getp().external == 4
    event.set()
    for g in (*busy, queued[0], queued[4]):
        g.result(10)
    assert made == [0, 4] and proc.getp().external == 0


@goroutines
def test_what_is_raised_before_the_park_leaves_no_call_behind() -> None:
    """As near to the recursion limit as one likes."""

    def probe(depth: int) -> object:
        return probe(depth - 1) if depth else gopark.blocking(time.sleep, 0.002)

    for depth in range(sys.getrecursionlimit() - 80, sys.getrecursionlimit(), 3):
        try:
            probe(depth)
        except RecursionError:
            before = time.monotonic()
            gopark.sleep(0.003)  # not ended by the call's end
            assert time.monotonic() - before >= 0.003
    eventually(lambda: gopark.statistics().blocking_calls == 0 and pool.counts()[2] == 0)
    assert gopark.blocking(lambda: time.sleep(0.01) or "fine") == "fine"
