"""Another poller, another clock and other system calls can take the places of Linux's."""

import pytest

from gopark.runtime import poller
from support import python

SIMULATION = """
    import os, socket
    import gopark
    from gopark import net
    from gopark.runtime import _sys, netpoll, polldesc, poller, proc

    class Clock:
        def __init__(self):
            self.now = 1_000_000_000_000
            self.reads = 0
        def nanotime(self):
            return self.now
        coarsetime = nanotime
        def recv(self, fd, n):
            self.reads += 1
            return b"simulated" if self.reads == 2 else 11
        read = recv
        def getsockname(self, fd):
            return 9
        getpeername = getsockname
        def lingers(self, fd):
            return 0
        set_nonblock = lingers
        def close(self, fd):
            os.close(fd)
            return 0
        def __getattr__(self, name):
            def refused(*args):
                raise AssertionError(name)
            return refused

    class Simulated(poller.Poller):
        def __init__(self):
            super().__init__()
            self.open = {}
        def netpollinit(self):
            self.started = True
        def netpollopen(self, fd, pd):
            self.open[fd] = pd
            return 0
        def netpollclose(self, fd):
            del self.open[fd]
            return 0
        def netpollsignal(self):
            return os.open("/dev/null", os.O_WRONLY | os.O_NONBLOCK)
        def netpollbreak(self):
            pass
        def netpoll(self, delay):
            from gopark.runtime.g import GList
            torun = GList()
            if delay > 0:
                clock.now += delay
            for pd in self.open.values():
                polldesc.netpollready(torun, pd, 1)
            return torun

    clock = Clock()
    ours = proc.getp().poller = Simulated()
    _sys.use_kernel(clock)
"""


def test_a_run_on_a_simulated_clock_and_poller() -> None:
    """An hour passes in no time, and a read gets what the simulated kernel says, after the EAGAIN it says first."""
    done = python(
        SIMULATION
        + """
    def main():
        before = gopark.time.now()
        gopark.sleep(3600)
        print(gopark.time.now() - before)
        a, b = socket.socketpair()
        conn = net.from_socket(a)
        print(conn.read(), len(ours.open))
        conn.close()
        print(len(ours.open), proc.getp().poller is ours)

    gopark.run(main)
    """
    )
    assert done.stdout.splitlines() == ["3600.0", "b'simulated' 1", "0 True"]


def test_the_poller_before_the_start_says_that_there_is_none() -> None:
    none = poller.Poller()
    assert (none.netpoll(-1).size, none.netpoll_is_poll_descriptor(0), none.counters()) == (
        0,
        False,
        (0,) * 4,
    )
    with pytest.raises(NotImplementedError):
        none.netpollinit()
