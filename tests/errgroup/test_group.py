"""Group: waiting, failing and cancelling together."""

import copy
import pickle
import threading
from collections.abc import Callable

import pytest

import gopark
from gopark import context
from gopark.errgroup import Group
from gopark.runtime import joining
from support import eventually, parked


def sleeper(log: list[str] | None = None) -> None:
    try:
        gopark.sleep(60)
    finally:
        if log is not None:
            log.append("cancelled")


def fail(exc: BaseException, seconds: float = 0.002) -> None:
    gopark.sleep(seconds)
    raise exc


def test_block_waits_for_all_and_results_are_there() -> None:
    def main() -> None:
        with Group() as g:
            work = [g.go(lambda i=i: gopark.sleep(0.001 * i) or i * i) for i in range(5)]
        assert [w.result() for w in work] == [0, 1, 4, 9, 16]
        assert g.ctx.err() == context.Canceled
        assert "over" in repr(g) and g.statistics().started == 5

    gopark.run(main)


def test_first_error_cancels_the_rest_and_is_raised_as_itself() -> None:
    def main() -> None:
        log: list[str] = []
        error = ValueError("first")
        with pytest.raises(ValueError) as raised:
            with Group() as g:
                for _ in range(3):
                    g.go(sleeper, log)
                g.go(fail, error)
                ctx = g.ctx
        assert raised.value is error
        assert log == ["cancelled"] * 3
        assert ctx.err() == context.Canceled and context.cause(ctx) is error
        assert g.ctx.err() == context.Canceled
        assert gopark.num_goroutine() == 1

    gopark.run(main)


def test_several_errors_are_an_exception_group() -> None:
    def cleanup_fails() -> None:
        try:
            gopark.sleep(60)
        finally:
            raise KeyError("second")

    def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            with Group() as g:
                g.go(cleanup_fails)
                g.go(fail, ValueError("first"))
        assert [type(e) for e in raised.value.exceptions] == [ValueError, KeyError]

    gopark.run(main)


def test_goroutine_that_raises_the_groups_own_end_adds_nothing() -> None:
    def main() -> None:
        with pytest.raises(ValueError):
            with Group() as g:

                def listen() -> None:
                    g.ctx.done.recv_ok()
                    raise g.ctx.err()

                g.go(listen)
                g.go(fail, ValueError())

    gopark.run(main)


def test_block_that_is_parked_when_a_goroutine_fails_is_told() -> None:
    def main() -> None:
        with pytest.raises(ValueError):
            with Group() as g:
                g.go(fail, ValueError())
                gopark.sleep(60)
        gopark.sleep(0.001)  # nothing of it is left for later

    gopark.run(main)


def test_block_that_did_not_park_any_more_is_not_told_later() -> None:
    def main() -> None:
        with pytest.raises(ValueError):
            with Group() as g:
                w = g.go(fail, ValueError(), 0)
                g.ctx.done.recv_ok()
                assert w.done
        gopark.sleep(0.001)

    gopark.run(main)


def test_error_in_the_block_cancels_and_waits_for_the_goroutines() -> None:
    def main() -> None:
        log: list[str] = []
        with pytest.raises(KeyError):
            with Group() as g:
                parked(g.go(sleeper, log))
                raise KeyError
        assert log == ["cancelled"]

    gopark.run(main)


def test_cancelling_who_waits_cancels_the_group_and_waits_on() -> None:
    def main() -> None:
        log: list[str] = []

        def owner() -> None:
            with Group() as g:
                g.go(sleeper, log)

        g = gopark.go(owner)
        gopark.sleep(0.002)
        g.cancel()
        assert g.join(10) and isinstance(g.exception, gopark.Cancelled)
        assert log == ["cancelled"] and gopark.num_goroutine() == 1

    gopark.run(main)


def test_cancel_of_one_goroutine_is_no_error() -> None:
    def main() -> None:
        with Group() as g:
            g.go(sleeper).cancel()
            g.go(gopark.goexit)
            other = g.go(lambda: gopark.sleep(0.002) or "done")
        assert other.result() == "done"

    gopark.run(main)


def test_cancel_of_the_group_ends_it_without_an_error() -> None:
    def main() -> None:
        log: list[str] = []
        with Group() as g:
            parked(g.go(sleeper, log))
            g.cancel()
        assert log == ["cancelled"]

    gopark.run(main)


def test_limit_is_never_exceeded_and_go_waits() -> None:
    def main() -> None:
        running = most = 0

        def work() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            gopark.sleep(0.0005)
            running -= 1

        with Group(limit=3) as g:
            for _ in range(12):
                g.go(work)
            while g.statistics().running < 3:
                assert g.try_go(sleeper)
            assert g.try_go(work) is False
            g.cancel()
        assert most == 3

    gopark.run(main)


