"""Contexts: deadlines, cancellation and request-scoped values along a tree of calls (Go's context package).

Cancelling a context cancels all that were derived from it.  A context says that nobody waits for the result
any more; it does not interrupt anybody.  Who works for it looks at err(), or has ctx.done among the cases of
a select.  For network calls: net.dial(..., ctx=ctx), and `with attach(ctx, conn):` around reads and writes.

A context is linked to its parent only once somebody can notice its end without asking: through done,
after_func, attach, or a linked child.  Until then err() asks upwards, and the clock; so one that is merely
passed on costs its parent nothing and cannot leak.

Nor can one that is linked, and then dropped: what would end it (its parent, the runtime's timer) knows it
weakly.  The channel that done returns keeps it alive, for whoever has only that.  A hook (after_func, attach)
needs nobody who waits, so it keeps its context alive as long as anything is left of the tree.

Any thread may use any of this, also in signal handlers and finalizers: there is no lock.  Whoever is to be
told is taken off a dict, in one step, by the thread that then tells it; linking may be done twice, also by two
at once.  Nothing recurses: a tree may be of any depth."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, Protocol

from gopark import time
from gopark.runtime import _sys, proc, reports
from gopark.runtime.chan import Chan, ChanClosed
from gopark.runtime.g import Goroutine
from gopark.runtime.timers import Timer

__all__ = [
    "Canceled",
    "Context",
    "DeadlineExceeded",
    "after_func",
    "attach",
    "background",
    "cause",
    "with_cancel",
    "with_cancel_cause",
    "with_deadline",
    "with_timeout",
    "with_value",
    "without_cancel",
]

_p = proc.getp()
_NEVER = proc.deadline_after(0x7FFFFFFFFFFFFFFF)  # a deadline that never comes


class Canceled(Exception):
    """The context was cancelled.  All are equal, also to the class: `ctx.err() == context.Canceled`."""

    def __init__(self, text: str = "context canceled") -> None:
        super().__init__(text)

    def __eq__(self, other: object) -> bool:
        return other is Canceled or isinstance(other, Canceled)

    def __hash__(self) -> int:
        return hash(Canceled)


class DeadlineExceeded(TimeoutError):
    """The context's deadline has passed.  All are equal, also to the class."""

    def __init__(self, text: str = "context deadline exceeded") -> None:
        super().__init__(text)

    def __eq__(self, other: object) -> bool:
        return other is DeadlineExceeded or isinstance(other, DeadlineExceeded)

    def __hash__(self) -> int:
        return hash(DeadlineExceeded)


