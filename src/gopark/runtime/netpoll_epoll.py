"""The network poller's Linux half: epoll, edge-triggered, one epoll_ctl for each descriptor's whole life.

After Go's runtime/netpoll_epoll.go.  Only the poller that poller.py describes lives here; netpoll.py makes it.

The 64 bits that the kernel carries for each descriptor are (generation << 32 | index of the PollDesc).  An event whose
generation is not the PollDesc's any more belongs to a descriptor that was closed after the kernel reported it, and is
dropped: without this, an old descriptor's EPOLLERR could hit whoever reused its PollDesc (golang/go#59545).
"""

import os
import time

from gopark.runtime import _sys, g, polldesc
from gopark.runtime._sys import EventBuffer
from gopark.runtime.g import GList
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.poller import Poller

EPOLLIN = 0x001
EPOLLPRI = 0x002
EPOLLOUT = 0x004
EPOLLERR = 0x008
EPOLLHUP = 0x010
EPOLLRDHUP = 0x2000
EPOLLET = 1 << 31
EPOLL_CLOEXEC = 0o2000000
EPOLL_CTL_ADD = 1
EPOLL_CTL_MOD = 3
EPOLL_CTL_DEL = 2

_READ = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR  # what wakes the reader
_WRITE = EPOLLOUT | EPOLLHUP | EPOLLERR  # what wakes the writer
_GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI  # from here on a short read does not mean "empty"
# PRI wakes nobody.  It is asked for because recv(2) stops short at TCP's urgent mark, although more may follow it.
_INTEREST = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET
_INDEX = 0xFFFFFFFF  # the part of the data that is the PollDesc's index
_BREAK = 0xFFFFFFFFFFFFFFFF  # the break descriptor's data: no PollDesc can have it, generations are 31 bits
_SIGNAL = 0xFFFFFFFFFFFFFFFE  # the signal pipe's data
_EINTR = 4
_EAGAIN = 11
_NO_ROOM = (12, 28)  # ENOMEM, ENOSPC: the kernel refuses another registration

_RETRY_S = 0.01  # between two attempts of a forked child to make an epoll instance


def high(fd: int) -> int:
    """*fd*, or another one in its place: never 0, 1 or 2.

    A process that was started without its standard descriptors would have the poller there; and whoever then opens what
    is missing (a daemon does, with dup2) would close it."""
    if not 0 <= fd <= 2:
        return fd
    moved = _sys.dup(fd)
    _sys.close(fd)
    return moved


