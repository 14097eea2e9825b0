"""Every test of the runtime leaves it ended: nobody parked, no wait counted, no exception unreported."""

from collections.abc import Iterator

import pytest

import gopark
from gopark.runtime import polldesc, proc


@pytest.fixture(autouse=True)
def clean_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Checks that, and collects what goes to gopark.excepthook: a test that expects it empties the list."""
    uncollected: list[BaseException] = []
    monkeypatch.setattr(gopark, "excepthook", lambda gp, exc: uncollected.append(exc))
    yield uncollected
    p = proc.getp()
    assert p.thread == 0, "the runtime still runs"
    assert polldesc.waiters() == 0, "netpoll_waiters is wrong"
    assert p.runqsize() == 0, "goroutines were left on a run queue"
    assert p.timers.armed() == 0, "timers were left armed"
    assert uncollected == []
