"""Finished goroutines' stacks are reused; the next goroutine on one starts clean."""

import contextvars
import sys
import threading

import gopark
from gopark.runtime import proc
from support import goroutines

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def dirty(i: int) -> None:
    """Leaves whatever a goroutine can leave behind."""
    var.set(f"dirty {i}")
    gopark.current().name = f"dirty {i}"
    gopark.current().cancel()  # pending: it never parks again
    try:
        raise KeyError(i)
    except KeyError:
        sys.exc_info()
        raise ValueError(i) from None


def look() -> tuple[object, ...]:
    me = gopark.current()
    return var.get(), me.name, me.pending, sys.exc_info(), me.exc, me.value


@goroutines
def test_reused_goroutine_starts_clean() -> None:
    for round_ in range(5):
        gs = [gopark.go(dirty, i) for i in range(20)]
        for g in gs:
            assert g.join(5) and isinstance(g.exception, ValueError)
        assert proc.getp().gfree, "no stack was kept"
        for g in [gopark.go(look) for _ in range(20)]:
            gopark.gosched()
            assert g.result(5) == ("unset", f"goroutine-{g.id}", None, (None, None, None), None, None)
            gopark.go(gopark.sleep, 0).result(5)  # its Cancelled does not hit another one
        assert round_ >= 0


@goroutines
def test_ids_are_never_reused() -> None:
    seen: set[int] = set()
    for _ in range(10):
        gs = [gopark.go(lambda: gopark.current().id) for _ in range(50)]
        for g in gs:
            assert g.result(5) == g.id
            assert g.id not in seen
            seen.add(g.id)


@goroutines
def test_stacks_are_kept_and_taken_again() -> None:
    """Not one new greenlet once enough are kept."""
    import gc

    import greenlet

    def count() -> int:
        return sum(isinstance(o, greenlet.greenlet) for o in gc.get_objects())

    for _ in range(3):
        for g in [gopark.go(gopark.sleep, 0.0001) for _ in range(100)]:
            g.join(5)
    before = count()
    for _ in range(5):
        for g in [gopark.go(gopark.sleep, 0.0001) for _ in range(100)]:
            g.join(5)
    assert count() <= before


@goroutines
def test_finished_goroutine_holds_on_to_nothing() -> None:
    import weakref

    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    g = gopark.go(lambda t: None, thing)
    del thing
    assert g.join(5)
    gopark.go(int).join(5)  # another runs on the stack
    assert ref() is None


@goroutines
def test_context_is_a_copy_of_the_creators() -> None:
    var.set("main")

    def child() -> list[str]:
        seen = [var.get()]
        var.set("child")
        gopark.gosched()
        seen.append(var.get())
        seen.append(gopark.go(var.get).result(5))
        return seen

    g = gopark.go(child)
    var.set("main later")
    assert g.result(5) == ["main", "child", "child"]
    assert var.get() == "main later"


@goroutines
def test_contexts_do_not_mix_across_switches() -> None:
    def body(i: int) -> bool:
        var.set(str(i))
        for _ in range(20):
            gopark.gosched()
            if var.get() != str(i):
                return False
        return True

    assert all(g.result(5) for g in [gopark.go(body, i) for i in range(50)])
    assert var.get() == "unset"


def test_main_runs_in_a_copy_of_the_context() -> None:
    contextvars.copy_context().run(lambda: (var.set("outer"), gopark.run(var.set, "inner"), var.get()))
    assert var.get() == "unset"


@goroutines
def test_ten_thousand_goroutines() -> None:
    n = 10_000
    gs = [gopark.go(lambda i=i: gopark.sleep(0.001) or i) for i in range(n)]
    assert gopark.num_goroutine() == n + 1
    assert [g.result(20) for g in gs] == list(range(n))
    assert gopark.num_goroutine() == 1
    assert len(proc.getp().gfree) <= 512


@goroutines
def test_deep_recursion_in_goroutines() -> None:
    """Each has the recursion limit to itself, and switching deep down works."""

    def depth(n: int) -> int:
        if n == 0:
            gopark.gosched()
            return 0
        return depth(n - 1) + 1

    for g in [gopark.go(depth, 500) for _ in range(20)]:
        assert g.result(10) == 500

    def forever(n: int) -> int:
        return forever(n + 1) + 1

    g = gopark.go(forever, 0)
    assert g.join(10) and isinstance(g.exception, RecursionError)
    assert gopark.go(depth, 500).result(10) == 500


@goroutines
def test_threading_local_is_the_threads() -> None:
    """Goroutines share their thread's locals: what is per goroutine is a context variable."""
    local = threading.local()
    local.x = 1
    assert gopark.go(lambda: local.x).result(5) == 1
