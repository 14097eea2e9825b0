"""Contexts: deadlines, cancellation and request-scoped values along a tree of calls (Go's context package).

Cancelling a context cancels all that were derived from it.  A context says that nobody waits for the result
any more; it does not interrupt anybody.  Who works for it looks at err(), or has ctx.done among the cases of
a select.  For network calls: net.dial(..., ctx=ctx), and `with attach(ctx, conn):` around reads and writes.

A context is linked to its parent only once somebody can notice its end without asking: through done,
after_func, attach, or a linked child.  Until then err() asks upwards, and the clock; so one that is merely
passed on costs its parent nothing and cannot leak.  Any thread may use any of this."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gopark import time
from gopark.runtime import proc
from gopark.runtime.chan import Chan, ChanClosed
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
        self._parent = parent  # whose end is also ours; None: nobody's
        self._values: Context | None = parent  # where to look for values that are not ours
        self._until = until  # own deadline, ns; 0: none
        self._key = key
        self._val = val
        self._kind: type[Canceled | DeadlineExceeded] | None = None  # how it ended; set once
        self._cause: BaseException | None = None
        self._linked = False  # the parent, and the timer, will tell us
        self._timer: Timer | None = None
        # Who is to be told when it ends, without parking: linked children and hooks.
        self._listeners: dict[Any, None] = {}

    # -- what one asks it
    # ---------------------------------------------------------------------------------------------------

    @property
    def done(self) -> Chan:
        """A channel that is closed when the context ends: `ctx.done.recv_ok()`, or a case of a select."""
        chan: Chan | None = self.__dict__.get("_chan")
        if chan is None:
            # setdefault: two threads may come here at once, and one channel is kept.
            chan = self.__dict__.setdefault("_chan", Chan())
            self._link()
            if self._kind is not None:
                _close(chan)
        return chan

    def err(self) -> Canceled | DeadlineExceeded | None:
        """None while it lasts; then why it ended, as an exception that can be raised."""
        if self._kind is None:
            self._look()
        return None if self._kind is None else self._kind()

    def deadline(self) -> float | None:
        """When it will end by itself, on gopark.time.now()'s clock; None: never."""
        when = 0
        ctx: Context | None = self
        while ctx is not None:
            if ctx._until != 0 and (when == 0 or ctx._until < when):
                when = ctx._until
            ctx = ctx._parent
        return None if when == 0 else when / 1e9

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

    # -- the tree ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        # Has it ended without our being told?  (If linked: not told yet.)
        parent = self._parent
        if parent is not None:
            if parent._kind is None:
                parent._look()
            if parent._kind is not None:
                self._end(parent._kind, parent._cause)
        if self._until != 0 and self._kind is None and proc.nanotime() >= self._until:
            self._end(DeadlineExceeded, None)

    def _ended(self) -> bool:
        return self._kind is not None

    def _link(self) -> None:
        # From now on it is told.
        self._look()
        if self._linked or self._kind is not None:
            return
        self._linked = True
        if self._parent is not None:
            self._parent._listen(self)
        if self._until != 0 and self._kind is None:
            self._timer = timer = Timer(_expire, self)
            time.on_runtime(lambda: _p.timers.modify(timer, self._until, 0))
            if self._ended():
                self._stop_timer()  # on another thread, meanwhile

    def _listen(self, listener: Any) -> None:
        # Call listener._told(self) when it ends: now, if it has.
        self._link()
        self._listeners[listener] = None
        if self._kind is not None and self._listeners.pop(listener, self) is None:
            listener._told(self)

    def _ignore(self, listener: Any) -> bool:
        # Whether it was still to be told.
        return self._listeners.pop(listener, self) is None

    def _told(self, parent: "Context") -> None:
        assert parent._kind is not None
        self._end(parent._kind, parent._cause)

    def _end(self, kind: type[Canceled | DeadlineExceeded], why: BaseException | None) -> None:
        if self._kind is not None:
            return
        self._cause = why
        self._kind = kind  # after the cause: who sees it may ask for that
        chan = self.__dict__.get("_chan")
        if chan is not None:
            _close(chan)
        self._stop_timer()
        if self._parent is not None:
            self._parent._ignore(self)
        # Each is taken off before it is told: whichever thread takes it, tells it.
        while self._listeners:
            try:
                listener, _ = self._listeners.popitem()
            except KeyError:
                return
            listener._told(self)

    def _stop_timer(self) -> None:
        timer = self._timer
        self._timer = None
        if timer is not None:
            if time.here():
                _p.timers.stop(timer)
            else:
                _p.inject(lambda: _p.timers.stop(timer))


class _Hook:
    """Calls a function, which must not park, when a context ends."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn = fn

    def _told(self, parent: Context) -> None:
        self.fn()


def _expire(ctx: Context, seq: int) -> None:
    ctx._end(DeadlineExceeded, None)


def _close(chan: Chan) -> None:
    try:
        chan.close()
    except ChanClosed:
        pass  # another thread did; or the user, who should not


class _Background(Context):
    """Never ends, so whoever wants to be told need not be remembered."""

    def cancel(self, cause: BaseException | None = None) -> None:
        pass

    def _listen(self, listener: Any) -> None:
        pass


_background = _Background(None)


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
    return Context(checked(parent, "with_timeout"), proc.deadline_after(ns) if ns > 0 else 1)


def with_deadline(when: float, parent: Context | None = None) -> Context:
    """A context that also ends at *when*, on gopark.time.now()'s clock, with DeadlineExceeded."""
    ns = proc.seconds_to_ns(when, "with_deadline: when")
    return Context(checked(parent, "with_deadline"), max(ns, 1))


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
    hook = _Hook(lambda: proc.newproc(fn, (), None))
    checked(ctx, "after_func")._listen(hook)
    return lambda: ctx._ignore(hook)


def on_end(ctx: Context, fn: Callable[[], object]) -> Callable[[], bool]:
    """after_func, but fn is called by whoever ends *ctx*, perhaps the scheduler: it must neither park nor
    raise."""
    hook = _Hook(fn)
    ctx._listen(hook)
    return lambda: ctx._ignore(hook)


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
        if not over:
            for conn in conns:
                try:
                    conn.set_deadline(-1.0)
                except OSError:
                    pass  # closed: nobody is blocked in it

    stop = on_end(ctx, lambda: expire() if time.here() else _p.inject(expire))
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
