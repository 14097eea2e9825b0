"""What the scheduler schedules: goroutines (G), lists of them, and what they park on.  After Go's runtime/runtime2.go.

Structures only: every field says what it means.  How they are scheduled is proc.py.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextvars import Context
from types import CodeType
from typing import Any, NoReturn, Protocol

from gopark.runtime import _sys
from gopark.runtime.timers import Timer

# Goroutine.status
GRUNNABLE = 1  # on a run queue
GRUNNING = 2  # it is P.curg
GWAITING = 4  # parked: waitreason says on what
GDEAD = 6  # finished
STATUS_NAMES = {GRUNNABLE: "runnable", GRUNNING: "running", GWAITING: "waiting", GDEAD: "dead"}

# Goroutine.wake: how the last park ended
WAKE_READY = 0
WAKE_TIMEOUT = 1
WAKE_CANCEL = 2

# C globals in the compiled core.
_RUNNABLE = GRUNNABLE
_WAITING = GWAITING
_DEAD = GDEAD


class FatalError(RuntimeError):
    """The runtime's own rules were broken (a double wait, a corrupted poll descriptor).  Always a bug: do not catch it."""


class Cancelled(BaseException):
    """Raised in a goroutine that was cancelled, at the call where it was parked (or would park next)."""


class Deadlock(FatalError, SystemExit):
    """All goroutines are asleep and nothing can wake any of them.  Raised in the main goroutine.

    The report has been printed then.  Uncaught, it ends the program with status 2, as in Go (so it is a SystemExit)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 2

    def __str__(self) -> str:
        return str(self.args[0])


class Goexit(BaseException):
    """Ends the goroutine that raises it: what gopark.goexit() raises, so that finally and with blocks run."""


def os_error(err: int, what: str) -> OSError:
    """The OSError subclass for *err*, whose message is *what* and the system's text."""
    return OSError(err, f"{what}: {os.strerror(err).lower()}")


def function(fn: Any) -> Any:
    """What a callable comes down to: through functools.partial, bound methods, callable objects."""
    for _ in range(10):
        inner = getattr(fn, "func", None) or getattr(fn, "__func__", None)
        if inner is None and not hasattr(fn, "__code__") and not isinstance(fn, type):
            call: Any = type(fn).__call__
            inner = call if hasattr(call, "__code__") else None
        if inner is None:
            break
        fn = inner
    return fn


class Rare(Protocol):
    """What happens seldom, and needs more of Python than the core: lifecycle.py and its neighbours do it."""

    main_code: CodeType  # of the function that calls the main function

    def enter(self, what: str) -> "Goroutine":
        """A goroutine is needed, for *what*, where none runs: the main one of a runtime that is started, or RuntimeError."""
        raise NotImplementedError

    def start_for_go(self) -> None:
        """gopark.go where the runtime does not run: start it, or RuntimeError."""

    def goexit(self) -> BaseException:
        """What gopark.goexit raises."""
        raise NotImplementedError

    def exited(self, gp: "Goroutine") -> None:
        """*gp* has ended with an exception."""

    def report_uncollected(self, gp: "Goroutine") -> None:
        """*gp* is gone, and nobody has seen its exception."""

    @staticmethod
    def reap() -> None:
        """What the goroutine does that P.bury makes."""

    def exception_of(self, gp: "Goroutine") -> BaseException:
        """What *gp* has raised, to be raised in one more who asks for it."""
        raise NotImplementedError

    def refuse_async(self, what: str, fn: Any) -> TypeError:
        """What to raise for an async function, which gopark cannot run."""
        raise NotImplementedError

    def cancel(self, gp: "Goroutine") -> None:
        """Goroutine.cancel."""

    def join_wait(self, gp: "Goroutine", timeout: float | None) -> None:
        """Goroutine.join, when it is not done."""

    def checkdead(self) -> bool:
        """Is everybody asleep for good?  It has been reported then, and the main goroutine is runnable."""
        raise NotImplementedError

    def watch_signals(self) -> None:
        """Have signals end a blocking netpoll again, if somebody has taken that away."""

    def orphaned(self) -> None:
        """The thread that the runtime runs on ends."""

    def keep(self, obj: Any) -> None:
        """Never destroy *obj*."""

    def stand_in(self) -> "Goroutine":
        """For a goroutine that forked, is the child's program, and returns after it has ended the runtime."""
        raise NotImplementedError

    def stray_child(self, exc: BaseException | None) -> None:
        """Whoever forked this child did it in the scheduler (a signal handler, a finalizer), and has ended: so does it."""

    def child_ended(self, gp: "Goroutine") -> None:
        """*gp*, which is a forked child's program, has ended: so does the process."""


_is_tracked = gc.is_tracked
_bury: Any = None
_rare: Any = None


def set_rare(implementation: Rare) -> None:
    """lifecycle.py introduces itself: it imports this module, not the other way round."""
    global _rare
    _rare = implementation


