"""Signals as values on channels (Go's os/signal).

    interrupts = gopark.Chan(1)
    gopark.signal.notify(interrupts, signal.SIGINT, signal.SIGTERM)
    interrupts.recv()       # parks until one arrives

Python runs signal handlers on the main thread only, so notify, stop and the others must be called there.
"""

import signal as _signal
import threading
from typing import Any

from gopark.runtime import _sys, interrupts, proc, sysmon
from gopark.runtime.chan import Chan

_channels: dict[int, list[Chan]] = {}  # by signal: who wants it
_before: dict[int, Any] = {}  # by signal: the handler that notify or ignore replaced
_NOT_CATCHABLE = (_signal.SIGKILL, _signal.SIGSTOP)


def notify(ch: Chan, *signals: int) -> None:
    """Send each of *signals* that arrives to *ch*, as a signal.Signals number.

    Never blocks: a signal for which *ch* has no room and no receiver is dropped, so give it a buffer.  While a signal has
    a channel, its default action (for SIGINT: KeyboardInterrupt) does not happen.  ValueError for a signal that cannot be
    caught, or without signals."""
    if not isinstance(ch, Chan):
        raise TypeError(f"notify: ch must be a gopark.Chan, not {ch!r}")
    if not signals:
        raise ValueError("notify: name at least one signal")
    wanted = [_number(s, "notify") for s in signals]
    for signum in wanted:
        channels = _channels.setdefault(signum, [])
        if ch not in channels:
            channels.append(ch)
        _replace(signum, _deliver)


def stop(ch: Chan) -> None:
    """Send no more signals to *ch*.  A signal that no channel wants any more gets back the handler that it had before."""
    _check_thread("stop")
    for signum, channels in list(_channels.items()):
        if ch in channels:
            channels.remove(ch)
        if not channels:
            del _channels[signum]
            _restore(signum)


def ignore(*signals: int) -> None:
    """Ignore *signals*: they do nothing, and go to no channel."""
    for s in signals:
        signum = _number(s, "ignore")
        _channels.pop(signum, None)
        _replace(signum, _signal.SIG_IGN)


def reset(*signals: int) -> None:
    """Undo notify and ignore for *signals* (none: all): their earlier handlers are back."""
    for s in signals or list(_before):
        signum = _number(s, "reset")
        _channels.pop(signum, None)
        _restore(signum)


def _number(value: int, what: str) -> int:
    if not isinstance(value, int) or value not in _signal.valid_signals():
        raise ValueError(f"{what}: {value!r} is not a signal")
    if value in _NOT_CATCHABLE:
        raise ValueError(f"{what}: {_signal.Signals(value).name} cannot be caught or ignored")
    _check_thread(what)
    return int(value)


def _check_thread(what: str) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"{what}: signals can only be handled on the main thread")


def _named(signum: int) -> int:
    try:
        return _signal.Signals(signum)
    except ValueError:
        return signum  # a real-time signal without a name of its own


def _replace(signum: int, handler: Any) -> None:
    if signum == _signal.SIGURG and sysmon.chained():
        # Preemption needs this one; it passes on to whoever else wants it.
        _before.setdefault(signum, sysmon.chain(handler))
        return
    current = _signal.getsignal(signum)
    if current is not handler:
        _before.setdefault(signum, current)
        _signal.signal(signum, handler)


def _restore(signum: int) -> None:
    if signum in _before:
        handler = _before.pop(signum)
        if signum == _signal.SIGURG and sysmon.chained():
            sysmon.chain(handler)
            return
        if handler is interrupts.on_sigint and proc.getp().thread == 0:
            handler = _signal.default_int_handler  # gopark's own, of a run that is over
        # None: it was not installed from Python, and cannot be put back from here.
        _signal.signal(signum, _signal.SIG_DFL if handler is None else handler)
        if signum == _signal.SIGINT and proc.getp().thread == _sys.thread_ident():
            interrupts.watch_sigint()  # what was there before gopark began to run


def _deliver(signum: int, frame: Any) -> None:
    value = _named(signum)
    p = proc.getp()
    for ch in list(_channels.get(signum, ())):
        # Not here: the handler may have interrupted the interpreted core.  And a waiting receiver must be made ready by
        # the scheduler.
        if p.thread == _sys.thread_ident():
            p.inject(lambda ch=ch: _send(ch, value))
        else:
            _send(ch, value)


def _send(ch: Chan, value: int) -> None:
    if not ch.closed:
        ch.try_send(value)
