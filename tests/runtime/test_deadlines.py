"""Deadlines of poll descriptors: past, moved, cleared, shared, split; races with data; stale timers."""

import socket
from collections.abc import Iterator

import pytest

import gopark
from gopark.runtime import netpoll, proc
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.pollstate import MODE_R, MODE_W, POLL_ERR_CLOSING, POLL_ERR_TIMEOUT, POLL_NO_ERROR
from support import goroutines, parked

RW = MODE_R | MODE_W
MS = 1_000_000
NEVER = 2**63 - 1


class Side:
    """A socket whose buffers are full and empty: neither side is ready."""

    def __init__(self) -> None:
        self.a, self.b = socket.socketpair()
        self.a.setblocking(False)
        try:
            while True:
                self.a.send(b"x" * 65536)
        except BlockingIOError:
            pass
        self.pd: PollDesc = netpoll.poll_open(self.a.fileno())
        proc.getp().poller.netpoll(0)
        netpoll.poll_reset(self.pd, MODE_R)
        netpoll.poll_reset(self.pd, MODE_W)

    def wait(self, mode: int) -> gopark.Goroutine:
        return parked(gopark.go(netpoll.poll_wait, self.pd, mode), "IO wait")

    def set(self, when: int, mode: int = RW) -> None:
        netpoll.poll_set_deadline(self.pd, when, mode)

    def close(self) -> None:
        if not self.pd.closing:
            netpoll.poll_unblock(self.pd)
        netpoll.poll_close(self.pd)
        self.a.close()
        self.b.close()


@pytest.fixture
def side() -> Iterator[Side]:
    yield (s := Side())
    s.close()


def soon(ms: float = 2) -> int:
    return proc.nanotime() + int(ms * MS)


@goroutines
def test_past_deadline_wakes_at_once_and_is_sticky(side: Side) -> None:
    """G8: a deadline in the past unblocks now; K: expired is -1; data does not undo it."""
    gs = [side.wait(MODE_R), side.wait(MODE_W)]
    side.set(proc.nanotime() - 1)
    assert [g.result(5) for g in gs] == [POLL_ERR_TIMEOUT] * 2
    assert (side.pd.rd, side.pd.wd) == (-1, -1)
    side.b.send(b"x")
    assert netpoll.poll_reset(side.pd, MODE_R) == POLL_ERR_TIMEOUT


@goroutines
def test_timer_expires_each_side_by_itself(side: Side) -> None:
    """G16, G17: netpoll_read_deadline and netpoll_write_deadline."""
    r, w = side.wait(MODE_R), side.wait(MODE_W)
    side.set(soon(), MODE_R)
    assert r.result(5) == POLL_ERR_TIMEOUT and not w.done
    assert (side.pd.rd, side.pd.wd) == (-1, 0)
    side.set(soon(), MODE_W)
    assert w.result(5) == POLL_ERR_TIMEOUT


@goroutines
def test_shared_deadline_needs_one_timer(side: Side) -> None:
    """G16: rd == wd shares netpoll_deadline's timer; it wakes both."""
    gs = [side.wait(MODE_R), side.wait(MODE_W)]
    side.set(soon(5))
    assert side.pd.rd == side.pd.wd > 0 and proc.getp().timers.armed() == 1
    assert [g.result(5) for g in gs] == [POLL_ERR_TIMEOUT] * 2


@goroutines
def test_shared_deadline_split_later(side: Side) -> None:
    r, w = side.wait(MODE_R), side.wait(MODE_W)
    when = soon(3_600_000)
    side.set(when)
    side.set(soon(2), MODE_W)
    assert proc.getp().timers.armed() == 2 and side.pd.rd == when
    assert w.result(5) == POLL_ERR_TIMEOUT and not r.done
    side.set(when, MODE_W)  # shared again
    assert proc.getp().timers.armed() == 1 and side.pd.wd == when
    side.set(0, MODE_R)  # split by clearing: the writer's stays
    assert proc.getp().timers.armed() == 1
    w = side.wait(MODE_W)
    side.set(soon(2), MODE_W)
    assert w.result(5) == POLL_ERR_TIMEOUT and not r.done
    side.set(-1, MODE_R)
    assert r.result(5) == POLL_ERR_TIMEOUT


@goroutines
def test_half_of_a_shared_deadline_in_the_past_leaves_the_other_armed(side: Side) -> None:
    w = side.wait(MODE_W)
    side.set(soon(5))
    side.set(-1, MODE_R)
    assert netpoll.poll_wait(side.pd, MODE_R) == POLL_ERR_TIMEOUT
    assert w.result(5) == POLL_ERR_TIMEOUT


