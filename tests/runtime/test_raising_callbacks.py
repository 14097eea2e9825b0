"""What raises inside the scheduler goes to the main goroutine, not to whoever looked for work there."""

import pytest

import gopark
from gopark.runtime import proc
from gopark.runtime.timers import Timer


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