class Context:
    """Made by background and the with_... functions.  A context manager: cancelled at its block's end."""

    def __init__(self, parent: "Context | None", until: int = 0, key: Any = None, val: Any = None) -> None:
        self._values: Context | None = parent  # where to look for values that are not ours
        self._key = key
        self._val = val
        self._parent: Context | None  # whose end is also ours; None: nobody's
        # The whole tree's hooks (their keys), with their contexts.  All members have the same dict: whoever can still end
        # one of them keeps those alive that have hooks.
        self._pins: dict[object, Context]
        if parent is None or parent is _background:
            self._parent = None
            self._pins = {}
        else:
            self._parent = parent
            self._pins = parent._pins
            if parent._until != 0 and (until == 0 or parent._until < until):
                until = parent._until
        self._until: int = until  # the deadline, ns: its own, or the earliest above; 0: none
        self._kind: type[Canceled | DeadlineExceeded] | None = None  # how it ended; set once
        self._cause: BaseException | None = None
        self._linked = False  # it will be told by its parent, that by its own, and so on; and by the timer
        # Who is to be told when it ends: hooks (a key of their own: the function) and linked children (_Ref: None).
        self._listeners: dict[Any, Callable[[], object] | None] = {}

    # -- what one asks it
    # ---------------------------------------------------------------------------------------------------

    @property
    def done(self) -> Chan:
        """A channel that is closed when the context ends: `ctx.done.recv_ok()`, or a case of a select."""
        chan: _Done | None = self.__dict__.get("_chan")
        if chan is None:
            # setdefault: two threads may come here at once, and one channel is kept.
            chan = self.__dict__.setdefault("_chan", _Done(self))
            self._link()
            if self._kind is not None:
                chan.end()
        return chan

    def err(self) -> Canceled | DeadlineExceeded | None:
        """None while it lasts; then why it ended, as an exception that can be raised."""
        if self._kind is None:
            self._look()
        return None if self._kind is None else self._kind()

    def deadline(self) -> float | None:
        """When it will end by itself, on gopark.time.now()'s clock; None: never."""
        return None if self._until == 0 else self._until / 1e9

    def value(self, key: Any) -> Any:
        """What with_value has put under *key*, in this context or the nearest above; None if nothing."""
        ctx: Context | None = self
        while ctx is not None:
            if ctx._key is not None and ctx._key == key:
                return ctx._val
            ctx = ctx._values
        return None

    def cancel(self, cause: BaseException | None = None) -> None:
        """End it, and all that were derived from it; context.cause tells *cause*.  Nothing if it has ended
        already."""
        if cause is not None and not isinstance(cause, BaseException):
            raise TypeError(f"cancel: cause must be an exception (an instance) or None, not {cause!r}")
        self._look()
        self._end(Canceled, cause)

    def __enter__(self) -> "Context":
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.cancel()

    def __repr__(self) -> str:
        err = self.err()
        parts = [str(err) if err is not None else "active"]
        if self._until != 0 and err is None:
            parts.append(f"due in {(self._until - proc.nanotime()) / 1e9:.6f} s")
        if self._key is not None:
            parts.append(f"{self._key!r}: {self._val!r}")
        return f"<gopark.context.{type(self).__name__} {', '.join(parts)}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: the copy would know nothing of the tree"
        )

    # -- the tree ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        # Has it ended without our being told?  (If linked: not told yet.)  The nearest that was told counts.
        ctx: Context | None = self
        while ctx is not None:
            if ctx._kind is not None:
                self._end(ctx._kind, ctx._cause)
                return
            ctx = ctx._parent
        if self._until != 0 and proc.nanotime() >= self._until:
            self._end(DeadlineExceeded, None)

    def _link(self) -> None:
        # From now on it is told.
        if self._until != 0 and proc.nanotime() >= self._until:
            self._look()
        path = []
        ctx: Context | None = self
        while ctx is not None and not ctx._linked and ctx._kind is None:
            path.append(ctx)
            ctx = ctx._parent
        # From the top: who is linked can rely on all above, whatever comes between two steps.
        while path:
            path.pop()._join()

    def _join(self) -> None:
        # One step of _link.  Another thread may do the same, or end us or the parent, between any two lines.
        parent = self._parent
        ref: _Ref = self.__dict__.setdefault("_ref", _Ref(self))
        if parent is not None:
            parent._listeners[ref] = None
        timer = ref.timer
        if timer is not None:
            time.on_runtime(partial(self._arm, timer))
        # Looked at after the linking: a parent that had ended did not tell us, and our own end did not undo this.
        if parent is not None and parent._kind is not None:
            self._end(parent._kind, parent._cause)
        if self._kind is not None:
            if parent is not None:
                parent._listeners.pop(ref, None)  # ref may have been unlinked before we linked it
            _disarm(ref.unlink())
        self._linked = True

    def _arm(self, timer: Timer) -> None:
        # Where timers are stopped, too (time.here): who ends us after this look, stops it after this.
        if self._kind is None:
            _p.timers.modify(timer, self._until, 0)

    def _end(self, kind: type[Canceled | DeadlineExceeded], why: BaseException | None) -> None:
        # And all below that are linked.  They are on a list of ours: their number has no bounds, that of frames has.
        todo = [self]
        failed: list[BaseException] = []
        while todo:
            ctx = todo.pop()
            # No call in these three lines, so no other thread comes between.
            if ctx._kind is not None:
                continue  # somebody else has ended it, and tells those below
            ctx._cause = why
            ctx._kind = kind  # after the cause: who sees it may ask for that
            chan: _Done | None = ctx.__dict__.get("_chan")
            if chan is not None:
                chan.end()
            ref: _Ref | None = ctx.__dict__.get("_ref")
            if ref is not None:
                _disarm(ref.unlink())
            # Each is taken off before it is told: whichever thread takes it, tells it.
            while ctx._listeners:
                try:
                    key, fn = ctx._listeners.popitem()
                except KeyError:
                    break
                if fn is not None:
                    ctx._pins.pop(key, None)
                    try:
                        fn()
                    except BaseException as e:
                        failed.append(e)  # all are told first
                else:
                    child = key()
                    if child is not None:
                        todo.append(child)
        if failed:
            _report(failed)

    def _hook(self, fn: Callable[[], object]) -> Callable[[], bool]:
        # Call fn, which must not park, when it ends: now, if it has.  Returns stop, as after_func does.
        ctx = self
        if ctx is _background:
            # It never ends, and must not remember everyone who asked: here is one that nobody else knows.
            ctx = Context(None)
        key = object()
        ctx._pins[key] = ctx  # before the listeners: whoever takes it off those takes it off here, too

        def stop() -> bool:
            ctx._pins.pop(key, None)
            return ctx._listeners.pop(key, None) is not None

        ctx._listeners[key] = fn
        ctx._link()
        if ctx._kind is not None and stop():
            fn()
        return stop