class EpollPoller(Poller):
    """An epoll instance."""

    def __cinit__(self) -> None:
        # Compiled core: without __init__ it has not been started.
        self.epfd = self.breakfd = self.sigfd = -1

    def __init__(self) -> None:
        super().__init__()
        self.epfd = -1  # the epoll instance
        self.breakfd = -1  # the eventfd that netpollbreak writes
        self.sigfd = -1  # the signal pipe's read end: Python's C-level signal handler writes the other
        # 1: a write to the break descriptor is on its way or not drained yet; netpollbreak then has nothing to do.
        self.wakesig = 0
        self.busy = False  # netpoll is using the buffer: one called in its middle finds nothing
        self.buffer = EventBuffer()
        self.lost = (
            False  # in a forked child, which could not make an epoll instance of its own: at the next wait
        )

    def netpollinit(self) -> None:
        """Create the epoll instance and the break descriptor (L1), and register what is open (in a forked child).

        OSError if the process is out of descriptors."""
        epfd = high(_sys.epoll_create1(EPOLL_CLOEXEC))
        if epfd < 0:
            raise g.os_error(-epfd, "epoll_create1: cannot start the network poller")
        breakfd = high(_sys.eventfd())
        if breakfd < 0:
            _sys.close(epfd)
            raise g.os_error(-breakfd, "eventfd: cannot start the network poller")
        # Level-triggered: it stays ready until a netpoll that may block has drained it.
        err = -_sys.epoll_ctl(epfd, EPOLL_CTL_ADD, breakfd, EPOLLIN, _BREAK)
        self.epfd = epfd
        self.breakfd = breakfd
        self.wakesig = 0
        for pd in polldesc.pollcache.table:
            if pd.fd >= 0 and err == 0:
                err = self.netpollopen(pd.fd, pd)
                if err not in _NO_ROOM:
                    err = 0  # closed behind the poller's back: nothing can become ready there
        if err != 0:
            self.shut()
            raise g.os_error(err, "epoll_ctl: cannot start the network poller")
        self.lost = False
        self.inited = True

    def shut(self) -> None:
        """Close what there is."""
        for fd in (self.epfd, self.breakfd, self.sigfd):
            if fd >= 0:
                _sys.close(fd)
        self.epfd = self.breakfd = self.sigfd = -1
        self.inited = False

    def netpollforked(self) -> None:
        """In a forked child: an epoll instance of its own, with every open descriptor registered again.

        Raises nothing: Python would only print it.  If there is none to be had, the first wait says so, and each later
        one tries again."""
        if self.epfd < 0:
            return
        self.shut()  # the signal pipe is the parent's, too: whoever wants one asks again
        self.busy = self.signalled = False
        self.lost = True
        try:
            self.netpollinit()
        except OSError:
            pass

    def recover(self) -> None:
        """The next attempt.  OSError, which the goroutine that waits gets; not in a tight loop, if it does not care."""
        try:
            self.netpollinit()
        except OSError:
            time.sleep(_RETRY_S)
            raise
        try:
            g.rare().watch_signals()  # there could be no signal pipe either
        except OSError:
            pass  # P tries again each second

    def netpollsignal(self) -> int:
        """A descriptor for signal.set_wakeup_fd: a signal then ends a blocking netpoll even if it arrives just before the
        wait.

        Without it such a signal is not noticed (epoll_wait has not begun, so it says no EINTR; and no bytecode runs any more
        that would see the signal), and its handler, or Ctrl-C, waits for the next event: for ever, perhaps."""
        r, w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        r, w = high(r), high(w)
        if r < 0 or w < 0:
            for fd in (r, w):
                if fd >= 0:
                    os.close(fd)
            raise g.os_error(-min(r, w), "pipe2: cannot make the signal pipe")
        err = _sys.epoll_ctl(self.epfd, EPOLL_CTL_ADD, r, EPOLLIN, _SIGNAL)
        if err != 0:
            os.close(r)
            os.close(w)
            raise g.os_error(-err, "epoll_ctl: cannot poll the signal pipe")
        self.sigfd = r
        return w

    def netpoll_is_poll_descriptor(self, fd: int) -> bool:
        """Is *fd* the epoll instance, the break descriptor or the signal pipe? (L5)"""
        return fd >= 0 and (fd == self.epfd or fd == self.breakfd or fd == self.sigfd)

    def netpollopen(self, fd: int, pd: PollDesc) -> int:
        """Register *fd*: the one ADD of its life, edge-triggered, both directions (L2).  0, or an errno."""
        return -_sys.epoll_ctl(self.epfd, EPOLL_CTL_ADD, fd, _INTEREST, (pd.gen << 32) | pd.index)

    def netpollrearm(self, fd: int, pd: PollDesc, mode: int) -> int:
        """Have the kernel look at *fd* anew, for the hooks, which do not know when it was closed behind our back.

        Only for *mode*: of a socket that is waited for to be read it would say, each time, that it can be written."""
        mask = EPOLLET
        if mode & 1:
            mask |= EPOLLIN | EPOLLRDHUP
        if mode & 2:
            mask |= EPOLLOUT
        return -_sys.epoll_ctl(self.epfd, EPOLL_CTL_MOD, fd, mask, (pd.gen << 32) | pd.index)

    def netpollclose(self, fd: int) -> int:
        """Deregister *fd* (L3).  0, or an errno."""
        return -_sys.epoll_ctl(self.epfd, EPOLL_CTL_DEL, fd, 0, 0)

    def netpollbreak(self) -> None:
        """Wake a blocked netpoll (L4).  Any thread may call it; until it is drained, more calls cost no system call."""
        if self.wakesig or self.breakfd < 0:
            return
        self.wakesig = 1
        self.breaks += 1
        while True:
            err = _sys.eventfd_write(self.breakfd)
            if err != -_EINTR:
                break
        if err != 0 and err != -_EAGAIN:
            raise g.FatalError(f"runtime: netpollbreak: write failed with errno {-err}")

    def netpollbreaker(self) -> int:
        return self.breakfd

    def netpoll(self, delay: int) -> GList:
        """Collect what became ready (L6): the goroutines to run, in the order of their events.

        *delay* < 0 blocks, 0 polls, > 0 waits at most so many ns.  When a signal cuts a wait short the list may be empty
        early."""
        if self.epfd < 0 and self.lost and delay != 0:
            self.recover()
        if self.epfd < 0 or self.busy:
            return self.nothing
        self.busy = True
        self.polls += 1
        try:
            n = self.buffer.wait(self.epfd, delay)
        except BaseException:  # interpreted core: a Python signal handler raised
            self.busy = False
            raise
        if self.torun.size:
            self.torun = GList()  # whoever asked last did not take what there was: it stays theirs
        torun = self.torun
        if n < 0:
            self.busy = False
            if n != -_EINTR:
                raise g.FatalError(f"runtime: netpoll: epoll_wait failed with errno {-n}")
            # Go retries here when the wait was not timed.  In Python a signal may have a handler that must run first, on
            # the scheduler's own stack: the scheduler does that and comes back.
            self.signalled = True
            return torun
        for i in range(n):
            data = self.buffer.data(i)
            if data == _BREAK:
                # Only a netpoll that may block takes the wake-up: netpoll(0) must not eat one meant for a blocked poll.
                if delay != 0:
                    _sys.eventfd_drain(self.breakfd)
                    self.wakesig = 0
            elif data == _SIGNAL:
                _sys.read(self.sigfd, 4096)
                self.signalled = True
            else:
                self.deliver(torun, data, self.buffer.mask(i))
        self.busy = False
        return torun

    def deliver(self, torun: GList, data: int, mask: int) -> None:
        """One event of a descriptor, or of one that is not open any more."""
        table = polldesc.pollcache.table
        index = data & _INDEX
        if index >= len(table):
            self.stale += 1  # of a descriptor that somebody else has put into our epoll instance
            return
        pd = table[index]
        if pd.gen != data >> 32 or pd.fd < 0:
            self.stale += 1
            return
        mode = 0
        if mask & _READ:
            mode = 1
        if mask & _WRITE:
            mode |= 2
        if mask & _GONE:
            pd.rhup = True
        if mode != 0:
            pd.everr = mask == EPOLLERR
            self.events += 1
            polldesc.netpollready(torun, pd, mode)
