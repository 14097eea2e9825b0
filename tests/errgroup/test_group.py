"""Group: waiting, failing and cancelling together."""

import pytest

import gopark
from gopark import context
from gopark.errgroup import Group
from support import parked


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
        assert raised.value is error
        assert log == ["cancelled"] * 3
        assert g.ctx.err() == context.Canceled and context.cause(g.ctx) is error
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


@pytest.mark.parametrize("limit", [0, -1, "1", 1.5])
def test_limit_must_be_positive(limit: object) -> None:
    with pytest.raises(ValueError, match="limit"):
        Group(limit)
