"""Contexts that end by the clock."""

import pytest

import gopark
from gopark import context, time


def test_timeout_closes_done_with_deadline_exceeded() -> None:
    def main() -> None:
        began = time.now()
        with context.with_timeout(0.005) as ctx:
            assert ctx.done.recv_ok() == (None, False)
            assert time.now() - began >= 0.005
            assert ctx.err() == context.DeadlineExceeded
        assert ctx.err() == context.DeadlineExceeded, "the first end counts"
        assert str(ctx.err()) == "context deadline exceeded"

    gopark.run(main)


def test_err_tells_the_end_without_anyone_having_listened() -> None:
    def main() -> None:
        ctx = context.with_cancel(context.with_timeout(0.001))
        gopark.sleep(0.002)
        assert ctx.err() == context.DeadlineExceeded

    gopark.run(main)


def test_err_tells_the_end_although_the_scheduler_had_no_turn() -> None:
    def main() -> None:
        ctx = context.with_timeout(0.001)
        assert not ctx.done.closed
        with gopark.no_preempt():
            end = time.now() + 0.002
            while time.now() < end:
                pass
            assert ctx.err() == context.DeadlineExceeded

    gopark.run(main)


@pytest.mark.parametrize("make", [lambda: context.with_timeout(0), lambda: context.with_deadline(0)])
def test_deadline_in_the_past_has_passed_at_once(make) -> None:
    assert make().err() == context.DeadlineExceeded
    assert make().done.closed


def test_deadline_is_the_earliest_above() -> None:
    near, far = time.now() + 50, time.now() + 100
    assert context.with_deadline(far, context.with_deadline(near)).deadline() == pytest.approx(near)
    assert context.with_deadline(near, context.with_deadline(far)).deadline() == pytest.approx(near)
    assert context.with_cancel(context.with_deadline(near)).deadline() == pytest.approx(near)
    assert context.with_cancel().deadline() is None


def test_parents_deadline_ends_the_child() -> None:
    def main() -> None:
        child = context.with_timeout(60, context.with_timeout(0.002))
        i, _, ok = gopark.select(child.done.on_recv(), timeout=10)
        assert (i, ok) == (0, False) and child.err() == context.DeadlineExceeded

    gopark.run(main)


def test_cancelled_context_leaves_no_timer_armed() -> None:
    def main() -> None:
        before = gopark.statistics().timers
        with context.with_timeout(3600) as ctx:
            assert ctx.done is not None
            assert gopark.statistics().timers == before + 1
        assert gopark.statistics().timers == before

    gopark.run(main)
