"""gopark.run: result, exception, what becomes of the goroutines that are left, and where it may be called."""

import threading
from typing import Any

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.sema import WaitQ
from support import eventually, goroutines, parked, python, started


def test_run_returns_what_main_returns() -> None:
    assert gopark.run(lambda *a, **k: (a, k), 1, 2, x=3) == ((1, 2), {"x": 3})


def test_run_raises_what_main_raises() -> None:
    with pytest.raises(KeyError, match="boom"):
        gopark.run({}.__getitem__, "boom")


@pytest.mark.parametrize("end", ["return", "raise", "goexit"])
def test_leftover_goroutines_are_cancelled_and_their_finally_blocks_run(end: str) -> None:
    log: list[str] = []

    def left(name: str, clean_up: Any) -> None:
        try:
            gopark.sleep(1e6)
        except gopark.Cancelled:
            log.append(f"{name} cancelled")
            raise
        finally:
            clean_up()
            log.append(f"{name} clean")

    def main() -> None:
        started(gopark.go(left, "a", lambda: gopark.sleep(0.001)))
        started(gopark.go(left, "b", gopark.gosched))
        if end == "raise":
            raise LookupError
        if end == "goexit":
            gopark.go(lambda: [g.cancel() for g in list(proc.getp().allgs) if g.id != 1])
            gopark.goexit()

    if end == "raise":
        with pytest.raises(LookupError):
            gopark.run(main)
    else:
        assert gopark.run(main) is None
    assert sorted(log) == ["a cancelled", "a clean", "b cancelled", "b clean"]


def test_goroutine_that_was_never_started_is_dropped_at_the_end() -> None:
    ran: list[int] = []
    gopark.run(lambda: [gopark.go(ran.append, i) for i in range(3)] and None)
    assert ran == []


def test_goroutine_that_swallows_cancelled_once_is_cancelled_again() -> None:
    log: list[int] = []

    def stubborn() -> None:
        for i in range(2):
            try:
                gopark.sleep(1e6)
            except gopark.Cancelled:
                log.append(i)
        gopark.sleep(1e6)

    def main() -> None:
        started(gopark.go(stubborn))

    from gopark.runtime import lifecycle

    old = lifecycle._CANCEL_GRACE, lifecycle._CANCEL_AGAIN
    lifecycle._CANCEL_GRACE = lifecycle._CANCEL_AGAIN = 0.01
    try:
        gopark.run(main)
    finally:
        lifecycle._CANCEL_GRACE, lifecycle._CANCEL_AGAIN = old
    assert log == [0, 1]


def test_goroutine_that_never_ends_is_abandoned_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go on in the next run."""
    turns = 0

    def undead() -> None:
        nonlocal turns
        while True:
            turns += 1
            try:
                gopark.gosched()
            except gopark.Cancelled:
                pass

    from gopark.runtime import lifecycle

    monkeypatch.setattr(lifecycle, "_CANCEL_GRACE", 0.01)
    monkeypatch.setattr(lifecycle, "_CANCEL_AGAIN", 0.01)
    with pytest.warns(RuntimeWarning, match="did not end when cancelled"):
        gopark.run(lambda: [gopark.go(undead), gopark.sleep(0.001)] and None)
    before = turns
    gopark.run(lambda: gopark.sleep(0.002))
    assert turns == before


def test_goexit_in_main_lets_the_others_finish() -> None:
    log: list[str] = []

    def other() -> None:
        gopark.sleep(0.005)
        log.append("finished")

    def main() -> None:
        gopark.go(other)
        try:
            gopark.goexit()
        finally:
            log.append("main's finally")

    assert gopark.run(main) is None
    assert log == ["main's finally", "finished"]


@goroutines
def test_run_inside_a_goroutine_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"gopark\.run cannot be called from a goroutine"):
        gopark.run(int)
    with pytest.raises(RuntimeError, match=r"gopark\.run cannot be called from a goroutine"):
        gopark.go(gopark.run, int).result(5)


def test_run_again_starts_clean() -> None:
    def main() -> tuple[int, int, int]:
        return gopark.current().id, gopark.num_goroutine(), gopark.go(lambda: gopark.current().id).result()

    assert [gopark.run(main) for _ in range(3)] == [(1, 1, 2)] * 3


@pytest.mark.filterwarnings("ignore:gopark runs on a thread:RuntimeWarning")
def test_run_in_another_thread_after_the_first_ended() -> None:
    assert gopark.run(lambda: gopark.go(int).result()) == 0
    got: list[object] = []
    for _ in range(2):
        t = threading.Thread(target=lambda: got.append(gopark.run(lambda: gopark.go(str).result())))
        t.start()
        t.join(10)
        assert not t.is_alive()
    assert got == ["", ""]
    assert gopark.run(lambda: gopark.go(int).result()) == 0


def test_coroutine_functions_are_refused_with_advice() -> None:
    async def main() -> None:
        raise AssertionError("not run")

    with pytest.raises(TypeError, match="async function"):
        gopark.run(main)


def test_what_is_not_callable_is_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match="callable"):
        gopark.run(42)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        gopark.run(lambda: gopark.go(42))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        gopark.run(lambda: gopark.blocking(42))  # type: ignore[arg-type]


def test_blocking_calls_work_without_run_and_the_program_ends() -> None:
    done = python("""
        import gopark
        g = gopark.go(lambda: 42)
        gopark.sleep(0.001)
        assert g.done and g.result() == 42 and gopark.current().name == "main"
        def left():
            try:
                gopark.sleep(1e6)
            finally:
                print("cleaned up")
        gopark.go(left)
        gopark.gosched()
        print("end of program")
    """)
    assert done.stdout.splitlines() == ["end of program", "cleaned up"]
    assert done.stderr == ""


def test_run_after_first_use_without_run() -> None:
    done = python("""
        import gopark
        gopark.sleep(0)
        print(gopark.run(lambda: 5), gopark.run(lambda: 6))
    """)
    assert done.stdout == "5 6\n"


def test_deadlock_is_reported_with_every_goroutine() -> None:
    done = python(
        """
        import gopark
        from gopark.runtime.sema import WaitQ
        def waiter():
            WaitQ().park("a lock that nobody holds")
        def main():
            gopark.go(waiter).name = "philosopher"
            WaitQ().park("something else")
        gopark.run(main)
        """,
        check=False,
    )
    assert done.returncode == 2  # as Go's
    for text in (
        "all goroutines are asleep - deadlock!",
        "philosopher",
        "a lock that nobody holds",
        "something else",
    ):
        assert text in done.stderr


def test_waiting_for_a_thread_is_no_deadlock() -> None:
    done = python("""
        import threading, time
        import gopark
        from gopark.runtime.sema import WaitQ
        q = WaitQ()
        def main():
            def work():
                time.sleep(0.2)
                gopark.go(q.wake_one)
            threading.Thread(target=work).start()
            q.park("a thread")
            print("woken")
        gopark.run(main)
    """)
    assert done.stdout == "woken\n"


@goroutines
def test_network_wait_suppresses_the_deadlock_report() -> None:
    """One goroutine in "IO wait" may be woken by anybody."""
    from gopark import net

    a, b = net.pipe()
    reader = parked(gopark.go(a.read), "IO wait")
    other = gopark.go(WaitQ().park, "for ever")
    assert not other.join(0.02)
    b.write(b"x")
    assert reader.result(5) == b"x"
    other.cancel()
    assert other.join(5) and isinstance(other.exception, gopark.Cancelled)
    eventually(lambda: gopark.num_goroutine() == 1)
    a.close()
    b.close()
