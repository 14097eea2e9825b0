"""How the pieces work together: system call first, park on EAGAIN only, netpoll makes runnable."""

import socket

import gopark
from gopark import net
from gopark.runtime import netpoll, polldesc, proc
from gopark.runtime.g import GList
from gopark.runtime.pollstate import MODE_R, MODE_W
from support import goroutines, parked


@goroutines
def test_system_call_comes_first_and_only_eagain_parks() -> None:
    """S2: with data there, a read does not park; without, it parks once."""
    a, b = net.pipe()
    b.write(b"there")
    parks = proc.getp().parks
    assert a.read() == b"there"
    assert proc.getp().parks == parks
    reader = parked(gopark.go(a.read), "IO wait")
    b.write(b"later")
    assert reader.result(5) == b"later"
    a.close()
    b.close()


@goroutines
def test_blocking_read_blocks_the_goroutine_and_not_the_thread() -> None:
    """S4: plain blocking code; the others run meanwhile."""
    a, b = net.pipe()
    reader = parked(gopark.go(a.read), "IO wait")
    assert [gopark.go(lambda i=i: i * i).result(5) for i in range(10)] == [i * i for i in range(10)]
    assert not reader.done
    b.close()
    assert reader.result(5) == b""
    a.close()


@goroutines
def test_waiters_are_counted_down_only_once_they_are_on_a_run_queue() -> None:
    """K3, G11: netpollWaiters is up from the commit to the run queue, so that no deadlock is seen in between."""
    a, b = socket.socketpair()
    a.setblocking(False)
    pd = netpoll.poll_open(a.fileno())
    proc.getp().poller.netpoll(0)
    netpoll.poll_reset(pd, MODE_R)
    reader = parked(gopark.go(netpoll.poll_wait, pd, MODE_R), "IO wait")
    assert polldesc.waiters() == 1
    b.send(b"x")
    torun = proc.getp().poller.netpoll(-1)
    assert (torun.size, polldesc.waiters()) == (1, 1)
    proc.getp().injectglist(torun)
    assert (proc.getp().runqsize(), polldesc.waiters()) == (1, 0)
    assert reader.result(5) == 0
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    a.close()
    b.close()


@goroutines
def test_netpollready_adds_both_parked_sides_to_the_list() -> None:
    """G12: reader and writer of one event; a side where nobody waits is remembered."""
    pd = polldesc.PollDesc(1 << 20)
    gs = [parked(gopark.go(netpoll.netpollblock, pd, mode), "IO wait") for mode in (MODE_R, MODE_W)]
    torun = GList()
    netpoll.netpollready(torun, pd, MODE_R | MODE_W)
    assert torun.ids() == [g.id for g in gs]
    proc.getp().injectglist(torun)
    assert all(g.result(5) is True for g in gs)
    netpoll.netpollready(torun, pd, MODE_R | MODE_W)
    assert torun.size == 0 and pd.state() == ("PD_READY", "PD_READY")
