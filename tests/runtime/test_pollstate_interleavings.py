"""Every interleaving of a block's steps with edges, deadlines, closes and cancellations: no wake-up is lost.

The steps are: before the block, before the park's commit, right after it, parked, and woken but not run yet.
These are all: between any two of them the compiled core neither allocates nor runs Python code, and the
interpreted core defers what a collection or a signal brings to the next scheduling decision.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark.runtime import netpoll, polldesc, proc
from gopark.runtime.g import GList
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.pollstate import MODE_R, MODE_W
from support import goroutines, started

BEFORE, PRECOMMIT, COMMITTED, PARKED = range(4)
EVENTS = ("edge", "deadline", "close", "cancel")


class Desc(PollDesc):
    """A PollDesc that says when it is about to commit a park, and when it has."""

    at: Callable[[int], None]

    def parkcommit(self, gp: gopark.Goroutine, mode: int) -> bool:
        self.at(PRECOMMIT)
        committed = PollDesc.parkcommit(self, gp, mode)
        self.at(COMMITTED)
        return committed


class Scenario:
    """One block and what is done to it, with the outcome that the specification demands."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.pd = Desc(1 << 20)
        self.pd.at = lambda point: None
        self.g: Any = None
        self.ran: list[str] = []
        self.closed = False

    def apply(self, event: str) -> None:
        self.ran.append(event)
        if event == "edge":
            torun = GList()
            netpoll.netpollready(torun, self.pd, self.mode)
            proc.getp().injectglist(torun)
        elif event == "deadline":
            netpoll.poll_set_deadline(self.pd, -1, self.mode)
        elif event == "close":
            if not self.closed:
                self.closed = True
                netpoll.poll_unblock(self.pd)
        else:
            self.g.cancel()

    def body(self) -> Any:
        self.pd.at(BEFORE)
        return netpoll.netpollblock(self.pd, self.mode)

    def check(self, label: object) -> None:
        """The block has returned, the edge is not lost, nothing is left parked or counted."""
        if not self.ran:
            assert not self.g.done, label
            assert polldesc.waiters() == 1, label
            self.g.cancel()
        assert self.g.join(5), f"lost wake-up: {label}"
        assert polldesc.waiters() == 0, label
        state = self.pd.state()[self.mode - 1]
        edge = "edge" in self.ran
        if isinstance(self.g.exception, gopark.Cancelled):
            assert "cancel" in self.ran or not self.ran, label
            # The edge is still there for who waits next.
            assert state == ("PD_READY" if edge else "nil"), label
        else:
            assert self.g.exception is None, label
            assert self.g.result() is edge, label
            assert state == "nil", label
        assert self.pd.state()[2 - self.mode] == "nil", label


def run_points(mode: int, plan: list[tuple[int, str]]) -> None:
    """The events of *plan* at their points."""
    s = Scenario(mode)

    def at(point: int) -> None:
        for where, event in plan:
            if where == point:
                s.apply(event)

    s.pd.at = at
    s.g = gopark.go(s.body)
    started(s.g)
    if not s.g.done:
        at(PARKED)  # several events here: the later ones find it woken but not run yet
    s.check((mode, plan))


@pytest.mark.parametrize("mode", [MODE_R, MODE_W])
@goroutines
def test_no_wake_up_is_lost_wherever_up_to_three_events_fall(mode: int) -> None:
    """S3, G13: an edge or an error published at any step of the block ends it."""
    points = (BEFORE, PRECOMMIT, COMMITTED, PARKED)
    count = 0
    for n in range(4):
        for where in itertools.combinations_with_replacement(points, n):
            for events in itertools.product(EVENTS, repeat=n):
                run_points(mode, list(zip(where, events, strict=True)))
                count += 1
    assert count == 1 + 4 * 4 + 10 * 16 + 20 * 64
