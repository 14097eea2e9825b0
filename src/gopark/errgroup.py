"""Groups of goroutines that succeed or fail together (golang.org/x/sync/errgroup, made structured).

    with errgroup.Group() as g:
        g.go(fetch, "a")
        g.go(fetch, "b")

No goroutine of the group outlives the block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gopark import context
from gopark.runtime import proc
from gopark.runtime.g import Cancelled, FatalError, Goexit, Goroutine
from gopark.sync import Semaphore, WaitGroup
from gopark.sync.onend import on_end

__all__ = ["Group", "GroupStatistics"]


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """A snapshot of Group.statistics()."""

    running: int  # goroutines that have not ended
    started: int  # ever
    errors: int  # of those that have ended
    waiting: int  # calls of go that wait because of the limit


class Group:
    """Starts goroutines, at most *limit* at a time, and waits for all of them at the end of its `with` block.

    The first error cancels the rest: the other goroutines, and the block itself where it is parked, get
    Cancelled, and `ctx` is cancelled with the error as its cause.  The block then raises the error; an
    ExceptionGroup if there are several, the block's own included.  If the block raises, the goroutines are
    cancelled and waited for, too.  A goroutine that is cancelled on its own, or calls goexit, is no error."""

    def __init__(self, limit: int | None = None) -> None:
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ValueError(f"Group: limit must be an int of 1 or more, or None, not {limit!r}")
        self.ctx = context.with_cancel()  # ends with the first error, and with the block
        self._slots = Semaphore(limit) if limit is not None else None
        self._left = WaitGroup()
        self._running: set[Goroutine] = set()
        self._started = 0
        self._errors: list[BaseException] = []
        self._failed = False  # cancelled: by an error, or because the block ended with an exception
        self._owner: Goroutine | None = None  # who is in the block
        self._notice: Cancelled | None = None  # what tells the owner
        self._state = "new"

    def go(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Goroutine:
        """Start fn(*args, **kwargs) as a goroutine of the group, parking first while *limit* of them run.

        The Goroutine has its result.  In a group that has failed it is cancelled before it runs.  Goroutines
        of the group may call this too, but with a limit they may wait for one another."""
        self._check(fn)
        if self._slots is not None:
            self._slots.acquire()
        return self._start(fn, args, kwargs)

    def try_go(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:
        """go, unless *limit* of them run already; whether it was started."""
        self._check(fn)
        if self._slots is not None and not self._slots.try_acquire():
            return False
        self._start(fn, args, kwargs)
        return True

    def cancel(self) -> None:
        """Cancel the goroutines that run, and `ctx`.  That is no error: the block ends normally when they
        have ended."""
        self._fail(None)

    def statistics(self) -> GroupStatistics:
        """A snapshot."""
        waiting = self._slots.statistics().waiting if self._slots is not None else 0
        return GroupStatistics(len(self._running), self._started, len(self._errors), waiting)

    def __repr__(self) -> str:
        state = f"{self._state}, cancelled" if self._failed and self._state != "over" else self._state
        return f"<gopark.errgroup.Group {state}, {len(self._running)} running, {len(self._errors)} errors>"

    def __enter__(self) -> "Group":
        if self._state != "new":
            raise RuntimeError("a Group serves for one `with` block")
        self._owner = proc.getg()
        self._state = "open"
        return self

    def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> bool:
        noticed = exc is not None and exc is self._notice
        self._withdraw_notice()
        if exc is not None and not noticed:
            self._fail(exc)
        late = self._join()
        self._state = "over"
        self.ctx.cancel()
        errors = self._errors
        self._errors = []
        if late is not None:
            raise late
        if exc is not None and not noticed:
            # The block's own: alone if it is alone, or not about an error at all.
            if not errors or not isinstance(exc, Exception):
                return False
            raise BaseExceptionGroup("errors in an errgroup and in its block", [exc, *errors]) from None
        try:
            if len(errors) == 1:
                raise errors[0] from errors[0].__cause__
            if errors:
                raise BaseExceptionGroup("errors in an errgroup", errors) from None
        finally:
            del errors, exc  # no cycle through the traceback
        return True

    def after_fork(self) -> None:
        """In a forked child: its goroutines do not exist there."""
        gone = len(self._running)
        self._running.clear()
        if gone:
            self._left.add(-gone)
            if self._slots is not None:
                self._slots.release(gone)

    def _check(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise TypeError(f"Group.go: fn must be callable, not {fn!r}")
        if self._state != "open":
            raise RuntimeError("Group.go: use it inside the group's `with` block")

    def _start(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Goroutine:
        self._left.add(1)
        gp = proc.newproc(fn, args, kwargs or None)
        self._started += 1
        self._running.add(gp)
        on_end(gp, lambda: self._ended(gp))
        if self._failed:
            gp.cancel()
        return gp

    def _ended(self, gp: Goroutine) -> None:
        # On the scheduler.
        self._running.discard(gp)
        exc = gp.exception
        if exc is not None and not isinstance(exc, (Cancelled, Goexit)):
            # A goroutine that noticed the group's end by ctx, and raised that, tells nothing new.
            if not (self._failed and isinstance(exc, context.Canceled)):
                self._errors.append(exc)
                self._fail(exc)
        if self._slots is not None:
            self._slots.release()
        self._left.done()

    def _fail(self, why: BaseException | None) -> None:
        if not self._failed:
            self._failed = True
            self.ctx.cancel(why)
            owner = self._owner
            if (
                owner is not None
                and owner is not proc.getp().curg
                and owner.pending is None
                and why is not None
            ):
                self._notice = Cancelled()
                proc.interrupt(owner, self._notice)
        for gp in list(self._running):
            gp.cancel()

    def _withdraw_notice(self) -> None:
        # The block has ended: if it was told, but did not park since, it must not hear of it later.
        owner = self._owner
        self._owner = None
        if owner is not None and self._notice is not None and owner.pending is self._notice:
            owner.pending = None

    def _join(self) -> BaseException | None:
        # Wait for all, whatever happens; what happened.
        late: BaseException | None = None
        while True:
            try:
                self._left.wait()
                return late
            except FatalError:
                raise
            except BaseException as e:
                if late is None or isinstance(late, Cancelled):
                    late = e
                self._fail(e)
