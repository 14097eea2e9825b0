# cython: nonecheck=True
"""The clock of every deadline, and timers that send on a channel (Go's time package).

Timer and Ticker behave as Go's since 1.23: after stop or reset no value of before can be received, and one
that nobody can see any more (neither it nor its channel) is collected even if it was never stopped.

The scheduler's heap holds the runtime's timer, which knows the channel weakly; a timer whose channel nobody
has asked for yet has none, and needs none: what it would have sent is put there when somebody does."""

import contextvars
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from gopark.runtime import _sys, handover, proc
from gopark.runtime.chan import Chan, ChanClosed
from gopark.runtime.proc import sleep
from gopark.runtime.timers import Timer as RuntimeTimer

__all__ = ["Ticker", "Timer", "after", "after_func", "now", "sleep"]

_p = proc.getp()
_ENDLESS = proc.deadline_after(0x7FFFFFFFFFFFFFFF)  # a deadline that never comes


def now() -> float:
    """Seconds on the monotonic clock (CLOCK_MONOTONIC): what deadlines are compared with.  Not the time of
    day."""
    return proc.nanotime() / 1e9


class Timer:
    """Sends the time, as now() tells it, on its channel `c` once *seconds* have passed.  After Go's
    time.Timer."""

    def __init__(self, seconds: float) -> None:
        self.chan: Chan | None = None  # made when c is asked for
        self.calls = False  # made by after_func: there is no channel
        self.unsent = True  # armed, and what it sends was neither put into chan nor called off
        self.endless = False  # armed for a moment that never comes: the heap does not have it
        self.lease: Any = (
            None  # a subclass's: its objects may be cleared, as part of a cycle, before they are destroyed
        )
        ns = proc.seconds_to_ns(seconds, "Timer: seconds")
        self.rt = RuntimeTimer(_fire, None)
        if type(self) is not Timer:
            self.lease = _sys.Finalizer(_abandoned, self.rt)
        else:
            # Neither can be part of a cycle before there is a channel, and programs have very many of them: two thirds
            # of what a timer costs would be the collector's looks at it.
            _sys.untrack(self.rt)
            _sys.untrack(self)
        if here():
            self.arm(ns)
        else:
            on_runtime(partial(self.arm, ns))

    @property
    def c(self) -> Chan:
        """The channel, of capacity 1.  The timer goes on while somebody has the channel, even if nobody has
        the timer."""
        if self.chan is None:
            if self.calls:
                raise AttributeError("a timer made by after_func has no channel")
            on_runtime(self.open)
            assert self.chan is not None
        return self.chan

    def stop(self) -> bool:
        """Call it off; whether there was something to: False if it was stopped, or its value received,
        before.

        No value can be received afterwards.  With after_func: False also if the function was started."""
        return self.disarm() if here() else bool(on_runtime(self.disarm))

    def reset(self, seconds: float) -> bool:
        """Start again with *seconds* from now; what stop would have returned.  No value of before can be
        received."""
        ns = proc.seconds_to_ns(seconds, "Timer.reset: seconds")
        return self.rearm(ns) if here() else bool(on_runtime(partial(self.rearm, ns)))

    def __dealloc__(self) -> None:
        # In the compiled core no __del__: the collector must know whatever has one, and need not know Timers.
        if self.rt is not None and self.lease is None:
            _abandoned(self.rt)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Timer cannot be copied or pickled: only one of them would be armed")

    # -- on the runtime's thread ------------------------------------------------------------------------

    def open(self) -> None:
        if self.chan is not None:
            return
        due = self.rt.when  # AttributeError for a Timer that was not initialised
        _sys.track(self)
        _sys.track(self.rt)
        self.chan = Chan(1)
        self.rt.arg = ChanRef(self.chan)
        if due != 0:
            self.rt.arg.rt = self.rt
        elif self.unsent and not self.endless:
            self.unsent = False
            self.chan.try_send(self.rt.heapwhen / 1e9)

    def arm(self, ns: int) -> None:
        when = deadline(ns)
        self.unsent = True
        self.endless = when >= _ENDLESS
        if self.endless:
            return  # a timer in the heap would keep a deadlock from being noticed
        if self.chan is not None:
            self.rt.arg.rt = self.rt
        _p.timers.modify(self.rt, when, 0)

    def disarm(self) -> bool:
        was = _p.timers.stop(self.rt) or self.endless
        self.endless = False
        if self.calls:
            return was
        if self.chan is None:
            was = self.unsent
        else:
            self.rt.arg.rt = None
            was = drain(self.chan) or was
        self.unsent = False
        return was

    def rearm(self, ns: int) -> bool:
        was = self.disarm()
        self.arm(ns)
        return was

    def __repr__(self) -> str:
        return f"<gopark.time.Timer {state(self.rt, self.endless)}>"


def _deleted(timer: Any) -> None:
    if hasattr(timer, "rt"):
        timer.__dealloc__()


if not _sys.IS_COMPILED:
    setattr(Timer, "__del__", _deleted)  # noqa: B010  (it is not to be in the compiled core)