def _report(failed: list[BaseException]) -> None:
    """What hooks have raised when a context ended, which is not the fault of whoever ended it.

    A hook is ours, and raises RuntimeError because no goroutine can be started: that one has failed before it began.
    Anything else comes from a signal handler, and goes on."""
    late: BaseException | None = None
    for exc in failed:
        if isinstance(exc, RuntimeError):
            gp = Goroutine(None, (), None)
            gp.name = "context.after_func"
            gp.exc = exc
            gp.collected = True
            reports.report_uncollected(gp)
        else:
            late = late or exc
    try:
        if late is not None:
            raise late
    finally:
        failed.clear()  # no cycle through the traceback
        del late


class _Done(Chan):
    """What ctx.done returns.  Until it is closed, it keeps its context alive: nobody else may."""

    __slots__ = ("ctx",)
    ctx: Context | None

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        self.ctx = ctx

    def end(self) -> None:
        try:
            self.close()
        except ChanClosed:
            pass  # another thread did; or the user, who should not
        self.ctx = None


class _Ref(weakref.ref[Context]):
    """A linked context, as those know it who will end it: its parent, and the runtime's timer."""

    __slots__ = ("pins", "siblings", "timer")
    siblings: dict[Any, Any] | None  # where the parent has it; None: no parent
    timer: Timer | None  # None: there is no deadline, or the parent's comes first; or it has ended
    pins: dict[object, Context] | None  # while there is a timer: it keeps those with hooks, as members do

    # Each is equal to itself alone, and can be hashed also when the context is gone.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __new__(cls, ctx: Context) -> "_Ref":
        ref = super().__new__(cls, ctx, _dropped)
        parent = ctx._parent
        ref.siblings = ref.timer = ref.pins = None
        if parent is not None:
            ref.siblings = parent._listeners
        if ctx._until != 0 and (parent is None or parent._until != ctx._until):
            ref.timer = Timer(_expire, ref)
            ref.pins = ctx._pins
        return ref

    def unlink(self) -> Timer | None:
        """Nobody need tell it any more.  Returns the timer, which is to be stopped, the first time only."""
        # The timer, which may be in the heap for long, holds us: we let go of all that leads to the tree.
        siblings = self.siblings
        timer = self.timer
        self.siblings = self.timer = self.pins = None
        if siblings is not None:
            siblings.pop(self, None)
        return timer


def _dropped(ref: Any) -> None:
    timer = ref.unlink()
    if timer is not None:
        # Perhaps in a collection, in the middle of a change to the heap: at the next scheduling decision.
        _p.inject(partial(time.stop_later, timer))


def _disarm(timer: Timer | None) -> None:
    if timer is not None:
        if time.here():
            _p.timers.stop(timer)
        else:
            _p.inject(partial(time.stop_later, timer))


def _expire(ref: _Ref, seq: int) -> None:
    ctx = ref()
    if ctx is not None:
        ctx._end(DeadlineExceeded, None)


class _Background(Context):
    """Never ends."""

    def _end(self, kind: type[Canceled | DeadlineExceeded], why: BaseException | None) -> None:
        pass


_background: Context = _Background(None)


def background() -> Context:
    """The root of every tree: never ends, has no values.  Cancelling it does nothing."""
    return _background


