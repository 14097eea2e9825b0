"""What the network poller needs of a system: the contract of a poller, after the list at the top of Go's runtime/netpoll.go.

A poller is one file with one class: netpoll_epoll.py has Linux's, a simulation may bring another.  The P owns one
(P.poller); netpoll.poll_server_init makes it when the runtime, or the first descriptor, starts.  Whoever wants another one
assigns it to P.poller before that.  Nothing else names a backend.

A backend implements:

    netpollinit()                     Start.  Called once, and OSError means that it has not been started.
    netpollopen(fd, pd) -> errno      Watch fd, edge-triggered, in both directions, for its whole life.  Its events carry
                                      pd.index and pd.gen, so that one which comes too late is recognised.
    netpollrearm(fd, pd, mode) -> errno
                                      Look at fd anew: an event that is due comes again.  ENOENT if it is not, or no longer,
                                      the file that was opened for pd.
    netpollclose(fd) -> errno         Stop watching it.  Called before close(2).
    netpollbreak()                    End a blocking netpoll, at once or as soon as it begins.  From any thread, signal
                                      handler or finalizer; calls before the poll has returned count as one.
    netpollbreaker() -> fd            An eventfd: a count written there does what netpollbreak does, for who may call
                                      nothing of Python's.
    netpollsignal() -> fd             A descriptor for signal.set_wakeup_fd: a byte written there ends a blocking netpoll.
    netpoll_is_poll_descriptor(fd)    Is fd the poller's own?
    netpollforked()                   In a forked child: share nothing with the parent any more, watch all that is open.
    netpoll(delay) -> GList           What became ready, in the order of the events, each put there by polldesc.netpollready.
                                      delay < 0 blocks, 0 looks, > 0 waits at most so many ns.  The caller takes all of the
                                      list at once (GList.splice) and then calls netpoll_adjust_waiters(-n).  From the call
                                      until the wait nothing may be allocated and no Python code run: the P has looked whether
                                      anything is runnable, and does not look again.  Called in its own middle (from a
                                      finalizer, at the end of a collection) it finds nothing.  A wait that a signal has cut
                                      short sets `signalled`, as does a byte on netpollsignal's descriptor.

The counters are the backend's to keep.  The other seams of the kind, for the clock and the descriptors' system calls, are in
_sys (use_kernel).
"""

from gopark.runtime.g import GList
from gopark.runtime.polldesc import PollDesc


class Poller:
    """The poller while there is none: it has no descriptor, and nothing ever becomes ready."""

    def __init__(self) -> None:
        self.inited = False  # netpollinit was called, and succeeded
        self.signalled = False  # a signal has come: its Python handler must run, on g0, before the next wait
        self.polls = 0  # netpoll calls
        self.events = 0  # events delivered
        self.stale = 0  # events dropped: of a descriptor that is not open any more
        self.breaks = 0  # netpollbreak's system calls
        # What netpoll returns: made beforehand, because it must not allocate before it waits.
        self.torun = GList()
        self.nothing = GList()  # always empty

    def netpollinit(self) -> None:
        raise NotImplementedError

    def netpollopen(self, fd: int, pd: PollDesc) -> int:
        raise NotImplementedError

    def netpollrearm(self, fd: int, pd: PollDesc, mode: int) -> int:
        raise NotImplementedError

    def netpollclose(self, fd: int) -> int:
        raise NotImplementedError

    def netpollbreak(self) -> None:
        """Nobody waits in it."""

    def netpollbreaker(self) -> int:
        return -1

    def netpollsignal(self) -> int:
        raise NotImplementedError

    def netpoll_is_poll_descriptor(self, fd: int) -> bool:
        return False

    def netpollforked(self) -> None:
        """It has nothing that could be shared."""

    def netpoll(self, delay: int) -> GList:
        return self.nothing

    def counters(self) -> tuple[int, int, int, int]:
        """(netpoll calls, events delivered, stale events dropped, break writes) so far."""
        return self.polls, self.events, self.stale, self.breaks
