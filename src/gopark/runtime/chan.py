# cython: nonecheck=True
"""Channels: goroutines hand values to one another.  After Go's runtime/chan.go.

What lives here: the channel, its ring buffer, and the lists of those who wait on it.  What waits on several
channels at once is select.py.

Two invariants, as in Go:

- At least one of sendq and recvq is empty.  (A single goroutine in a select that both sends and receives is
  the exception: it is on both lists, and no partner for itself.)
- In a buffered channel, buffered values mean that recvq is empty, free slots mean that sendq is empty.

Who arrives and finds a partner waiting finishes the partner's operation there and then: a value goes from
the sender's hands to the receiver's Sudog, the buffer is not involved, nobody can overtake.  Whoever wakes a
Sudog unlinks it first, with all the others of the same select: a list never holds an entry that is not
waiting.  So cancellation and time-out, which unlink too, either find the entry (the operation has not
happened and never will) or do not (it has happened, and counts).

Threads.  In the compiled core every step between two parks runs under the GIL without a Python bytecode in
between, so any thread may take it: that is why allocations, which may run finalizers, come before the look,
and never between the look and the act.  In the interpreted core another thread can come between any two
bytecodes; there _locked puts one lock around each step (one for all channels, because a select is a step on
several, and re-entrant, because steps nest).  Nobody parks with it held.
"""

import functools
import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from gopark.runtime import _sys, foreign, proc
from gopark.runtime.g import Goroutine, ParkLock, waiting_threads

# Sudog.mode, and the parkmode of a goroutine in a plain operation
SEND = 1
RECV = 2

# Sudog.woken
WOKEN_NOT = 0  # not (yet), or parkcommit called the park off
WOKEN_DONE = 1  # a partner has finished the operation: elem is the value received
WOKEN_CLOSED = 2  # the channel was closed

# C globals in the compiled core.
_SEND = SEND
_RECV = RECV
_DONE = WOKEN_DONE
_CLOSED = WOKEN_CLOSED
_NEVER = 0x7FFFFFFFFFFFFFFF
_FREE_MAX = 256  # Sudogs kept for reuse
_FIRST_SLOTS = (
    16  # the ring starts with at most so many and doubles: a large capacity that is not used costs nothing
)

_NOTHING: Any = object()  # what recvnow returns if it would have to wait
_ATEND: Any = object()  # ... and if the channel is closed and empty

_p = proc.getp()
_free: list[Any] = []


class ChanClosed(Exception):
    """The channel is closed: a send, a second close, or a receive when no value is left."""


@dataclass(frozen=True)
class ChanStatistics:
    """A snapshot of Chan.statistics()."""

    len: int  # values in the buffer
    cap: int
    senders: int  # waiting to send, those in a select included
    receivers: int  # waiting to receive, those in a select included
    closed: bool


class Sudog(ParkLock):
    """An entry in a waiting list: a goroutine, or a thread that gopark does not run on.  Go's sudog.

    The goroutine of a plain send or receive parks on it; that of a select on a Selection, of several."""

    def __init__(self) -> None:
        self.c: Chan | None = None  # set while in use
        self.mode = 0  # SEND or RECV
        self.elem: Any = None  # SEND: the value to send; RECV: the value received, written by the waker
        self.woken = 0  # WOKEN_*, written by the waker, who has unlinked it before
        self.gp: Goroutine | None = None  # who waits; None: a thread does
        self.note: Any = None  # for a thread: the lock that it blocks on, released to wake it
        self.group: list[Sudog] | None = None  # all of the same select; None: a plain send or receive
        self.index = 0  # which case of the select
        self.q: SudogQ | None = None  # the list it is on; None: on none
        self.next: Sudog | None = None  # neighbours there
        self.prev: Sudog | None = None

    def parkcommit(self, gp: Goroutine | None, mode: int) -> bool:  # atomic
        """Into the waiting list, unless the channel has become ready since the caller looked."""
        c = self.c
        assert c is not None
        if self.mode == _SEND:
            if c.sendready():
                return False
            self.gp = gp
            c.sendq.push(self)
        else:
            if c.recvready():
                return False
            self.gp = gp
            c.recvq.push(self)
        return True

    def parkcancel(self, gp: Goroutine | None, mode: int) -> bool:  # atomic
        if self.q is None:
            return False  # a partner or close was first: what it did counts
        self.q.remove(self)
        return True

    def describe(self, mode: int) -> str:
        c = self.c
        return "" if c is None else foreign.representation(c)

    def after_fork(self) -> None:
        c = self.c
        if c is not None:
            c.after_fork()

    def wake(self, how: int) -> None:  # atomic
        """Unlink it, with the others of its select, and make whoever waits runnable."""
        if self.group is None:
            if self.q is not None:
                self.q.remove(self)
        else:
            for other in self.group:
                if other.q is not None:
                    other.q.remove(other)
        self.woken = how
        if self.gp is not None:
            proc.goready(self.gp)
        else:
            self.note.release()  # safe: one of our own locks, C code


