"""go, join, result, exception, excepthook, names: a goroutine's life as its creator sees it."""

import copy
import gc
import pickle
import threading

import pytest

import gopark
from gopark import sync
from gopark.runtime import joining, proc
from support import eventually, goroutines, parked, python


@goroutines
def test_result_returns_what_the_function_returned() -> None:
    g = gopark.go(lambda *a, **k: (a, k), 1, x=2)
    assert not g.done and g.exception is None
    assert g.result() == ((1,), {"x": 2})
    assert g.done and g.join() and g.join(0) and g.result(0) == ((1,), {"x": 2})


@goroutines
def test_result_raises_what_the_function_raised_each_time() -> None:
    g = gopark.go(int, "no number")
    for _ in range(2):
        with pytest.raises(ValueError, match="no number"):
            g.result(5)
    assert isinstance(g.exception, ValueError)


@goroutines
def test_join_does_not_raise_and_times_out() -> None:
    g = gopark.go(gopark.sleep, 1e6)
    assert g.join(0) is False and g.join(0.001) is False and g.join(-1) is False
    with pytest.raises(TimeoutError, match="did not finish within"):
        g.result(0.001)
    g.cancel()
    assert g.join(5) is True
    with pytest.raises(gopark.Cancelled):
        g.result()


@goroutines
def test_many_may_join_one() -> None:
    g = gopark.go(gopark.sleep, 0.002)
    joiners = [gopark.go(g.join) for _ in range(50)]
    assert all(j.result(5) for j in joiners)


@goroutines
def test_joining_oneself_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="cannot wait for itself"):
        gopark.current().join()


@goroutines
def test_join_timeout_wants_a_number() -> None:
    g = gopark.go(int)
    with pytest.raises(TypeError, match="join: timeout"):
        g.join("soon")  # type: ignore[arg-type]
    assert g.result(5) == 0


def test_uncollected_exception_is_reported_when_the_goroutine_is_forgotten(
    clean_runtime: list[BaseException],
) -> None:
    def main() -> None:
        gopark.go(int, "nobody looks")
        eventually(lambda: clean_runtime, 5)  # promptly: no collection, no end of the program is needed

    gc.disable()
    try:
        gopark.run(main)
    finally:
        gc.enable()
    assert [str(e) for e in clean_runtime] == ["invalid literal for int() with base 10: 'nobody looks'"]
    clean_runtime.clear()


