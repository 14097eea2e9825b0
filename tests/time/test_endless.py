"""A time limit that never comes is none: nothing is armed for it, so that a deadlock is noticed."""

import math

import pytest

import gopark
from gopark import context, time
from support import goroutines, python


@pytest.mark.parametrize(
    "wait",
    [
        "context.with_timeout(math.inf).done.recv_ok()",
        "context.with_deadline(1e300).done.recv_ok()",
        "context.with_timeout(10**400, context.with_cancel()).done.recv_ok()",
        "time.Timer(math.inf).c.recv()",
        "time.Ticker(1e300).c.recv()",
        "(time.after_func(math.inf, print), gopark.Chan().recv())",
        "gopark.select(time.after(math.inf).on_recv(), timeout=math.inf)",
        "(s := gopark.sync.Semaphore(1), s.acquire(), s.acquire(1, math.inf))",
        "gopark.sleep(math.inf)",
    ],
)
def test_waiting_for_it_is_a_deadlock(wait: str) -> None:
    done = python(
        f"""
        import gopark, math
        from gopark import context, time
        gopark.run(lambda: {wait})
        """,
        check=False,
    )
    assert done.returncode == 2 and "all goroutines are asleep" in done.stderr


@goroutines
def test_timers_that_never_fire_are_stopped_and_reset_as_others() -> None:
    for timer in (time.Timer(math.inf), time.after_func(math.inf, print)):
        assert "never due" in repr(timer) and gopark.statistics().timers == 0
        assert timer.stop() is True and timer.stop() is False
        assert timer.reset(math.inf) is False
        assert timer.reset(60) is True and gopark.statistics().timers == 1
        assert timer.reset(math.inf) is True and gopark.statistics().timers == 0
        assert timer.stop() is True
    timer = time.Timer(math.inf)
    assert timer.c.cap == 1 and len(timer.c) == 0
    assert timer.reset(0.0001) is True
    assert isinstance(timer.c.recv(), float)
    assert timer.reset(math.inf) is False and timer.stop() is True
    ticker = time.Ticker(math.inf)
    assert "never due" in repr(ticker) and ticker.stop() is True and ticker.stop() is False
    ticker.reset(0.0001)
    assert isinstance(ticker.c.recv(), float)
    ticker.reset(math.inf)
    assert gopark.statistics().timers == 0 and ticker.stop() is True


@goroutines
def test_context_with_such_a_deadline_has_none() -> None:
    for ctx in (context.with_timeout(math.inf), context.with_deadline(math.inf)):
        assert ctx.deadline() is None and ctx.err() is None and not ctx.done.closed
        assert context.with_timeout(60, ctx).deadline() is not None
        below = context.with_timeout(math.inf, context.with_timeout(60))
        assert below.deadline() is not None
        ctx.cancel()
        assert ctx.done.closed
    assert gopark.statistics().timers == 0
