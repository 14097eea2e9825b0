"""Contexts: the tree, values, causes, and what is left behind."""

import gc
import threading
import weakref

import pytest

import gopark
from gopark import context


def test_cancel_ends_a_context_and_all_below_but_nothing_above() -> None:
    def main() -> None:
        top = context.with_cancel()
        middle = context.with_cancel(top)
        bottom = context.with_value(context.with_timeout(60, middle), "k", "v")
        waiter = gopark.go(bottom.done.recv_ok)
        gopark.gosched()
        middle.cancel()
        assert waiter.result(10) == (None, False)
        assert isinstance(bottom.err(), context.Canceled) and isinstance(middle.err(), context.Canceled)
        assert top.err() is None and not top.done.closed

    gopark.run(main)


def test_err_compares_equal_to_its_class_and_can_be_raised() -> None:
    ctx = context.with_cancel()
    assert ctx.err() is None
    ctx.cancel()
    assert ctx.err() == context.Canceled and ctx.err() != context.DeadlineExceeded
    assert str(ctx.err()) == "context canceled"
    with pytest.raises(context.Canceled):
        raise ctx.err()
    assert issubclass(context.DeadlineExceeded, TimeoutError)


def test_done_of_a_context_that_has_ended_is_closed() -> None:
    ctx = context.with_cancel()
    ctx.cancel()
    assert ctx.done.closed and context.with_cancel(ctx).done.closed
    assert ctx.done is ctx.done


def test_values_are_found_in_the_nearest_context_above() -> None:
    a = context.with_value(None, "k", 1)
    b = context.with_value(context.with_cancel(a), "k", 2)
    assert (a.value("k"), b.value("k"), b.value("other")) == (1, 2, None)
    assert context.background().value("k") is None
    with pytest.raises(TypeError):
        context.with_value(a, None, 1)


def test_cause_is_what_cancel_was_given_also_below() -> None:
    why = ValueError("why")
    ctx = context.with_cancel_cause()
    below = context.with_cancel(ctx)
    assert context.cause(below) is None
    ctx.cancel(why)
    ctx.cancel(KeyError("too late"))
    assert context.cause(ctx) is why and context.cause(below) is why
    assert ctx.err() == context.Canceled
    plain = context.with_cancel()
    plain.cancel()
    assert context.cause(plain) == context.Canceled


def test_with_block_cancels_at_its_end() -> None:
    with context.with_cancel() as ctx:
        assert ctx.err() is None
    assert ctx.err() == context.Canceled


def test_without_cancel_keeps_values_and_drops_the_end() -> None:
    parent = context.with_timeout(60, context.with_value(None, "k", 1))
    ctx = context.without_cancel(parent)
    parent.cancel()
    assert ctx.err() is None and ctx.deadline() is None and ctx.value("k") == 1


def test_background_never_ends() -> None:
    ctx = context.background()
    ctx.cancel()
    with ctx:
        pass
    assert ctx.err() is None and ctx.deadline() is None and not ctx.done.closed
    assert "active" in repr(ctx)


def test_cancelled_children_leave_their_parent() -> None:
    parent = context.with_cancel()
    for _ in range(100):
        with context.with_cancel(parent) as child:
            assert child.done is not None
    assert len(parent._listeners) == 0


def test_contexts_that_nobody_listens_to_are_not_kept_by_their_parent() -> None:
    parent = context.with_cancel()
    assert parent.done is not None
    child = context.with_value(context.with_timeout(60, parent), "k", 1)
    gone = weakref.ref(child)
    del child
    gc.collect()
    assert gone() is None


def test_after_func_runs_in_a_goroutine_when_the_context_ends_or_has_ended() -> None:
    def main() -> None:
        out = gopark.Chan(2)
        ctx = context.with_cancel()
        stop = context.after_func(ctx, lambda: out.send(gopark.current().id))
        ctx.cancel()
        assert out.recv() != gopark.current().id
        assert stop() is False
        context.after_func(ctx, lambda: out.send("at once"))
        assert out.recv() == "at once"

    gopark.run(main)