def test_go_that_waits_for_the_limit_goes_on_when_the_group_fails() -> None:
    def main() -> None:
        with pytest.raises(ValueError):
            with Group(limit=1) as g:
                g.go(fail, ValueError())
                g.go(sleeper)
                g.go(sleeper)

    gopark.run(main)


def test_goroutines_may_start_others_while_the_block_waits() -> None:
    def main() -> None:
        count = 0
        with Group() as g:

            def tree(depth: int) -> None:
                nonlocal count
                count += 1
                if depth:
                    g.go(tree, depth - 1)
                    g.go(tree, depth - 1)

            g.go(tree, 4)
        assert count == 31

    gopark.run(main)


def test_nested_groups_fail_outwards() -> None:
    def main() -> None:
        log: list[str] = []

        def inner() -> None:
            with Group() as g:
                g.go(sleeper, log)
                g.go(fail, ValueError("inner"))

        with pytest.raises(ValueError, match="inner"):
            with Group() as g:
                g.go(inner)
                g.go(sleeper, log)
        assert log == ["cancelled"] * 2

    gopark.run(main)


def test_use_outside_the_block_is_an_error() -> None:
    def main() -> None:
        g = Group()
        with pytest.raises(RuntimeError, match="with"):
            g.go(print)
        with g, pytest.raises(TypeError, match="callable"):
            g.go(None)
        with pytest.raises(RuntimeError, match="with"):
            g.try_go(print)
        with pytest.raises(RuntimeError, match="one `with` block"), g:
            pass

    gopark.run(main)


@pytest.mark.parametrize("limit", [0, -1, 1 << 62])
def test_limit_has_a_range(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"limit must be from 1 to 2\*\*62 - 1, or None.*, not {limit}"):
        Group(limit)


@pytest.mark.parametrize("limit", ["2", 2.0, True])
def test_limit_must_be_an_int(limit: object) -> None:
    with pytest.raises(TypeError, match=f"limit must be an int, or None.*, not {limit!r}"):
        Group(limit)


def test_caller_from_outside_who_waits_for_a_slot_does_not_get_it_after_the_block() -> None:
    def main() -> None:
        gate, begun = gopark.Chan(), []
        with Group(limit=1) as g:
            g.go(gate.recv_ok)
            outside = [parked(gopark.go(g.go, begun.append, i), "semacquire") for i in range(2)]
            gopark.go(gate.close)
        for caller in outside:  # the second one gets the slot only if the first gives it back
            with pytest.raises(RuntimeError, match="block has ended"):
                caller.result(10)
        assert begun == []
        eventually(lambda: gopark.num_goroutine() == 1)  # what earlier tests left may be finalized just now

    gopark.run(main)


def test_block_waits_for_what_was_started_just_before_it_would_have_ended() -> None:
    def main() -> None:
        gate, log = gopark.Chan(), []

        def outsider() -> None:
            first.join()  # is woken before the block is
            g.go(lambda: gopark.sleep(0.001) or log.append("done"))

        with Group() as g:
            first = g.go(gate.recv_ok)
            parked(gopark.go(outsider))
            gopark.go(gate.close)
        assert log == ["done"]

    gopark.run(main)


def test_goroutine_that_a_thread_started_is_seen_to_end_by_the_scheduler(monkeypatch) -> None:
    watch = joining.watch
    where = []

    def watch_late(gp: gopark.Goroutine, event: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            eventually(lambda: gp.done)
        watch(gp, event)

    def main() -> None:
        with pytest.raises(ValueError):
            with Group() as g:
                context.on_end(g.ctx, lambda: where.append(threading.current_thread()))
                gopark.blocking(g.go, fail, ValueError(), 0)
                gopark.sleep(60)

    monkeypatch.setattr(joining, "watch", watch_late)
    gopark.run(main)
    assert where == [threading.main_thread()]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_group_cannot_be_copied(copied: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="a Group cannot be copied or pickled"):
        copied(Group())


def test_goroutine_that_cannot_be_started_counts_for_nothing() -> None:
    """A thread comes too late: the run has ended.  Nobody would wait for it, and no slot is lost."""
    group = Group(limit=1)
    gopark.run(group.__enter__)
    refused: list[BaseException] = []

    def late() -> None:
        for _ in range(2):
            try:
                group.go(int)
            except RuntimeError as e:
                refused.append(e)

    thread = threading.Thread(target=late)
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and len(refused) == 2
    assert group.statistics().started == 0 and group._left.count == 0