def with_cancel(parent: Context | None = None) -> Context:
    """A context that ends when it is cancelled, or *parent* (None: background) ends."""
    return Context(checked(parent, "with_cancel"))


def with_cancel_cause(parent: Context | None = None) -> Context:
    """with_cancel: here every cancel takes a cause.  (Go has two functions.)"""
    return Context(checked(parent, "with_cancel_cause"))


def with_timeout(seconds: float, parent: Context | None = None) -> Context:
    """A context that also ends *seconds* from now, with DeadlineExceeded."""
    ns = proc.seconds_to_ns(seconds, "with_timeout: seconds")
    return Context(checked(parent, "with_timeout"), _until(proc.deadline_after(ns) if ns > 0 else 1))


def with_deadline(when: float, parent: Context | None = None) -> Context:
    """A context that also ends at *when*, on gopark.time.now()'s clock, with DeadlineExceeded."""
    ns = proc.seconds_to_ns(when, "with_deadline: when")
    return Context(checked(parent, "with_deadline"), _until(max(ns, 1)))


def _until(when: int) -> int:
    return when if when < _NEVER else 0  # no timer: a deadlock is to be noticed


def with_value(parent: Context | None, key: Any, value: Any) -> Context:
    """A context in which value(key) is *value*.  Use keys of types of your own: others may use the same
    string."""
    if key is None:
        raise TypeError("with_value: key must not be None")
    return Context(checked(parent, "with_value"), 0, key, value)


def without_cancel(parent: Context | None) -> Context:
    """A context with the values of *parent*, but not its deadline, and which does not end when it does."""
    ctx = Context(None)
    ctx._values = checked(parent, "without_cancel")
    return ctx


def cause(ctx: Context) -> BaseException | None:
    """Why *ctx* ended: what was given to cancel, its own or that of the one above which ended first; else
    its err()."""
    err = checked(ctx, "cause").err()
    return ctx._cause if err is not None and ctx._cause is not None else err


def after_func(ctx: Context, fn: Callable[[], object]) -> Callable[[], bool]:
    """Call fn() in a goroutine of its own when *ctx* ends (now, if it has).

    Returns stop: stop() calls it off, and says whether that was in time (False: fn was started, or stopped
    before)."""
    if not callable(fn):
        raise TypeError(f"after_func: fn must be callable, not {fn!r}")
    return checked(ctx, "after_func")._hook(lambda: proc.newproc(fn, (), None))


def on_end(ctx: Context, fn: Callable[[], object]) -> Callable[[], bool]:
    """after_func, but fn is called by whoever ends *ctx*, perhaps the scheduler: it must neither park nor
    raise."""
    return ctx._hook(fn)


class HasDeadline(Protocol):
    """A Conn, a Listener: what has blocking calls with a deadline."""

    def set_deadline(self, when: float | None) -> None: ...


@contextmanager
def attach(ctx: Context, *conns: HasDeadline) -> Iterator[None]:
    """`with attach(ctx, conn):` the blocking calls of *conns* (Conn, Listener) fail as soon as *ctx* ends.

    The time-out that they then report leaves the block as ctx.err().  It costs the calls nothing: what moves
    is their deadline.  It stays in the past, for there may be others who have not noticed yet;
    set_deadline(None) makes the connection usable again.  Not together with set_timeout, which moves the
    deadline at each call."""
    over = False

    def expire() -> None:
        late: Exception | None = None
        if not over:
            for conn in conns:
                try:
                    conn.set_deadline(-1.0)
                except OSError:
                    pass  # closed: nobody is blocked in it
                except Exception as e:  # a program's own object
                    late = late or e
        if late is not None:
            raise late

    stop = on_end(ctx, lambda: expire() if _p.thread in (0, _sys.thread_ident()) else _p.inject(expire))
    try:
        yield
    except TimeoutError as e:
        err = ctx.err()
        if err is None or isinstance(e, DeadlineExceeded):
            raise
        raise err from e
    finally:
        over = True
        stop()


def checked(ctx: Context | None, what: str) -> Context:
    if ctx is None:
        return _background
    if not isinstance(ctx, Context):
        raise TypeError(f"{what}: expected a gopark.context.Context, not {ctx!r}")
    return ctx
