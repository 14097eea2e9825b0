"""Contexts that nobody ended and nobody has any more: nothing is left of them, unless somebody can still notice."""

import gc
import weakref
from collections.abc import Callable

import pytest

import gopark
from gopark import Chan, context, net
from support import eventually, goroutines

MANY = 1000


def ask_done(ctx: context.Context) -> None:
    assert not ctx.done.closed


def stop_after_func(ctx: context.Context) -> None:
    assert context.after_func(ctx, print)()


def attach_and_leave(ctx: context.Context) -> None:
    with context.attach(ctx):
        pass


def stop_below(ctx: context.Context) -> None:
    assert context.after_func(context.with_cancel(ctx), print)()


@pytest.mark.parametrize("use", [ask_done, stop_after_func, attach_and_leave, stop_below])
@pytest.mark.parametrize("timeout", [False, True])
@goroutines
def test_dropped_children_leave_nothing(use: Callable[[context.Context], None], timeout: bool) -> None:
    timers = gopark.statistics().timers
    parent = context.with_cancel()
    gone = []
    for i in range(MANY):
        child = context.with_value(parent, "id", i)
        if timeout:
            child = context.with_timeout(3600, child)
        use(child)
        gone.append(weakref.ref(child))
    del child
    gc.collect()
    assert [ref for ref in gone if ref() is not None] == []
    assert len(parent._listeners) == len(parent._pins) == 0
    eventually(lambda: gopark.statistics().timers == timers)  # the scheduler stops them, so many a round


@goroutines
def test_dropped_grandchildren_leave_nothing() -> None:
    parent = context.with_cancel()
    for i in range(MANY):
        assert context.with_value(context.with_cancel(parent), "id", i).done is not None
    gc.collect()
    assert len(parent._listeners) == 0


@pytest.mark.parametrize("end", [context.Canceled, context.DeadlineExceeded])
@goroutines
def test_channel_is_closed_although_nobody_has_its_context(end: type[Exception]) -> None:
    parent = context.with_cancel() if end is context.Canceled else context.with_timeout(0.005)
    done = context.with_value(context.with_cancel(parent), "k", 1).done
    gc.collect()
    if end is context.Canceled:
        assert not done.closed
        parent.cancel()
        assert done.closed
    assert gopark.select(done.on_recv(), timeout=10) == (0, None, False)


@goroutines
def test_channel_is_closed_by_the_deadline_of_a_context_that_nobody_has() -> None:
    done = context.with_timeout(0.005).done
    gc.collect()
    assert gopark.select(done.on_recv(), timeout=10) == (0, None, False)


@goroutines
def test_goroutine_that_waits_in_done_keeps_the_context() -> None:
    parent = context.with_cancel()
    waiter = gopark.go(context.with_cancel(parent).done.recv_ok)
    gopark.gosched()
    gc.collect()
    parent.cancel()
    assert waiter.result(10) == (None, False)


def test_channel_of_an_ended_context_does_not_keep_it() -> None:
    ctx = context.with_cancel()
    done, gone = ctx.done, weakref.ref(ctx)
    ctx.cancel()
    del ctx
    assert done.closed and gone() is None


@goroutines
def test_hook_of_a_context_that_nobody_has_is_called_when_an_ancestor_ends() -> None:
    parent = context.with_cancel()
    out = Chan(2)
    context.after_func(
        context.with_value(context.with_cancel(parent), "k", 1), lambda: out.send("after_func")
    )
    context.on_end(context.with_timeout(60, parent), lambda: out.try_send("on_end"))
    gc.collect()
    assert len(parent._listeners) == 2
    parent.cancel()
    assert {out.recv(), out.recv()} == {"after_func", "on_end"}
    gc.collect()
    assert len(parent._listeners) == len(parent._pins) == 0


@goroutines
def test_hook_is_called_at_the_deadline_although_nobody_has_any_context() -> None:
    out = Chan()
    context.after_func(context.with_value(context.with_timeout(0.005), "k", 1), lambda: out.send("called"))
    gc.collect()
    assert gopark.select(out.on_recv(), timeout=10) == (0, "called", True)


@goroutines
def test_attach_ends_a_read_although_nobody_else_has_the_context() -> None:
    parent = context.with_cancel()
    a, b = net.pipe()

    def read() -> None:
        with context.attach(context.with_value(parent, "k", 1), a):
            a.read()

    with a, b:
        reader = gopark.go(read)
        gopark.gosched()
        gc.collect()
        parent.cancel()
        with pytest.raises(context.Canceled):
            reader.result(10)


def test_hook_goes_with_the_last_of_its_tree() -> None:
    parent = context.with_cancel()
    child = context.with_cancel(parent)
    context.after_func(child, print)
    gone = weakref.ref(child)
    del child
    gc.collect()
    assert gone() is not None, "the parent could still be cancelled"
    del parent
    gc.collect()
    assert gone() is None


def test_background_remembers_nobody() -> None:
    def fn() -> None:
        pass

    stop = context.after_func(context.background(), fn)
    assert not context.with_cancel(context.background()).done.closed
    gone = weakref.ref(fn)
    del fn, stop
    gc.collect()
    assert gone() is None
    assert len(context.background()._listeners) == len(context.background()._pins) == 0


@pytest.mark.parametrize("end", ["cancel", "drop"])
@goroutines
def test_tree_whose_timer_is_gone_leaves_no_hook(end: str) -> None:
    """The stopped timer may lie in the scheduler's heap for an hour: it leads to nothing any more."""

    class Big:
        pass

    keeps_the_heap = context.with_timeout(3600)
    assert keeps_the_heap.done is not None
    gone = []
    for _ in range(5):
        parent = context.with_cancel(context.with_cancel())
        big = Big()
        gone.append(weakref.ref(big))
        context.after_func(parent, lambda big=big: None)
        child = context.with_timeout(3600, parent)
        assert not child.done.closed
        if end == "cancel":
            child.cancel()
        del parent, child, big
    gc.collect()
    gopark.gosched()
    gc.collect()
    assert [ref for ref in gone if ref() is not None] == []
