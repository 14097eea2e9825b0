"""Waiting for a condition, with a deadline: goroutines park when they are given a turn, threads some time
after."""

import time
from collections.abc import Callable

import pytest

import gopark


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """eventually(condition): let the others run until condition() is true; fails after 10 s."""

    def wait(condition: Callable[[], object]) -> None:
        limit = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < limit, "the condition did not come true within 10 s"
            gopark.sleep(0.0001)

    return wait
