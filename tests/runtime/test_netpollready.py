"""From an edge to a run queue: netpollready, netpollgoready, and when a waiter stops being one."""

import socket

import gopark
from gopark.runtime import netpoll, polldesc, proc
from gopark.runtime.g import GList
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.pollstate import (
    MODE_R,
    MODE_W,
    POLL_ERR_CLOSING,
    POLL_ERR_TIMEOUT,
    POLL_NO_ERROR,
)
from support import goroutines, parked


class Open:
    """A PollDesc of a socket whose first edge (it is writable) has been taken."""

    def __init__(self) -> None:
        self.sockets = socket.socketpair()
        self.pd: PollDesc = netpoll.poll_open(self.sockets[0].fileno())
        proc.getp().poller.netpoll(0)
        netpoll.poll_reset(self.pd, MODE_W)
        assert self.pd.state() == ("nil", "nil")

    def block(self, mode: int) -> gopark.Goroutine:
        return parked(gopark.go(netpoll.netpollblock, self.pd, mode), "IO wait")

    def close(self) -> None:
        netpoll.poll_unblock(self.pd)
        netpoll.poll_close(self.pd)
        for s in self.sockets:
            s.close()


@goroutines
def test_netpollready_lists_who_waits_for_what_is_ready_and_nobody_else() -> None:
    """G12: r and w each unblocked with I/O ready; what was parked goes on the list."""
    o = Open()
    reader, writer = o.block(MODE_R), o.block(MODE_W)
    torun = GList()
    netpoll.netpollready(torun, o.pd, MODE_R)
    assert torun.ids() == [reader.id]
    assert o.pd.state() == ("PD_READY", "G")
    netpoll.netpollready(torun, o.pd, MODE_R | MODE_W)
    assert torun.ids() == [reader.id, writer.id]
    proc.getp().injectglist(torun)
    assert reader.result(10) is True
    assert writer.result(10) is True
    o.close()


@goroutines
def test_a_goroutine_is_a_waiter_until_it_is_on_a_run_queue() -> None:
    """K3: counted when its park commits, and no longer once it is runnable: never neither."""
    o = Open()
    assert polldesc.waiters() == 0
    reader = o.block(MODE_R)
    assert polldesc.waiters() == 1
    torun = GList()
    netpoll.netpollready(torun, o.pd, MODE_R)
    assert polldesc.waiters() == 1  # on no run queue yet
    proc.getp().injectglist(torun)
    assert polldesc.waiters() == 0
    assert reader.result(10) is True
    o.close()


@goroutines
def test_netpollgoready_makes_runnable_and_counts_out() -> None:
    """G11: for the goroutine that netpollunblock returned; for nobody it does nothing."""
    o = Open()
    reader = o.block(MODE_R)
    netpoll.netpollgoready(None)
    assert polldesc.waiters() == 1
    netpoll.netpollgoready(netpoll.netpollunblock(o.pd, MODE_R, False))
    assert polldesc.waiters() == 0
    assert reader.result(10) is False  # no I/O: a deadline or a close
    o.close()


@goroutines
def test_poll_reset_drops_a_stale_edge() -> None:
    """G5: rg or wg back to nil, and only the one that is asked for."""
    o = Open()
    netpoll.netpollready(GList(), o.pd, MODE_R | MODE_W)
    assert o.pd.state() == ("PD_READY", "PD_READY")
    assert netpoll.poll_reset(o.pd, MODE_R) == POLL_NO_ERROR
    assert o.pd.state() == ("nil", "PD_READY")
    assert netpoll.poll_reset(o.pd, MODE_W) == POLL_NO_ERROR
    assert o.pd.state() == ("nil", "nil")
    o.close()


@goroutines
def test_poll_reset_says_the_error_first_and_closing_before_timeout() -> None:
    """G5: closing or expired: the code, and the semaphore is left alone."""
    o = Open()
    netpoll.netpollready(GList(), o.pd, MODE_R)
    netpoll.poll_set_deadline(o.pd, -1, MODE_R)
    assert netpoll.poll_reset(o.pd, MODE_R) == POLL_ERR_TIMEOUT
    assert o.pd.state()[0] == "PD_READY"
    netpoll.poll_unblock(o.pd)
    assert netpoll.poll_reset(o.pd, MODE_R) == POLL_ERR_CLOSING
    netpoll.poll_close(o.pd)
    for s in o.sockets:
        s.close()


@goroutines
def test_pollwork_sees_the_queues_and_the_network() -> None:
    """G15: and puts what the network has on the run queue."""
    o = Open()
    assert not proc.pollwork()
    g = gopark.go(int)
    assert proc.pollwork()
    g.join()
    reader = o.block(MODE_R)
    assert not proc.pollwork()
    o.sockets[1].send(b"x")
    assert proc.pollwork()
    assert reader.result(10) is True
    assert not proc.pollwork()
    o.close()
