"""Which errors a group's block raises, what becomes of the others, and what they keep alive."""

import gc
import weakref
from collections.abc import Iterator

import pytest

import gopark
from gopark import context
from gopark.errgroup import Group
from support import IS_COMPILED, goroutines, parked, settle


def fail(exc: BaseException) -> None:
    raise exc


def fail_when_over(g: Group) -> None:
    g.ctx.done.recv_ok()
    raise g.ctx.err()


def fail_when_cancelled(exc: BaseException) -> None:
    try:
        gopark.sleep(60)
    finally:
        raise exc


@pytest.fixture
def reported(monkeypatch) -> list[BaseException]:
    """What gopark.excepthook gets."""
    gc.collect()  # what other tests have left is not meant
    out: list[BaseException] = []
    monkeypatch.setattr(gopark, "excepthook", lambda goroutine, exc: out.append(exc))
    return out


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# -- nested groups -------------------------------------------------------------------------------------------


@goroutines
def test_outer_group_that_failed_beside_the_inner_one_tells_the_block_after_the_inner_one_has_ended() -> None:
    go_on = gopark.Chan(1)
    inner_error, outer_error = ValueError(), KeyError()

    def fail_both() -> None:
        # The last one to be made ready runs first.  The owner does not run before both have failed.
        go_on.recv()
        outer_task.cancel()
        inner_task.cancel()

    with pytest.raises(KeyError) as raised:
        with Group() as outer:
            outer_task = parked(outer.go(fail_when_cancelled, outer_error))
            with pytest.raises(ValueError) as inner_raised:
                with Group() as inner:
                    inner_task = parked(inner.go(fail_when_cancelled, inner_error))
                    parked(gopark.go(fail_both))
                    go_on.send(None)
                    gopark.sleep(60)
            with pytest.raises(gopark.Cancelled) as cut:
                gopark.sleep(10)
            raise cut.value
    assert inner_raised.value is inner_error and raised.value is outer_error
    gopark.sleep(0)  # nothing of it is left for later


@goroutines
def test_every_failed_group_around_tells_the_block_in_its_turn() -> None:
    go_on = gopark.Chan(1)
    tasks: list[gopark.Goroutine] = []

    def fail_all() -> None:
        go_on.recv()
        for task in tasks:  # the innermost group's is the last, and runs first
            task.cancel()

    def nest(depth: int) -> None:
        if depth == 0:
            parked(gopark.go(fail_all))
            go_on.send(None)
            gopark.sleep(60)
            return
        with pytest.raises(ValueError, match=f"^{depth}$"):
            with Group() as g:
                tasks.append(parked(g.go(fail_when_cancelled, ValueError(str(depth)))))
                nest(depth - 1)
                with pytest.raises(gopark.Cancelled) as cut:
                    gopark.sleep(0)
                raise cut.value

    nest(4)
    gopark.sleep(0)


@goroutines
def test_outer_group_that_failed_first_is_what_the_block_is_told_of(reported) -> None:
    inner_error = ValueError()
    with pytest.raises(KeyError):
        with Group() as outer:
            outer.go(fail, KeyError())
            with Group() as inner:
                inner.go(fail, inner_error)
                gopark.sleep(60)
    assert reported == [inner_error]


@goroutines
def test_group_of_another_goroutine_is_not_told() -> None:
    def other() -> str:
        with Group() as g:
            g.go(gopark.sleep, 0)
        gopark.sleep(0)
        return "undisturbed"

    with pytest.raises(ValueError):
        with Group() as g:
            error = parked(g.go(fail_when_cancelled, ValueError()))
            watcher = parked(gopark.go(other))
            error.cancel()
    assert watcher.result(10) == "undisturbed"


# -- the same error twice ------------------------------------------------------------------------------------


@goroutines
def test_error_that_result_raises_in_the_block_counts_once() -> None:
    error = ValueError()
    with pytest.raises(ValueError) as raised:
        with Group() as g:
            g.go(fail, error).result()
    assert raised.value is error


@goroutines
def test_one_error_of_several_goroutines_counts_once() -> None:
    error, other = ValueError(), KeyError()
    with pytest.raises(ValueError) as raised:
        with Group() as g:
            g.go(fail, error)
            parked(g.go(fail_when_cancelled, error))
    assert raised.value is error
    with pytest.raises(ExceptionGroup) as several:
        with Group() as g:
            for e in (error, error, other):
                parked(g.go(fail_when_cancelled, e))
            raise error
    assert several.value.exceptions == (error, other)


@goroutines
def test_equal_errors_are_not_the_same_error() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        with Group() as g:
            parked(g.go(fail_when_cancelled, context.DeadlineExceeded()))
            g.go(fail, context.DeadlineExceeded())
    assert len(raised.value.exceptions) == 2


