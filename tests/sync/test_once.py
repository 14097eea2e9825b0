"""Once: one call, whoever asks."""

import pytest

import gopark
from gopark.sync import Once


def test_function_is_called_once_and_the_others_wait_until_it_has_ended(eventually) -> None:
    def main() -> None:
        once = Once()
        events: list[str] = []

        def init() -> None:
            events.append("begin")
            gopark.sleep(0.002)
            events.append("end")

        def user() -> None:
            once.do(init)
            events.append("use")

        users = [gopark.go(user) for _ in range(3)]
        eventually(lambda: once.statistics().waiting == 2)
        assert users[1].waitreason == "sync.Once.Do"
        for g in users:
            g.result(10)
        assert events == ["begin", "end", "use", "use", "use"]
        assert once.done and "done" in repr(once)

    gopark.run(main)


def test_function_that_raises_counts_as_done() -> None:
    def main() -> None:
        once = Once()
        with pytest.raises(ZeroDivisionError):
            once.do(lambda: 1 / 0)
        once.do(lambda: pytest.fail("called again"))

    gopark.run(main)


def test_reentrant_do_is_an_error_instead_of_a_deadlock() -> None:
    def main() -> None:
        once = Once()
        with pytest.raises(RuntimeError, match="wait for itself"):
            once.do(lambda: once.do(lambda: None))

    gopark.run(main)


def test_do_needs_something_to_call() -> None:
    once = Once()
    with pytest.raises(TypeError, match="callable"):
        once.do(None)
    assert not once.done