class SudogQ:
    """The waiting list of one side of a channel, first in, first out.  Go's waitq."""

    def __init__(self) -> None:
        self.head: Sudog | None = None
        self.tail: Sudog | None = None
        self.size = 0

    def push(self, sg: Sudog) -> None:  # atomic
        sg.q = self
        sg.prev = self.tail
        if self.tail is None:
            self.head = sg
        else:
            self.tail.next = sg
        self.tail = sg
        self.size += 1

    def remove(self, sg: Sudog) -> None:  # atomic
        before = sg.prev
        after = sg.next
        if before is None:
            self.head = after
        else:
            before.next = after
            sg.prev = None
        if after is None:
            self.tail = before
        else:
            after.prev = before
            sg.next = None
        sg.q = None
        self.size -= 1


class Chan:
    """A channel, as in Go: send(v) waits until somebody receives v, or until the buffer of *capacity* values
    has room.

    Goroutines park; a thread that gopark does not run on blocks, alone.  `for v in ch` receives until ch is
    closed and empty.  A channel is always true, also when it is empty."""

    def __init__(self, capacity: int = 0) -> None:
        try:
            cap = operator.index(capacity)
        except TypeError:
            raise TypeError(f"Chan: capacity must be an int, not {capacity!r}") from None
        if cap < 0:
            raise ValueError(f"Chan: capacity must not be negative, but is {cap}")
        if cap >= _NEVER // 16:
            raise OverflowError(f"Chan: capacity is too large: {cap}")
        self.cap = cap
        self.qcount = 0  # values in the buffer
        self.recvx = 0  # slot of the oldest
        self.slots = cap if cap < _FIRST_SLOTS else _FIRST_SLOTS  # len(buf)
        self.buf: list[Any] = [None] * self.slots  # the ring
        self.closed = False
        self.sendq = SudogQ()
        self.recvq = SudogQ()

    def __len__(self) -> int:
        return self.qcount

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        closed = " closed" if self.closed else ""
        return f"<Chan {id(self):#x} len={self.qcount} cap={self.cap}{closed}>"

    def statistics(self) -> ChanStatistics:
        """How full it is and how many wait."""
        return ChanStatistics(self.qcount, self.cap, self.sendq.size, self.recvq.size, self.closed)

    # -- the operations --------------------------------------------------------------------------------------

    def send(self, value: Any) -> None:
        """Send *value*; park until a receiver or the buffer takes it.  ChanClosed if it is or gets closed."""
        if not self.sendnow(value):
            self.sendwait(value)

    def recv(self) -> Any:
        """Receive a value; park until there is one.  ChanClosed if the channel is closed and empty."""
        value = self.recvnow()
        if value is _NOTHING:
            value = self.recvwait()
        if value is _ATEND:
            raise ChanClosed("receive from closed channel")
        return value

    def recv_ok(self) -> tuple[Any, bool]:
        """(value, True); or (None, False) if the channel is closed and empty.  Parks until either."""
        value = self.recvnow()
        if value is _NOTHING:
            value = self.recvwait()
        if value is _ATEND:
            return (None, False)
        return (value, True)

    def try_send(self, value: Any) -> bool:
        """Send *value* if that is possible at once; whether it was.  Never parks.  ChanClosed if closed."""
        return self.sendnow(value)

    def try_recv(self) -> tuple[Any, bool]:
        """(value, True); or at once (None, False) if there is no value, now or ever.  Never parks."""
        value = self.recvnow()
        if value is _NOTHING or value is _ATEND:
            return (None, False)
        return (value, True)

    def __iter__(self) -> "Chan":
        return self

    def __next__(self) -> Any:
        value = self.recvnow()
        if value is _NOTHING:
            value = self.recvwait()
        if value is _ATEND:
            raise StopIteration
        return value

    def close(self) -> None:  # atomic
        """No more values will be sent: receivers get what is in the buffer, then the end.

        Whoever waits to receive wakes with nothing; whoever waits to send gets ChanClosed, as does a second
        close."""
        if self.closed:
            raise ChanClosed("close of closed channel")  # safe: nothing was done yet
        self.closed = True
        sg = self.recvq.head
        while sg is not None:
            sg.wake(_CLOSED)
            sg = self.recvq.head
        sg = self.sendq.head
        while sg is not None:
            sg.wake(_CLOSED)
            sg = self.sendq.head

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Chan cannot be copied or pickled: the copy would know nothing of who waits on it")

    def after_fork(self) -> None:
        """In a forked child: nobody waits, the goroutines that did are the parent's."""
        for q in (self.sendq, self.recvq):
            q.head = q.tail = None
            q.size = 0

    def on_recv(self) -> "Case":
        """For select: receive from this channel."""
        case = Case.__new__(Case)
        case.c = self
        case.mode = _RECV
        case.elem = None
        return case

    def on_send(self, value: Any) -> "Case":
        """For select: send *value* to this channel."""
        case = Case.__new__(Case)
        case.c = self
        case.mode = _SEND
        case.elem = value
        return case

    # -- steps: each is atomic (see above) -------------------------------------------------------------------

    def sendready(self) -> bool:  # atomic
        """Would a send not have to wait?"""
        return self.qcount < self.cap or self.recvq.head is not None or self.closed

    def recvready(self) -> bool:  # atomic
        """Would a receive not have to wait?"""
        return self.qcount > 0 or self.sendq.head is not None or self.closed

    def sendnow(self, value: Any) -> bool:  # atomic
        """Send, or return False if that has to wait."""
        if self.closed:
            raise ChanClosed("send on closed channel")  # safe: nothing was done yet
        sg = self.recvq.head
        if sg is not None:
            sg.elem = value  # was None
            sg.wake(_DONE)
            return True
        if self.qcount >= self.cap:
            return False
        if self.qcount == self.slots:
            self.grow()  # safe: it allocates, so after it everything is looked at again
            return self.sendnow(value)
        i = self.recvx + self.qcount
        if i >= self.slots:
            i -= self.slots
        self.buf[i] = value  # was None
        self.qcount += 1
        return True

    def recvnow(self) -> Any:  # atomic
        """Receive a value; or _NOTHING if that has to wait, or _ATEND."""
        sg = self.sendq.head
        if self.qcount > 0:
            i = self.recvx
            value = self.buf[i]
            self.recvx = 0 if i + 1 == self.slots else i + 1
            if sg is None:
                self.buf[i] = None  # moved
                self.qcount -= 1
            else:
                # The buffer is full: the slot that got free is where the first sender's value belongs, at its
                # end.
                self.buf[i] = sg.elem  # moved
                sg.elem = None  # moved
                sg.wake(_DONE)
            return value
        if sg is not None:
            value = sg.elem
            sg.elem = None  # moved
            sg.wake(_DONE)
            return value
        return _ATEND if self.closed else _NOTHING

    def grow(self) -> None:
        """Room in the ring for twice as many values."""
        wanted = min(self.cap, 2 * self.slots)
        new: list[Any] = [None] * wanted
        if self.slots >= wanted:
            return  # somebody else grew it while memory was allocated
        # atomic: begin
        old = self.buf
        i = self.recvx
        for n in range(self.qcount):
            new[n] = old[i]  # was None
            i = 0 if i + 1 == self.slots else i + 1
        self.buf = new  # moved
        self.slots = wanted
        self.recvx = 0
        # atomic: end

    # -- waiting ---------------------------------------------------------------------------------------------

    def sendwait(self, value: Any) -> None:
        while True:
            sg = acquire_sudog(self, _SEND, value)
            if proc.foreign():
                sg.note = new_note()
                thread_park(sg, _SEND, sg.note, _NEVER)
            else:
                proc.gopark(sg, _SEND, "chan send")
            woken = sg.woken
            release_sudog(sg)
            if woken == _DONE:
                return
            if woken == _CLOSED:
                raise ChanClosed("send on closed channel")
            if self.sendnow(value):
                return

    def recvwait(self) -> Any:
        while True:
            sg = acquire_sudog(self, _RECV, None)
            if proc.foreign():
                sg.note = new_note()
                thread_park(sg, _RECV, sg.note, _NEVER)
            else:
                proc.gopark(sg, _RECV, "chan receive")
            woken = sg.woken
            value = sg.elem
            release_sudog(sg)
            if woken == _DONE:
                return value
            if woken == _CLOSED:
                return _ATEND
            value = self.recvnow()
            if value is not _NOTHING:
                return value


