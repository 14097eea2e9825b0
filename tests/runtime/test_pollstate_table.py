"""pollstate.TRANSITIONS against the real code: each row is driven and compared."""

from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark.runtime import g, netpoll, polldesc, pollstate
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.pollstate import MODE_R, MODE_W, TRANSITIONS, Transition
from support import IS_COMPILED, goroutines, started


class Desc(PollDesc):
    """A PollDesc that runs *between* between PD_WAIT and the commit of the park."""

    between: Callable[[], Any] | None = None

    def parkcommit(self, gp: gopark.Goroutine, mode: int) -> bool:
        if self.between is not None:
            self.between()
        return PollDesc.parkcommit(self, gp, mode)


def state(pd: PollDesc, mode: int) -> str:
    return pd.state()[0 if mode == MODE_R else 1]


def edge(pd: PollDesc, mode: int) -> gopark.Goroutine | None:
    return netpoll.netpollunblock(pd, mode, True)


class Row:
    """Brings a PollDesc into a state, applies an event, and keeps what was seen."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.pd = Desc(1 << 20)
        self.g: gopark.Goroutine | None = None
        self.seen = ""  # the state right after the event
        self.result: Any = None  # what the event's call returned or raised

    def enter(self, name: str, event: Callable[[], Any]) -> None:
        if name == "PD_WAIT":
            self.pd.between = lambda: self.apply(event)
            self.blocker()
            return
        if name == "PD_READY":
            edge(self.pd, self.mode)
        elif name == "G":
            self.blocker()
        assert state(self.pd, self.mode) == name
        self.apply(event)

    def blocker(self) -> None:
        self.g = started(gopark.go(netpoll.netpollblock, self.pd, self.mode))

    def apply(self, event: Callable[[], Any]) -> None:
        try:
            self.result = event()
        except BaseException as e:
            self.result = e
        self.seen = state(self.pd, self.mode)

    def wake(self, gp: gopark.Goroutine | None) -> gopark.Goroutine | None:
        netpoll.netpollgoready(gp)
        return gp

    def finish(self) -> None:
        """Nobody stays parked."""
        self.pd.between = None
        if self.g is not None and not self.g.done:
            self.g.cancel()
            assert self.g.join(5)
        if self.g is not None:
            assert self.g.exception is None or self.g.done


def block(row: Row) -> bool:
    return bool(netpoll.netpollblock(row.pd, row.mode))


def drive(t: Transition, mode: int) -> Row:
    row = Row(mode)
    pd = row.pd
    if t.event == "block" and t.state == "nil":
        pd.between = lambda: row.apply(lambda: None)
        row.blocker()
    elif t.event in ("commit", "resume"):
        # The commit is the block's own: bring the state about between PD_WAIT and the commit.
        def before() -> None:
            if t.state == "PD_READY":
                assert edge(pd, mode) is None
            elif t.state == "nil":
                assert netpoll.netpollunblock(pd, mode, False) is None
            assert state(pd, mode) == t.state
            if t.event == "commit":
                row.apply(lambda: PollDesc.parkcommit(pd, gopark.current(), mode))
                if t.state == "PD_WAIT":
                    pd.parkcancel(gopark.current(), mode)  # the real commit follows

        pd.between = before
        row.blocker()
        if t.event == "resume":
            assert row.g is not None
            row.apply(row.g.result)
    elif t.event == "error":
        if t.state == "PD_WAIT":
            netpoll.poll_unblock(pd)
            row.apply(lambda: block(row))
    elif t.event == "cancel":
        row.enter(t.state, lambda: row.g and row.g.cancel())
    else:
        events: dict[str, Callable[[], Any]] = {
            "block": lambda: block(row),
            "unblock ready": lambda: row.wake(edge(pd, mode)),
            "unblock": lambda: row.wake(netpoll.netpollunblock(pd, mode, False)),
            "reset": lambda: netpoll.poll_reset(pd, mode),
        }
        row.enter(t.state, events[t.event])
    return row


def expect_result(t: Transition, row: Row) -> None:
    """The effect's words, checked."""
    if "fatal error" in t.effect:
        assert isinstance(row.result, g.FatalError) and "double wait" in str(row.result)
    elif t.event == "commit":
        assert row.result is (t.state == "PD_WAIT")
    elif t.event in ("block", "error", "resume") and "return" in t.effect:
        assert row.result is ("return true" in t.effect)
    elif t.event.startswith("unblock"):
        assert row.result is (row.g if "return G" in t.effect else None)
    elif t.event == "reset":
        assert row.result == 0
    elif t.event == "cancel":
        assert row.g is not None and row.g.join(5) and isinstance(row.g.exception, gopark.Cancelled)
        assert polldesc.waiters() == 0


ROWS = [
    pytest.param(t, mode, id=f"{t.state}-{t.event}-{'rw'[mode - 1]}")
    for t in TRANSITIONS
    for mode in (MODE_R, MODE_W)
    if (t.state, t.event) != ("PD_READY", "error")
]


@pytest.mark.parametrize(("t", "mode"), ROWS)
@goroutines
def test_code_does_what_the_table_says(t: Transition, mode: int) -> None:
    """K1, G13, G14: the two semaphores' states and every transition between them."""
    row = drive(t, mode)
    assert row.seen == t.next
    expect_result(t, row)
    row.finish()
    assert state(row.pd, mode) in ("nil", "PD_READY")
    other = MODE_W if mode == MODE_R else MODE_R
    assert state(row.pd, other) == "nil"


@pytest.mark.skipif(IS_COMPILED, reason="no Python code can run between these two C statements")
@goroutines
def test_edge_between_pd_wait_and_the_error_check_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row (PD_READY, error): only a collection inside the interpreted core can bring it about."""
    pd = Desc(1 << 20)
    check = netpoll.netpollcheckerr

    def racing(d: PollDesc, mode: int) -> int:
        assert state(pd, mode) == "PD_WAIT"
        edge(pd, mode)
        return check(d, mode)

    netpoll.poll_unblock(pd)
    monkeypatch.setattr(netpoll, "netpollcheckerr", racing)
    assert netpoll.netpollblock(pd, MODE_R) is True
    assert state(pd, MODE_R) == "nil"


def test_table_has_one_row_for_each_state_and_event() -> None:
    rows = [(t.state, t.event) for t in TRANSITIONS]
    assert len(rows) == len(set(rows))
    states = ("nil", "PD_READY", "PD_WAIT", "G")
    for event in ("block", "unblock", "unblock ready"):
        assert {s for s, e in rows if e == event} == set(states)
    assert {t.state for t in TRANSITIONS} | {t.next for t in TRANSITIONS} == set(states)


def test_values_are_go_s() -> None:
    """K1: pdReady is 1, pdWait is 2."""
    assert (pollstate.PD_READY, pollstate.PD_WAIT) == (1, 2)