def set_bury(bury: Callable[["Goroutine"], bool]) -> None:
    """P.bury, which this module cannot import."""
    global _bury
    _bury = bury


def rare() -> Rare:
    """What happens seldom."""
    found: Rare = _rare
    return found


class ParkLock:
    """What a goroutine parks on.  gopark and cancel call these; each leaves the structure sound.

    *mode* is the owner's: which of its sides, so that one object can serve several waiters."""

    def parkcommit(self, gp: "Goroutine", mode: int) -> bool:  # atomic
        """The park is about to happen: False calls it off (a wake has come meanwhile)."""
        return True

    def parkcancel(self, gp: "Goroutine", mode: int) -> bool:  # atomic
        """Unlink *gp*, which is cancelled or whose time is up.  False: it has been woken already, leave it."""
        return False

    def parkrefuse(self, mode: int) -> None:
        """gopark refused to park (there is no goroutine here): undo what was prepared."""

    def describe(self, mode: int) -> str:
        """For dumps: what the goroutine waits for."""
        return ""

    def after_fork(self) -> None:
        """In a forked child, where whoever waits here does not exist: forget them all."""


class Hook:
    """What a patched process has the scheduler call: P.hook."""

    def switched(self, gp: "Goroutine | None") -> None:
        """*gp* is about to run on this thread; None: the scheduler's own stack.  Raises nothing, runs no foreign code."""

    def begun(self, gp: "Goroutine") -> None:
        """*gp* begins to run, on its stack.  As switched."""

    def ident(self) -> int:
        """The running goroutine's number as a thread."""
        raise NotImplementedError

    def attended(self) -> None:
        """P.attention was set: other threads may have done something that concerns goroutines.  Raises nothing either."""

    def ended(self, gp: "Goroutine") -> None:
        """*gp*, which still runs, has its outcome and is about to leave.  Foreign code runs, but nothing is raised."""


waiting_threads: dict[int, ParkLock] = {}  # by ident: what threads that gopark does not run on are blocked in


class Goroutine:
    """A goroutine (G).  Made by gopark.go; not by hand."""

    def __init__(
        self, fn: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> None:
        self.id = 0  # 1 is the main goroutine
        self.status = _RUNNABLE
        # Next in the run queue, or in the WaitQ (sema.py), that it is on: it is on one of them at most.
        self.link: Goroutine | None = None
        self.waitprev: Goroutine | None = None  # before it in that WaitQ
        self.allnext: Goroutine | None = None  # neighbours in AllGs
        self.allprev: Goroutine | None = None
        self.stack: Any = None  # its greenlet; None before it first runs and after it has ended
        self.fn = fn
        self.args: tuple[Any, ...] | None = args
        self.kwargs = kwargs
        self.ctx: Context | None = None  # contextvars: a copy of the creator's
        self.waitreason = ""  # why it parked last, in Go's words
        self.waitsince = 0  # when, ns (coarse clock)
        self.parklock: ParkLock | None = None  # what it is parked on, while GWAITING
        self.parkmode = 0
        self.guest = 0  # 1: stack may be a greenlet of the program's own
        self.parkseq = 0  # counts parks: a timer armed for another park is stale
        self.wake = WAKE_READY
        self.waitval = 0  # the WaitQ owner's: how much a semaphore's waiter asks for
        self.timer: Timer | None = None  # for timed parks; made on first use
        self.pending: BaseException | None = None  # raised where it is parked, or at its next park
        self.shield = 0  # > 0: pending waits
        self.nopreempt = 0  # > 0: it may not be preempted
        self.value: Any = None  # what fn returned
        self.exc: BaseException | None = None  # what fn raised
        self.collected = False  # somebody has seen exc
        self.joinq: Any = None  # WaitQ of those who join it; made on first use
        self.watchers: list[Any] | None = None  # threading.Events of other threads that join it
        self.parent_id = 0  # who created it; 0: no goroutine
        self.creator: CodeType | None = (
            None  # the code that called go, and where in it: dumps turn it into a line
        )
        self.creator_lasti = -1
        self.forked = False  # it forked this process: the process ends with it
        self.label: str | None = None  # the name that it was given
        self.thread: Any = None  # what Python keeps for a thread, of this goroutine: hook/threads.pxi's

    def __repr__(self) -> str:
        state = STATUS_NAMES[self.status]
        if self.status == _WAITING:
            state = self.waitreason
        fn = getattr(self.fn, "__qualname__", None)
        return f"<Goroutine {self.id} {self.name!r}{' ' + fn if fn else ''} [{state}]>"

    def __del__(self) -> None:
        # Nothing that is not tracked by the collector has a finalizer of the program's.
        if self.exc is None and (self.value is None or not _is_tracked(self.value)):
            return
        if (
            not _bury(self)
            and self.exc is not None
            and not self.collected
            and type(self.exc) is not Cancelled
        ):
            rare().report_uncollected(self)

    @property
    def name(self) -> str:
        """Its name: "goroutine-ID" unless set."""
        return self.called() or f"goroutine-{self.id}"

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"Goroutine.name must be a str, not {type(value).__name__}")
        self.label = str.__str__(value)  # dumps run no code of a subclass

    def called(self) -> str:
        """The name that it was given, as a goroutine or as a thread; "" for none."""
        name: str | None = self.label
        if name is None and self.thread is not None:
            name = self.thread.name
        return name or ""

    @property
    def done(self) -> bool:
        """Has it finished (returned, raised, or been cancelled)?"""
        return self.status == _DEAD

    @property
    def exception(self) -> BaseException | None:
        """What it raised, or None (also while it runs).  Looking at it counts as collecting it."""
        if self.status == _DEAD:
            self.collected = True
        return self.exc

    def join(self, timeout: float | None = None) -> bool:
        """Park until it has finished; False if *timeout* seconds passed first.

        From another OS thread it blocks that thread alone.  Does not raise what the goroutine raised: see result."""
        if self.status != _DEAD:
            rare().join_wait(self, timeout)
        return self.status == _DEAD

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned, or raises what it raised.  TimeoutError if it takes over *timeout* seconds."""
        if self.status != _DEAD and not self.join(timeout):
            raise TimeoutError(f"result: {self!r} did not finish within {timeout} s")
        if self.exc is not None:
            raise rare().exception_of(self)
        return self.value

    def cancel(self) -> None:
        """Raise Cancelled in it: where it is parked now, or at its next park.  No effect on one that has finished.

        One that was not started yet never runs.  One that catches Cancelled and goes on gets the next one from the
        next cancel().  Safe from any thread."""
        if self.status != _DEAD:
            rare().cancel(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Goroutine cannot be copied or pickled: there would be two of it")

    def take_pending(self) -> BaseException:
        exc = self.pending
        self.pending = None
        return exc if exc is not None else Cancelled()


class Handed:
    """What another thread has handed over for an object that outlives goroutines, a close say: to be done in a forked child,
    too, which has that object."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def __call__(self) -> None:
        self.fn()