class Case:
    """One case of a select, from Chan.on_recv or Chan.on_send.  Good for any number of selects."""

    def __init__(self, c: Chan, mode: int, elem: Any = None) -> None:
        self.c = c
        self.mode = mode  # SEND or RECV
        self.elem = elem

    def __repr__(self) -> str:
        return f"{self.c!r}.on_send({self.elem!r})" if self.mode == _SEND else f"{self.c!r}.on_recv()"

    def describe(self) -> str:
        """For dumps: without the value, whose code must not run there, and which may be long."""
        channel = foreign.representation(self.c)
        return f"{channel}.on_send(...)" if self.mode == _SEND else f"{channel}.on_recv()"


# -- Sudogs --------------------------------------------------------------------------------------------------


def acquire_sudog(c: Chan, mode: int, elem: Any) -> Sudog:
    """A Sudog that is on no list, for one operation on *c*."""
    sg: Sudog = _free.pop() if _free else Sudog()
    sg.c = c
    sg.mode = mode
    sg.elem = elem
    sg.woken = 0
    return sg


def release_sudog(sg: Sudog) -> None:
    """Its operation is over.  (One whose goroutine was cancelled is not released but left to the garbage.)"""
    sg.c = None
    sg.gp = None
    sg.elem = None
    sg.note = None
    sg.group = None
    if len(_free) < _FREE_MAX:
        _free.append(sg)