class Ticker:
    """Sends the time, as now() tells it, on its channel `c` every *seconds*.  After Go's time.Ticker.

    A tick that finds the last one not received yet is dropped, for slow receivers.  Ticks do not drift."""

    def __init__(self, seconds: float) -> None:
        ns = interval(seconds, "Ticker: seconds")
        self.c = Chan(1)
        self.rt = RuntimeTimer(_tick, ChanRef(self.c), ns)
        self.endless = False  # the first tick never comes
        on_runtime(partial(self.rearm, ns))

    def stop(self) -> bool:
        """No more ticks, not even one that was not received yet; whether it was ticking.  The channel is not
        closed."""
        return bool(on_runtime(self.disarm))

    def reset(self, seconds: float) -> None:
        """Tick every *seconds* from now on.  No tick of before can be received."""
        ns = interval(seconds, "Ticker.reset: seconds")
        on_runtime(partial(self.rearm, ns))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Ticker cannot be copied or pickled: only one of them would tick")

    def disarm(self) -> bool:
        was = _p.timers.stop(self.rt) or self.endless
        self.endless = False
        self.rt.arg.rt = None
        drain(self.c)
        return was

    def rearm(self, ns: int) -> None:
        when = deadline(ns)
        self.disarm()
        self.rt.period = ns
        self.endless = when >= _ENDLESS
        if not self.endless:
            self.rt.arg.rt = self.rt
            _p.timers.modify(self.rt, when, 0)

    def __repr__(self) -> str:
        if self.endless:
            return f"<gopark.time.Ticker {state(self.rt, True)}>"
        return f"<gopark.time.Ticker every {self.rt.period / 1e9:.9g} s, {state(self.rt, False)}>"


def after(seconds: float) -> Chan:
    """A channel on which the time is sent once *seconds* have passed: Timer(seconds).c."""
    return Timer(seconds).c


def after_func(seconds: float, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> Timer:
    """Call fn(*args, **kwargs) in a goroutine of its own once *seconds* have passed; the Timer can stop or
    reset it.

    It gets a copy of the contextvars that the caller has now."""
    if not callable(fn):
        raise TypeError(f"after_func: fn must be callable, not {fn!r}")
    ns = proc.seconds_to_ns(seconds, "after_func: seconds")
    timer = caller((fn, args, kwargs or None, contextvars.copy_context()))
    on_runtime(partial(timer.arm, ns))
    return timer


def caller(call: tuple[Any, ...]) -> Timer:
    timer: Timer = Timer.__new__(Timer)
    timer.chan = None
    timer.calls = True
    timer.lease = None
    timer.unsent = timer.endless = False
    timer.rt = RuntimeTimer(_call, call)
    return timer


class ChanRef(weakref.ref):  # type: ignore[type-arg]
    """The channel of a timer.  When nobody can receive from it any more, the timer is stopped."""

    __slots__ = ("rt",)
    rt: RuntimeTimer | None  # while it is armed only: they hold each other

    def __new__(cls, chan: Chan) -> "ChanRef":
        ref = super().__new__(cls, chan, _dropped)
        ref.rt = None
        return ref


def _dropped(ref: Any) -> None:
    rt = ref.rt
    ref.rt = None
    if rt is not None:
        _p.inject(partial(stop_later, rt))


def _fire(arg: Any, seq: int) -> None:
    # On the scheduler.  Without a channel there is nothing to do: see Timer.open.
    if arg is not None:
        arg.rt = None
        _tick(arg, seq)


def _tick(arg: Any, seq: int) -> None:
    chan = arg()
    if chan is not None:
        try:
            chan.try_send(proc.nanotime() / 1e9)
        except ChanClosed:
            pass  # whoever closed it wants no more


def _call(arg: Any, seq: int) -> None:
    fn, args, kwargs, ctx = arg
    gp = proc.newproc(fn, args, kwargs)
    gp.ctx = ctx.copy()  # not of whoever happened to look at the timers


def _abandoned(rt: RuntimeTimer) -> None:
    # The Timer is gone, perhaps in a collection, in the middle of a change to the heap: at the next scheduling decision.
    if rt.when == 0:
        rt.arg = None  # it may be in the heap for long, stopped
    elif rt.arg is None:
        _p.inject(partial(stop_later, rt))


def stop_later(rt: RuntimeTimer) -> None:
    _p.timers.stop(rt)


def drain(chan: Chan) -> bool:
    return chan.try_recv()[1]


def deadline(ns: int) -> int:
    return proc.deadline_after(ns) if ns > 0 else proc.nanotime()


def interval(seconds: float, what: str) -> int:
    ns = proc.seconds_to_ns(seconds, what)
    if ns <= 0:
        raise ValueError(f"{what} must be positive, not {seconds!r}")
    return ns


def state(rt: RuntimeTimer, endless: bool) -> str:
    if endless:
        return "never due"
    left = (rt.when - proc.nanotime()) / 1e9
    return f"due in {max(left, 0.0):.6f} s" if rt.when != 0 else "not armed"


_before = threading.RLock()  # while gopark does not run: one thread at a time changes its timers


def here() -> bool:
    """May this thread touch the runtime's timers, just so?

    In the compiled core every one: it holds the GIL from the look to the act.  In the interpreted core only the runtime's."""
    return _sys.IS_COMPILED or _sys.thread_ident() == _p.thread


def on_runtime(fn: Callable[[], Any]) -> Any:
    """fn(), on the runtime's thread: at its next scheduling decision if that is another one, while this one
    waits.  fn must not park."""
    if here():
        return fn()
    return before_start(fn) if _p.thread == 0 else handover.ask(partial(asked, fn))


def asked(fn: Callable[[], Any]) -> Any:
    """A thread's fn(): on the runtime's thread, or on any, if the runtime has ended meanwhile."""
    return fn() if here() else before_start(fn)


def before_start(fn: Callable[[], Any]) -> Any:
    with _before:
        return fn()
