"""What is to be raised in a goroutine is raised there also if it only computes."""

import time

import gopark
from gopark.runtime import sysmon
from support import goroutines, parked


class Enough(Exception):
    pass


def compute() -> str:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pass
    return "computed"


@goroutines
def test_it_is_raised_where_a_goroutine_that_only_computes_is_preempted() -> None:
    computing = gopark.go(compute)
    gopark.gosched()  # it is preempted
    began = time.monotonic()
    sysmon.interrupt(computing, Enough())
    computing.join()
    assert isinstance(computing.exception, Enough)
    assert time.monotonic() - began < 5.0


@goroutines
def test_it_is_raised_where_a_goroutine_is_parked() -> None:
    sleeping = parked(gopark.go(gopark.sleep, 3600))
    sysmon.interrupt(sleeping, Enough())
    sleeping.join()
    assert isinstance(sleeping.exception, Enough)


@goroutines
def test_a_cancellation_after_it_waits_for_a_park_as_ever() -> None:
    def body() -> str:
        try:
            gopark.sleep(3600)
        except Enough:
            pass
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass
        return "computed"

    goroutine = parked(gopark.go(body))
    sysmon.interrupt(goroutine, Enough())
    gopark.gosched()
    goroutine.cancel()
    assert goroutine.result() == "computed"


@goroutines
def test_a_shielded_goroutine_gets_it_after_the_block() -> None:
    reached: list[str] = []

    def body() -> None:
        with gopark.shield():
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
            reached.append("the block's end")
        compute()

    goroutine = gopark.go(body)
    gopark.gosched()  # it is preempted
    sysmon.interrupt(goroutine, Enough())
    goroutine.join()
    assert reached == ["the block's end"]
    assert isinstance(goroutine.exception, Enough)