# -- threads that gopark does not run on ---------------------------------------------------------------------


def new_note() -> Any:
    """What such a thread blocks on: a lock, taken."""
    note = threading.Lock()
    note.acquire()
    return note


def thread_park(lock: ParkLock, mode: int, note: Any, when: int) -> bool:
    """gopark_until for such a thread: block it until *note* is released.  False: the time was up."""
    if not lock.parkcommit(None, mode):  # type: ignore[arg-type]
        return True
    me = _sys.thread_ident()
    waiting_threads[me] = lock
    try:
        if when == _NEVER:
            note.acquire()
            return True
        left = max(0, when - proc.nanotime()) / 1e9
        if note.acquire(True, min(left, threading.TIMEOUT_MAX)):
            return True
    except BaseException:
        # Ctrl-C on the main thread.  A value that was handed over in this very moment is lost with the call.
        lock.parkcancel(None, mode)  # type: ignore[arg-type]
        raise
    finally:
        waiting_threads.pop(me, None)
    return not lock.parkcancel(None, mode)  # type: ignore[arg-type]


# -- the interpreted core ------------------------------------------------------------------------------------

_lock = threading.RLock()


def forked() -> None:
    """In a forked child: a thread that does not exist there may have held the lock."""
    global _lock
    _lock = threading.RLock()


def _locked(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def locked(*args: Any) -> Any:
        with _lock:
            return step(*args)

    return locked


def lock_steps(owner: Any, *names: str) -> None:
    """In the interpreted core, put the lock around functions of *owner* (a class or a namespace)."""
    if _sys.IS_COMPILED:
        return
    for name in names:
        if isinstance(owner, dict):
            owner[name] = _locked(owner[name])
        else:
            setattr(owner, name, _locked(getattr(owner, name)))


lock_steps(Sudog, "parkcommit", "parkcancel")
lock_steps(Chan, "sendnow", "recvnow", "close", "statistics")
lock_steps(globals(), "acquire_sudog", "release_sudog")
