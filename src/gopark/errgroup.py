"""Groups of goroutines that succeed or fail together (golang.org/x/sync/errgroup, made structured).

    with errgroup.Group() as g:
        g.go(fetch, "a")
        g.go(fetch, "b")

No goroutine of the group outlives the block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from gopark import context
from gopark.runtime import _sys, proc
from gopark.runtime.g import Cancelled, FatalError, Goexit, Goroutine
from gopark.sync import Semaphore, WaitGroup
from gopark.sync.onend import on_end

__all__ = ["Group", "GroupStatistics"]

# Who is inside which groups' blocks, the outermost first.
_blocks: dict[Goroutine, list["Group"]] = {}


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
    ExceptionGroup if there are several, the block's own included (one that was raised in several places counts
    once).  If the block raises, the goroutines are cancelled and waited for, too.  A goroutine that is cancelled
    on its own, or calls goexit, is no error.

    Cancelled, KeyboardInterrupt and the like come first: if the block raises one, or gets one while it waits for
    the goroutines at its end, it raises just that.  The errors of the goroutines then go to gopark.excepthook,
    as those of any goroutine do that nobody collects.

    Once the block has ended, `ctx` is another context that has ended, without the cause: that is what the block
    raised.  A context taken, or derived, from `ctx` before keeps it."""

    def __init__(self, limit: int | None = None) -> None:
        self.ctx = context.with_cancel()  # ends with the first error, and with the block
        self._left = WaitGroup()
        self._running: set[Goroutine] = set()
        self._started = 0
        self._errors: list[Goroutine] = []  # that ended with one
        self._failed = False  # cancelled: by an error, or because the block ended with an exception
        self._owner: Goroutine | None = None  # who is in the block
        self._notice: Cancelled | None = None  # what tells the owner of the first error; None: not told
        self._state = "new"
        self._slots = _limiter(limit)

    def go(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Goroutine:
        """Start fn(*args, **kwargs) as a goroutine of the group, parking first while *limit* of them run.

        The Goroutine has its result.  In a group that has failed it is cancelled before it runs.  Goroutines
        of the group may call this too, but with a limit they may wait for one another.  RuntimeError outside the
        block, also if that ends while somebody who is not of the group waits here."""
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
        _blocks.setdefault(self._owner, []).append(self)
        return self

    def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> bool:
        own = None if exc is self._notice else exc
        owner = self._leave()
        if own is not None:
            self._fail(own)
        error = self._outcome(own, self._join())
        self._tell_enclosing(owner)
        try:
            if error is None:
                return True
            if error is exc:
                return False
            # It keeps the context that it had where it was first raised.
            before = error.__context__
            try:
                raise error
            except BaseException:
                error.__context__ = before
                raise
        finally:
            # This frame is in the error's traceback, so it must not lead to it: a cycle.  Not by way of the owner
            # either, which may end with it.
            del exc, tb, own, error, owner

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Group cannot be copied or pickled: the copy would know nothing of its goroutines")

    def _check(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise TypeError(f"Group.go: fn must be callable, not {fn!r}")
        if self._state != "open":
            raise RuntimeError("Group.go: use it inside the group's `with` block")

    def _start(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Goroutine:
        self._left.add(1)
        try:
            # Looked at once more, now that the block cannot end: it may have while we waited for a slot.
            if self._state != "open":
                raise RuntimeError("Group.go: the group's `with` block has ended")
            gp = proc.newproc(fn, args, kwargs or None)
        except BaseException:
            self._left.done()
            if self._slots is not None:
                self._slots.release()
            raise
        self._started += 1
        self._running.add(gp)
        on_end(gp, lambda: self._ended(gp))
        if self._failed:
            gp.cancel()
        return gp

    def _ended(self, gp: Goroutine) -> None:
        p = proc.getp()
        if p.thread != _sys.thread_ident():
            # The thread that started it came too late for the scheduler's call; the owner is not its to interrupt.
            p.inject(lambda: self._ended(gp))
            return
        self._running.discard(gp)
        exc = gp.exc
        if exc is not None and not isinstance(exc, (Cancelled, Goexit)):
            if self._failed and isinstance(exc, context.Canceled):
                # It noticed the group's end by ctx, and raised that: nothing new.
                gp.collected = True
            else:
                self._errors.append(gp)
                self._fail(exc)
                self._tell_owner()
        # In this order: if this was the last one, the block ends before anybody gets the slot.
        self._left.done()
        if self._slots is not None:
            self._slots.release()

    def _fail(self, why: BaseException | None) -> None:
        if not self._failed:
            self._failed = True
            self.ctx.cancel(why)
        for gp in list(self._running):
            gp.cancel()

    def _tell_owner(self) -> None:
        # Once, if there is an error, and the owner has not been given something else to raise.
        owner = self._owner
        if owner is not None and self._errors and self._notice is None and owner.pending is None:
            self._notice = Cancelled()
            proc.interrupt(owner, self._notice)

    def _tell_enclosing(self, owner: Goroutine | None) -> None:
        # The inner group's notice was in the way of that of a group around it which has failed, too.
        if owner is not None:
            for group in reversed(_blocks.get(owner, ())):
                group._tell_owner()

    def _leave(self) -> Goroutine | None:
        # The block has ended: if its owner was told, but did not park since, it must not hear of it later.
        owner = self._owner
        notice = self._notice
        self._owner = self._notice = None
        if owner is not None:
            blocks = _blocks[owner]
            blocks.remove(self)
            if not blocks:
                del _blocks[owner]
            if notice is not None and owner.pending is notice:
                owner.pending = None
        return owner

    def _join(self) -> BaseException | None:
        # Wait for all, whatever happens; what happened.
        late: BaseException | None = None
        try:
            while True:
                try:
                    self._left.wait()
                except FatalError:
                    raise
                except BaseException as e:
                    if late is None or isinstance(late, Cancelled):
                        late = e
                    self._fail(e)
                    continue
                # Since the last one's end somebody else may have come, even (another thread) just now.  Who comes
                # counts first and then looks at the state, so one of the two sees the other.
                self._state = "over"
                if self._left.count == 0:
                    return late
                self._state = "open"
        finally:
            del late  # it has this frame in its traceback

    def _outcome(self, own: BaseException | None, late: BaseException | None) -> BaseException | None:
        # All have ended: what the block raises.
        self.ctx.cancel()
        if self._failed:
            # The cause has the block's frame in its traceback, and that has the group.
            self.ctx = context.with_cancel()
            self.ctx.cancel()
        failed = self._errors
        self._errors = []
        if failed and isinstance(own, context.Canceled):
            own = None  # it noticed the group's end by ctx, and raised that: nothing new
        # By where it was raised first: the same exception may have been raised by several, by result() for one, which has
        # given others than the first who asked one of their own.
        errors: dict[int, BaseException] = {}
        if late is not None:
            errors[_origin(late)] = late
        elif own is not None:
            errors[_origin(own)] = own
        if late is None and (own is None or isinstance(own, Exception)):
            for gp in failed:
                if gp.exc is not None:
                    errors.setdefault(_origin(gp.exc), gp.exc)
        for gp in failed:
            if gp.exc is not None and _origin(gp.exc) in errors:
                gp.collected = True
        if len(errors) > 1:
            where = "an errgroup" if own is None else "an errgroup and in its block"
            return BaseExceptionGroup(f"errors in {where}", list(errors.values()))
        return next(iter(errors.values()), None)


def _limiter(limit: Any) -> Semaphore | None:
    if limit is None:
        return None
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"Group: limit must be an int, or None for no limit, not {limit!r}")
    if not 1 <= limit < 1 << 62:
        raise ValueError(f"Group: limit must be from 1 to 2**62 - 1, or None for no limit, not {limit}")
    return Semaphore(limit)


def _origin(exc: BaseException) -> int:
    """Equal for the exceptions that come from one raise."""
    tb = exc.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return id(exc if tb is None else tb)