def test_stopped_after_func_does_not_run() -> None:
    def main() -> None:
        calls: list[int] = []
        ctx = context.with_cancel()
        stop = context.after_func(ctx, lambda: calls.append(1))
        assert stop() is True and stop() is False
        ctx.cancel()
        gopark.sleep(0.002)
        assert calls == []

    gopark.run(main)


@pytest.mark.parametrize("make", [context.background, context.with_cancel])
def test_stop_was_in_time_once_only(make) -> None:
    stop = context.after_func(make(), lambda: None)
    assert stop() is True
    assert stop() is False and stop() is False


def test_two_hooks_with_the_same_function_are_two() -> None:
    calls: list[int] = []

    def fn() -> None:
        calls.append(1)

    ctx = context.with_cancel()
    stops = [context.on_end(ctx, fn) for _ in range(3)]
    assert stops[1]() is True
    ctx.cancel()
    assert calls == [1, 1]
    assert [stop() for stop in stops] == [False, False, False]


@pytest.mark.parametrize("make", [context.background, context.with_cancel])
@pytest.mark.parametrize("why", ["text", 0, False, ValueError])
def test_cause_that_is_no_exception_is_a_type_error_and_ends_nothing(make, why) -> None:
    ctx = make()
    with pytest.raises(TypeError, match="cause must be an exception"):
        ctx.cancel(why)
    assert ctx.err() is None


def test_cancel_from_another_thread_wakes_a_goroutine_and_a_thread() -> None:
    def main() -> None:
        ctx = context.with_timeout(60)
        below = context.with_cancel(ctx)
        waiter = gopark.go(below.done.recv_ok)
        gopark.gosched()
        threads = [threading.Thread(target=f) for f in (below.done.recv_ok, ctx.cancel)]
        for t in threads:
            t.start()
        assert waiter.result(10) == (None, False)
        for t in threads:
            gopark.blocking(t.join, 10)
            assert not t.is_alive()

    gopark.run(main)


@pytest.mark.parametrize(
    "make",
    [
        lambda: context.with_cancel("ctx"),
        lambda: context.with_timeout("1"),
        lambda: context.with_timeout(1, 2),
        lambda: context.with_deadline(None),
        lambda: context.after_func(context.background(), None),
        lambda: context.cause(1),
    ],
)
def test_wrong_types_are_type_errors(make) -> None:
    with pytest.raises(TypeError):
        make()


def test_hook_that_cannot_be_started_keeps_nobody_from_being_told() -> None:
    """The runtime has ended, and a thread cannot start it: the hook's goroutine has failed, and all else goes on."""
    reported: list[tuple[str, BaseException]] = []
    ctx = context.with_cancel()
    done = context.with_cancel(ctx).done
    calls: list[str] = []
    stop = [context.after_func(ctx, print)]
    context.on_end(ctx, lambda: calls.append("told"))
    stop.append(context.after_func(ctx, print))
    hook = gopark.excepthook
    gopark.excepthook = lambda gp, exc: reported.append((gp.name, exc))
    try:
        thread = threading.Thread(target=ctx.cancel)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        gopark.excepthook = hook
    assert done.closed and calls == ["told"] and ctx.err() is not None
    assert [(name, type(exc)) for name, exc in reported] == [("context.after_func", RuntimeError)] * 2
    assert [s() for s in stop] == [False, False]


def test_what_a_hook_raises_is_raised_when_all_are_told() -> None:
    ctx = context.with_cancel()
    done = context.with_cancel(ctx).done
    calls: list[int] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    context.on_end(ctx, lambda: calls.append(1))
    context.on_end(ctx, interrupted)
    context.on_end(ctx, lambda: calls.append(2))
    with pytest.raises(KeyboardInterrupt):
        ctx.cancel()
    assert done.closed and sorted(calls) == [1, 2]
