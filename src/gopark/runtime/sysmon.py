"""Preemption: a goroutine that has run for 10 ms is made to let the others run.

sysmon (a thread without the GIL, _sysmon.h) sees that the scheduler has not decided anything for a time slice, and sends
SIGURG to the runtime's thread.  Python runs the handler between two bytecodes of whatever runs there, and the handler
yields: the goroutine is suspended inside a signal handler, like any function that called gosched, and goes on later.

Where a goroutine may be preempted is preempt.py's.

A goroutine that waits for a threading.Lock, or anything that is made of them, blocks the thread, and so whoever holds the
lock.  sysmon notices that, too, and the handler runs inside the wait: the others run, and the wait goes on
when it is the goroutine's turn again.

After Go's asynchronous preemption (runtime/preempt.go, sysmon in proc.go).
"""

import gc
import os
import signal
import threading
import warnings
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from gopark.runtime import _sys, handlers, proc, shield, tally
from gopark.runtime.g import Goroutine
from gopark.runtime.p import URGENT
from gopark.runtime.preempt import BETWEEN, FUSED, preemptible

SLICE_NS = 10_000_000

_p = proc.getp()
_installed = False
_previous: Any = None  # the program's own SIGURG handler
_said_off = False
_deciding = False  # _on_preempt is looking at the stack
# By goroutine: what to call a preemption through.  (Of those that have what Python keeps for the thread, aio.py's loop.)
around: dict[Goroutine, Callable[[Callable[[], None]], None]] = {}

# By goroutine: what interrupt wants raised in it.
_hurried: weakref.WeakKeyDictionary[Goroutine, BaseException] = weakref.WeakKeyDictionary()

_BLOCKED = 2  # what sysmon_take_request says


def enabled() -> bool:
    """Is preemption wanted? (GOPARK_ASYNCPREEMPT=0 turns it off.)"""
    return os.environ.get("GOPARK_ASYNCPREEMPT", "1") != "0"


def start() -> None:
    """Start sysmon for this thread, and install the handler."""
    global _said_off
    preempt = enabled()
    if preempt and threading.current_thread() is not threading.main_thread():
        preempt = False
        if not _said_off:
            _said_off = True
            warnings.warn(
                "gopark runs on a thread other than the main one, where Python runs signal handlers: preemption is off",
                RuntimeWarning,
                stacklevel=4,
            )
    if preempt:
        install()
    err = _sys.sysmon_start(preempt)
    if err != 0:
        stop()
        raise OSError(err, f"cannot start sysmon's thread: {os.strerror(err).lower()}")


def install() -> None:
    """Put the SIGURG handler in place, before one that the program has; main thread only."""
    global _installed, _previous
    _installed = True  # first: what is installed is undone, whatever is raised in between
    current = handlers.installed(signal.SIGURG)
    if current is not _handler:
        _previous = current if callable(current) else None
        handlers.install(signal.SIGURG, _handler)
        signal.siginterrupt(signal.SIGURG, False)  # SA_RESTART: system calls are not cut short
    if _sys.gc_begins not in gc.callbacks:
        # First at the start, last at the end: the other callbacks run in between.
        gc.callbacks.insert(0, _sys.gc_begins)
        gc.callbacks.append(_sys.gc_ended)


def stop() -> None:
    """Stop sysmon; give SIGURG back."""
    global _installed, _previous
    _sys.sysmon_stop()
    if not _installed:
        return
    if handlers.installed(signal.SIGURG) is _handler:
        handlers.install(signal.SIGURG, _previous or handlers.DEFAULT)
    _previous = None
    for callback in (_sys.gc_begins, _sys.gc_ended):
        if callback in gc.callbacks:
            gc.callbacks.remove(callback)
    _installed = False  # last: called again, because something was raised here, it goes on


def chained() -> bool:
    """Is SIGURG ours?"""
    return _installed and handlers.installed(signal.SIGURG) is _handler


def chain(handler: Any) -> Any:
    """Let *handler* have SIGURG's signals after us; who had them before."""
    global _previous
    before = _previous
    _previous = handler if callable(handler) else None
    return before


def set_slice(ns: int) -> None:
    """The time slice, in ns (for tests)."""
    _sys.sysmon_set(ns, _installed)


class no_preempt:
    """`with gopark.no_preempt():` the goroutine is not preempted in the block.  It may still park.

    It counts for the goroutine that enters the block, also if another one leaves it (a generator that somebody else
    closes).  On a thread that gopark does not run on there is nobody to preempt, and it does nothing."""

    def __init__(self) -> None:
        self._entered: list[Goroutine] = []

    def __enter__(self) -> None:
        if _p.thread in (0, _sys.thread_ident()):
            gp = proc.getg()
            gp.nopreempt += 1
            self._entered.append(gp)

    def __exit__(self, *exc: object) -> None:
        if self._entered:
            shield.who_entered(self._entered).nopreempt -= 1


# -- the handler -------------------------------------------------------------------------------------------------------


def _on_preempt(signum: int, frame: FrameType | None) -> bool:
    """Whether there was a request, and it was refused because of where the goroutine is: elsewhere it may be granted."""
    global _deciding
    if _deciding:
        # It must not decide again: with a slice shorter than that takes, the handlers would nest until the recursion limit.
        if _previous is not None:
            _previous(signum, frame)
        return False
    requested = _sys.sysmon_take_request()
    if requested == _BLOCKED:
        signal.siginterrupt(signal.SIGURG, False)
    # Two signals may have arrived as one: the program's handler gets every one, as in Go.
    if _previous is not None:
        _previous(signum, frame)
    if not requested:
        return False
    _deciding = True
    try:
        yes = preemptible(frame, requested == _BLOCKED)
    except RecursionError:
        return False  # the interrupted code is near the limit, but has not reached it: nothing of ours may raise there
    finally:
        _deciding = False
    if not yes:
        return True
    through = around.get(_p.curg) if around and _p.curg is not None else None
    if through is None:
        _p.preempt()
    else:
        through(_p.preempt)
    gp = _p.curg
    if gp is not None and gp.pending is not None and gp.shield == 0:
        # Ctrl-C while another goroutine ran: the main one need not park to notice.  And who computes on while the program
        # is to end would never notice.
        if (
            _p.state >= URGENT
            or (gp is _p.maing and isinstance(gp.pending, (KeyboardInterrupt, SystemExit)))
            or (_hurried and _hurried.get(gp) is gp.pending)
        ):
            raise gp.take_pending()
    return False


def interrupt(gp: Goroutine, exc: BaseException) -> None:
    """proc.interrupt, for one that perhaps only computes: then *exc* is raised in it where it is preempted."""
    proc.interrupt(gp, exc)
    if gp.pending is exc:
        _hurried[gp] = exc


# The hooks': told(ns, call, library, gone, frame) of C code that had the thread for that long.
told: Callable[[int, str, str, bool, FrameType], None] | None = None


def _look(frame: FrameType) -> None:
    """A preemption is requested: note where the goroutine is, if it has had the thread for long."""
    if told is not None:
        try:
            said = _sys.sysmon_blocked()
            if said is not None:
                told(*said, frame)
        except Exception:
            pass  # no memory, no room on the stack: nothing of ours may be raised here
    held = _sys.coarsetime() - _p.since
    if _p.curg is not None and held >= tally.HOLD_NS and len(_p.allgs) > 1:
        _p.tally.look(held, _p.schedtick, _p.lastid, frame)


_sys.preempt_look(_look)
_handler = _sys.preempt_handler(_on_preempt, BETWEEN, FUSED)