class AllGs:
    """The goroutines that have not ended, linked through themselves: no allocation, and no table that is mostly empty.

    While one is in here the garbage collector has no need to look at it, since it could not find it unreachable; so it does
    not.  Whoever makes a thousand would else have each looked at several times, with all that it refers to.

    The compiled core's: a step here is not one where threads change between any two bytecodes.  The interpreted core has a
    set, whose methods these are."""

    def __init__(self) -> None:
        self.head: Goroutine | None = None
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Goroutine]:
        return iter(self.members())

    def members(self) -> list[Goroutine]:
        """All, as they are at one moment."""
        # In two steps: the collector, and with it the program's code, may run where the list is made, not where it grows.
        out: list[Goroutine] = []
        gp = self.head
        while gp is not None:
            out.append(gp)
            gp = gp.allnext
        return out

    def copy(self) -> set[Goroutine]:
        return set(self.members())

    def add(self, gp: Goroutine) -> None:  # atomic
        if gp.allprev is not None or self.head is gp:
            return
        gp.allnext = self.head
        if self.head is not None:
            self.head.allprev = gp
        self.head = gp
        self.size += 1
        _sys.untrack(gp)

    def discard(self, gp: Goroutine) -> None:  # atomic
        before = gp.allprev
        after = gp.allnext
        if before is not None:
            before.allnext = after
        elif self.head is gp:
            self.head = after
        else:
            return
        if after is not None:
            after.allprev = before
        gp.allnext = gp.allprev = None
        self.size -= 1
        _sys.track(gp)

    def clear(self) -> None:
        """Forget all; none keeps another alive."""
        for gp in self.members():
            self.discard(gp)


class GList:
    """A first-in first-out list of runnable goroutines, linked through link: no allocation."""

    def __init__(self) -> None:
        self.head: Goroutine | None = None
        self.tail: Goroutine | None = None
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def push(self, gp: Goroutine) -> None:  # atomic
        gp.status = _RUNNABLE
        if self.tail is None:
            self.head = gp
        else:
            self.tail.link = gp
        self.tail = gp
        self.size += 1

    def pop(self) -> Goroutine | None:  # atomic
        gp = self.head
        if gp is not None:
            self.head = gp.link
            if self.head is None:
                self.tail = None
            gp.link = None
            self.size -= 1
        return gp

    def splice(self, other: "GList") -> None:  # atomic
        """Move all of *other* to this list's end."""
        if other.head is None:
            return
        if self.tail is None:
            self.head = other.head
        else:
            self.tail.link = other.head
        self.tail = other.tail
        self.size += other.size
        other.head = other.tail = None
        other.size = 0

    def clear(self) -> None:  # atomic
        """Forget all (in a forked child: they do not exist there)."""
        self.head = self.tail = None
        self.size = 0

    def ids(self) -> list[int]:
        """The goroutines' ids in order, for tests and dumps."""
        out: list[int] = []
        gp = self.head
        while gp is not None:
            out.append(gp.id)
            gp = gp.link
        return out
