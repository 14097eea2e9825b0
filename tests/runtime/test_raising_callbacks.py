"""What raises inside the scheduler goes to the main goroutine, not to whoever looked for work there."""

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.timers import Timer
from support import python


def boom(*args: object) -> None:
    raise ZeroDivisionError("in the scheduler")


@pytest.mark.parametrize("how", ["timer", "injected"])
def test_error_in_a_callback_reaches_main_and_leaves_a_parked_goroutine_parked(how: str) -> None:
    def main() -> None:
        ch = gopark.Chan()
        parked = gopark.go(ch.recv)
        gopark.gosched()
        if how == "timer":
            proc.getp().timers.modify(Timer(boom, None), proc.nanotime(), 0)
        else:
            proc.getp().inject(boom)
        looker = gopark.go(gopark.Chan().recv)  # the one whose park runs the callback
        with pytest.raises(ZeroDivisionError):
            gopark.sleep(10)
        assert not looker.done and not parked.done
        ch.send("value")
        assert parked.result(10) == "value"

    gopark.run(main)


def test_goroutine_that_ends_where_none_runs_is_fatal_and_says_why() -> None:
    """The interpreted core's state after a handler has raised in the middle of a switch: it never ends in silence."""
    done = python(
        """
        import gopark
        from gopark.runtime import proc

        def main():
            def lost(): proc.getp().curg = None
            gopark.go(lost).join()

        gopark.run(main)
        """,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("fatal error: a goroutine has ended where none runs: a signal handler")