# -- errors that the block does not raise --------------------------------------------------------------------


@goroutines
def test_errors_go_to_the_hook_when_the_owner_is_cancelled_where_it_waits(reported) -> None:
    def owner() -> None:
        with Group() as g:
            g.go(fail_when_cancelled, ValueError(1))

    gp = parked(gopark.go(owner), "sync.WaitGroup.Wait")
    settle()
    gp.cancel()
    assert gp.join(10) and isinstance(gp.exception, gopark.Cancelled)
    del gp
    gc.collect()  # the interpreted core needs that: its own frames are in the traceback of Cancelled
    assert list(map(repr, reported)) == ["ValueError(1)"]


@goroutines
def test_errors_go_to_the_hook_when_the_block_raises_what_is_no_error(reported) -> None:
    with pytest.raises(KeyboardInterrupt):
        with Group() as g:
            parked(g.go(fail_when_cancelled, ValueError(1)))
            raise KeyboardInterrupt
    gc.collect()  # the interpreted core needs that: its own frames are in the traceback of Cancelled
    assert list(map(repr, reported)) == ["ValueError(1)"]


@goroutines
def test_errors_that_are_raised_or_were_collected_do_not_go_to_the_hook(reported) -> None:
    with pytest.raises(ExceptionGroup):
        with Group() as g:
            parked(g.go(fail_when_cancelled, KeyError()))
            parked(g.go(fail_when_over, g))
            g.go(fail, ValueError())
    with pytest.raises(KeyboardInterrupt):
        with Group() as g:
            task = parked(g.go(fail_when_cancelled, ValueError()))
            try:
                raise KeyboardInterrupt
            finally:
                g.cancel()
                with pytest.raises(ValueError):
                    task.result(10)
    del task
    gc.collect()
    assert reported == []


# -- the error itself ----------------------------------------------------------------------------------------


@goroutines
def test_error_keeps_its_context_and_cause() -> None:
    def during() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904

    def because() -> None:
        raise ValueError("second") from KeyError("first")

    def alone() -> None:
        raise ValueError("second")

    def seen(fn, wait: bool) -> tuple[object, ...]:
        with pytest.raises(ValueError) as raised:
            with Group() as g:
                g.go(fn)
                if wait:  # the block is told, and raises in the place of Cancelled
                    gopark.sleep(60)
        e = raised.value
        return type(e.__context__), type(e.__cause__), e.__suppress_context__

    none = type(None)
    for wait in (False, True):
        assert seen(during, wait) == (KeyError, none, False)
        assert seen(because, wait) == (none, KeyError, True)
        assert seen(alone, wait) == (none, none, False)


class Thing:
    pass


compiled_only = pytest.mark.skipif(
    not IS_COMPILED,
    reason="the interpreted core's own frames are in the traceback of Cancelled, and keep goroutines",
)


@goroutines
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("errors", [1, pytest.param(2, marks=compiled_only)])
def test_errors_keep_nothing_alive_once_the_caller_has_returned(told, errors, no_collections) -> None:
    things: list[weakref.ref[Thing]] = []

    def task() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        try:
            gopark.sleep(0)
        finally:
            raise ValueError

    def caller() -> None:
        try:
            with Group() as g:
                for _ in range(errors):
                    g.go(task)
                if told:
                    gopark.sleep(60)
        except (ValueError, ExceptionGroup):
            pass

    caller()
    assert [ref() for ref in things] == [None] * errors


@goroutines
def test_error_of_the_block_keeps_nothing_alive(no_collections) -> None:
    things: list[weakref.ref[Thing]] = []

    def caller() -> None:
        try:
            with Group() as g:
                g.go(gopark.sleep, 60)
                thing = Thing()
                things.append(weakref.ref(thing))
                raise ValueError
        except ValueError:
            pass

    caller()
    assert [ref() for ref in things] == [None]


@compiled_only
@goroutines
def test_owner_that_ends_with_the_error_or_is_cancelled_is_freed_and_reported(
    reported, no_collections
) -> None:
    error = ValueError()

    def owner(raises: bool) -> None:
        with Group() as g:
            g.go(fail, error) if raises else g.go(gopark.sleep, 60)

    gp = gopark.go(owner, True)
    gp.join(10)
    ref = weakref.ref(gp)
    del gp
    assert reported == [error] and ref() is None
    gp = parked(gopark.go(owner, False), "sync.WaitGroup.Wait")
    gp.cancel()
    gp.join(10)
    ref = weakref.ref(gp)
    del gp
    assert ref() is None
