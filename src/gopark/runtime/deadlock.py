"""Is everybody asleep for good?  Who could still wake somebody, and the report when nobody can.

When the question is asked is P.block's business.
"""

import _signal  # type: ignore[import-not-found]  # what signal wraps in Python
import gc
import os
import signal
import sys

from gopark.runtime import _sys, blocking, debug, debug_server, proc
from gopark.runtime.g import Deadlock

_p = proc.getp()
own_threads: set[int] = set()  # idents of the runtime's threads that run Python code


def checkdead() -> bool:
    """Nothing is runnable, no timer is armed, nobody is parked in the poller, no blocking call is in flight.

    If nothing else can wake anyone either, reports it and raises Deadlock in the main goroutine.  What else could: any
    other thread (except the runtime's own), and a Python signal handler (except the runtime's)."""
    if _other_threads() or _signal_handlers() or _p.maing is None:
        return False
    report = "fatal error: all goroutines are asleep - deadlock!\n\n" + debug.report()
    # A thread may have woken somebody before it ended; and all of the above may have run a finalizer that did.  From this
    # look on there is no collection.
    collecting = gc.isenabled()
    gc.disable()
    try:
        if not _p.asleep():
            return False
        debug.write(2, report)
        proc.interrupt(_p.maing, Deadlock("all goroutines are asleep - deadlock!"))
    finally:
        if collecting:
            gc.enable()
    if _p.runqsize() == 0:
        debug_server.remove()
        os._exit(2)  # the main goroutine is shielded from everything: there is nobody left to tell
    return True


def _other_threads() -> bool:
    mine = {_sys.thread_ident(), _sys.sysmon_ident(), *own_threads, *blocking.idents}
    frames = sys._current_frames()
    if _sys.thread_states() > len(frames):
        return True  # one that has only just been started, or that runs C code and may call Python's
    return any(ident not in mine and not debug_server.serves(frame) for ident, frame in frames.items())


def _signal_handlers() -> bool:
    for signum in signal.valid_signals():
        handler = _signal.getsignal(signum)
        if callable(handler) and handler is not signal.default_int_handler:
            module = getattr(handler, "__module__", None) or type(handler).__module__
            if not str(module).startswith("gopark.runtime"):
                return True
    return False