def test_collected_exceptions_are_not_reported(clean_runtime: list[BaseException]) -> None:
    def main() -> None:
        g = gopark.go(int, "x")
        g.join(5)
        assert isinstance(g.exception, ValueError)
        h = gopark.go(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            h.result(5)
        c = parked(gopark.go(gopark.sleep, 1e6))
        c.cancel()  # Cancelled is no accident
        c.join(5)

    gopark.run(main)
    gc.collect()
    assert clean_runtime == []


def test_default_excepthook_prints_a_traceback_of_the_users_frames() -> None:
    done = python("""
        import gopark
        def inner():
            raise ZeroDivisionError("in inner")
        def worker():
            inner()
        def main():
            gopark.go(worker).name = "the worker"
            gopark.sleep(0.01)
        gopark.run(main)
    """)
    assert "the worker" in done.stderr and "in worker" in done.stderr and "in inner" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "goroutine_main" not in done.stderr and "execute" not in done.stderr


def test_excepthook_that_fails_does_not_hurt_the_scheduler() -> None:
    done = python("""
        import gopark
        def hook(g, exc):
            raise RuntimeError("the hook failed")
        gopark.excepthook = hook
        def main():
            gopark.go(int, "x")
            gopark.sleep(0.01)
            print("main goes on")
        gopark.run(main)
    """)
    assert done.stdout == "main goes on\n" and "the hook failed" in done.stderr


@goroutines
def test_goexit_runs_finally_blocks_and_ends_only_this_goroutine() -> None:
    log: list[str] = []

    def body() -> None:
        try:
            try:
                gopark.goexit()
            except Exception:
                log.append("caught")
            log.append("went on")
        finally:
            log.append("finally")

    g = gopark.go(body)
    assert g.result(5) is None and g.exception is None and g.done
    assert log == ["finally"]


@goroutines
def test_names_and_representation() -> None:
    g = gopark.go(gopark.sleep, 1e6)
    assert g.name == f"goroutine-{g.id}"
    g.name = "sleeper"
    with pytest.raises(TypeError, match=r"Goroutine\.name"):
        g.name = 5  # type: ignore[assignment]
    parked(g)
    assert "sleeper" in repr(g) and "[sleep]" in repr(g)
    g.cancel()
    assert g.join(5) and "[dead]" in repr(g)
    assert isinstance(g.exception, gopark.Cancelled)
    assert gopark.current().name == "main"
    assert gopark.go(lambda: gopark.current().name).result(5) != "main"


@goroutines
def test_num_goroutine_counts_main_and_the_unfinished() -> None:
    assert gopark.num_goroutine() == 1
    gs = [gopark.go(gopark.sleep, 0.001) for _ in range(5)]
    assert gopark.num_goroutine() == 6
    for g in gs:
        g.join(5)
    assert gopark.num_goroutine() == 1


@goroutines
def test_sleep_takes_any_number_and_nothing_else() -> None:
    for seconds in (0, -1, 0.0001, True and 0, -1e300):
        gopark.sleep(seconds)
    for wrong in ("1", None, float("nan")):
        with pytest.raises(TypeError, match="sleep: seconds"):
            gopark.sleep(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [1e6, 9e9, 1e12, 1e300, float("inf")])
@goroutines
def test_sleep_of_centuries_can_be_cancelled(seconds: float) -> None:
    """Overflow means never, and a wait that long is legal for every system call under it."""
    main = gopark.current()
    import threading

    t = threading.Timer(0.01, main.cancel)
    t.start()
    with pytest.raises(gopark.Cancelled):
        gopark.sleep(seconds)
    t.join()
    assert proc.getp().timers.armed() == 0


@goroutines
def test_sleep_never_ends_early() -> None:
    for ns in (1, 1000, 50_000, 999_999, 1_000_001):
        begin = proc.nanotime()
        gopark.sleep(ns / 1e9)
        assert proc.nanotime() - begin >= ns


class Parks:
    """Its finalizer waits for a lock."""

    def __init__(self, mutex: sync.Mutex, log: list[str]) -> None:
        self.mutex = mutex
        self.log = log

    def __del__(self) -> None:
        with self.mutex:
            self.log.append("finalized")


@goroutines
def test_arguments_whose_finalizer_parks_are_let_go_before_the_end() -> None:
    mutex, log = sync.Mutex(), list[str]()
    with mutex:
        g = gopark.go(lambda c: 42, Parks(mutex, log))
        parked(g, "sync.Mutex.Lock")
        assert not g.done
    assert g.result(10) == 42 and log == ["finalized"]


@goroutines
def test_looking_at_the_exception_of_one_that_runs_collects_nothing(
    clean_runtime: list[BaseException],
) -> None:
    def fail() -> None:
        gopark.sleep(0.001)
        raise ValueError("seen")

    g = gopark.go(fail)
    assert g.exception is None
    del g
    eventually(lambda: clean_runtime)
    assert [str(e) for e in clean_runtime] == ["seen"]
    clean_runtime.clear()


@pytest.mark.parametrize("timeout", [float("inf"), 1e12, 10**400])
@goroutines
def test_join_on_a_thread_takes_any_time_limit(timeout: float) -> None:
    g = gopark.go(gopark.sleep, 0.005)
    assert gopark.blocking(g.join, timeout) is True


@goroutines
def test_join_on_a_thread_whose_time_is_up_leaves_nothing_behind() -> None:
    g = gopark.go(gopark.sleep, 1000)
    for _ in range(5):
        assert gopark.blocking(g.join, 0.001) is False
    assert not g.watchers
    g.cancel()


def test_excepthook_that_fails_does_not_cost_the_exception() -> None:
    done = python("""
        import gopark
        def hook(g, exc): raise RuntimeError("the hook is broken")
        gopark.excepthook = hook
        def fail(): raise ValueError("the original")
        gopark.run(lambda: gopark.go(fail) and gopark.sleep(0.001))
    """)
    assert "the hook is broken" in done.stderr and "the original" in done.stderr


def test_excepthook_may_end_the_program() -> None:
    """In an orderly way: as sys.exit in any goroutine does."""
    done = python(
        """
        import gopark
        def hook(g, exc): raise SystemExit(5)
        gopark.excepthook = hook
        def other():
            try: gopark.sleep(1000)
            finally: print("cleaned up")
        def main():
            gopark.go(other)
            gopark.go(lambda: 1 / 0)
            gopark.sleep(1000)
        gopark.run(main)
        """,
        check=False,
    )
    assert (done.returncode, done.stdout) == (5, "cleaned up\n")


def endless(n: int) -> None:
    if n % 2:
        gopark.gosched()
    else:
        gopark.sleep(1e-6)
    endless(n + 1)


@goroutines
def test_endless_recursion_with_parks_harms_its_goroutine_alone() -> None:
    for i in range(20):
        g = gopark.go(endless, i)
        assert g.join(20) and isinstance(g.exception, RecursionError)
    gopark.sleep(0.001)
    assert gopark.go(int).result(10) == 0


@goroutines
def test_goroutines_cannot_be_copied() -> None:
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a Goroutine cannot be copied or pickled"):
            copied(gopark.current())


def test_all_who_wait_are_told_although_a_signal_handler_raises_while_one_is() -> None:
    class Raising:
        def set(self) -> None:
            told.append("first")
            raise LookupError

    told: list[str] = []
    joined = threading.Event()

    def main() -> None:
        gate = gopark.Chan()
        g = parked(gopark.go(gate.recv))
        joining.watch(g, Raising())
        joining.watch(g, joined)
        gate.close()
        with pytest.raises(LookupError):
            g.join()
            gopark.sleep(1)
        assert isinstance(g.exception, gopark.ChanClosed)

    gopark.run(main)
    assert joined.is_set() and told == ["first"] * 2