@goroutines
def test_cleared_deadline_makes_usable_again(side: Side) -> None:
    side.set(-1)
    assert netpoll.poll_reset(side.pd, MODE_R) == POLL_ERR_TIMEOUT
    side.set(0)
    assert proc.getp().timers.armed() == 0
    assert netpoll.poll_reset(side.pd, MODE_R) == POLL_NO_ERROR
    r = side.wait(MODE_R)
    side.b.send(b"x")
    assert r.result(5) == POLL_NO_ERROR


@goroutines
def test_extended_while_blocked_does_not_fire_early(side: Side) -> None:
    r = side.wait(MODE_R)
    for _ in range(20):
        end = soon(4)
        side.set(end, MODE_R)
        gopark.sleep(0.0005)
        assert not r.done
    assert r.result(5) == POLL_ERR_TIMEOUT and proc.nanotime() >= end


@goroutines
def test_shortened_while_blocked_fires_early(side: Side) -> None:
    side.set(soon(3_600_000), MODE_R)
    r = side.wait(MODE_R)
    side.set(soon(2), MODE_R)
    assert r.result(5) == POLL_ERR_TIMEOUT


@goroutines
def test_deadline_that_woke_but_was_moved_before_the_goroutine_ran_waits_again(side: Side) -> None:
    """G6: as if it had not fired."""
    r = side.wait(MODE_R)
    side.set(-1, MODE_R)  # r is runnable now
    side.set(0, MODE_R)
    gopark.sleep(0.001)
    assert not r.done and r.waitreason == "IO wait"
    side.b.send(b"x")
    assert r.result(5) == POLL_NO_ERROR


@pytest.mark.parametrize("first", ["data", "deadline"])
@goroutines
def test_data_and_deadline_race(side: Side, first: str) -> None:
    """Both before the goroutine runs.  Expiry wins over data for later operations, whichever came first."""
    r = side.wait(MODE_R)
    side.b.send(b"x")
    if first == "data":
        proc.getp().injectglist(proc.getp().poller.netpoll(0))
        side.set(-1, MODE_R)
        assert r.result(5) == POLL_NO_ERROR  # the edge is not lost to the deadline
    else:
        side.set(-1, MODE_R)
        proc.getp().injectglist(proc.getp().poller.netpoll(0))
        assert r.result(5) in (POLL_NO_ERROR, POLL_ERR_TIMEOUT)
    assert netpoll.poll_reset(side.pd, MODE_R) == POLL_ERR_TIMEOUT
    side.set(0, MODE_R)
    assert netpoll.poll_reset(side.pd, MODE_R) == POLL_NO_ERROR
    assert side.a.recv(1) == b"x"


@pytest.mark.parametrize("when", [NEVER, NEVER - 1])
@goroutines
def test_overflowing_deadline_means_never(side: Side, when: int) -> None:
    side.set(when, MODE_R)
    r = side.wait(MODE_R)
    gopark.sleep(0.002)
    assert not r.done
    side.b.send(b"x")
    assert r.result(5) == POLL_NO_ERROR


@goroutines
def test_setting_a_deadline_after_close_does_nothing(side: Side) -> None:
    side.set(soon(1000))
    netpoll.poll_unblock(side.pd)
    assert proc.getp().timers.armed() == 0, "close did not stop the timer"
    side.set(soon(1))
    side.set(-1)
    assert proc.getp().timers.armed() == 0
    assert netpoll.poll_reset(side.pd, MODE_R) == POLL_ERR_CLOSING  # closing comes before expired


@goroutines
def test_stale_timer_is_recognised_by_its_sequence_number(side: Side) -> None:
    """G17: a timer whose deadline was changed, or whose PollDesc has a new owner, does nothing."""
    pd = side.pd
    side.set(soon(1000))
    old = pd.rseq
    side.set(soon(2000))
    assert pd.rseq != old
    r = side.wait(MODE_R)
    for fire in (netpoll.netpoll_deadline, netpoll.netpoll_read_deadline):
        fire(pd, old)
    netpoll.netpoll_write_deadline(pd, pd.wseq + 1)
    gopark.gosched()
    assert not r.done and pd.rd > 0 and pd.wd > 0
    current = pd.rseq
    netpoll.poll_unblock(pd)
    assert r.result(5) == POLL_ERR_CLOSING
    assert pd.rseq != current
    seqs = pd.rseq, pd.wseq
    netpoll.poll_close(pd)
    again = netpoll.poll_open(side.a.fileno())
    assert again is pd and pd.rseq > seqs[0] and pd.wseq > seqs[1]
    netpoll.netpoll_deadline(pd, current)
    assert (pd.rd, pd.wd) == (0, 0)


@goroutines
def test_renewed_deadlines_leave_one_timer(side: Side) -> None:
    for i in range(1000):
        side.set(soon(1000 + i))
    assert proc.getp().timers.armed() == 1
    for i in range(1000):
        side.set(soon(1000 + i), MODE_R)
    assert proc.getp().timers.armed() == 2
