"""Is everybody asleep for good?  Who could still wake somebody, and the report when nobody can.

When the question is asked is P.block's business.
"""

import gc
import os
import re
import signal
import sys
import time

from gopark.runtime import _sys, blocking, debug, debug_server, handlers, proc
from gopark.runtime.g import Deadlock

_p = proc.getp()
_FUTEX = 98 if os.uname().machine in ("aarch64", "riscv64") else 202  # the system call's number
_NEVER_BLOCKED = sum(1 << (n - 1) for n in (signal.SIGKILL, signal.SIGSTOP, 32, 33))
own_threads: set[int] = set()  # idents of the runtime's threads that run Python code


def checkdead() -> bool:
    """Nothing is runnable, no timer is armed, nobody is parked in the poller, no blocking call is in flight.

    If nothing else can wake anyone either, reports it and raises Deadlock in the main goroutine.  What else could: any
    other thread (except the runtime's own), Python's or a C library's, and a Python signal handler (except the runtime's)."""
    if _p.hook is not None:
        return False  # threads that are goroutines wait as threads do, for ever if need be: a main thread for Ctrl-C, say
    if _other_threads() or _signal_handlers() or _native_threads() or _p.maing is None:
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
    try:
        if _sys.thread_states() > len(frames):
            return True  # one that has only just been started, or that runs C code and may call Python's
        return any(ident not in mine and not debug_server.serves(frame) for ident, frame in frames.items())
    finally:
        frames.clear()  # this function's own is among them: a cycle, which would keep alive all that its callers refer to


def _native_threads() -> bool:
    """Is there a thread that Python does not know?  A C library's, which may call Python back."""
    for pause in (0.001, 0.005, 0.0):  # one that ends is forgotten by Python somewhat before it is gone
        states = _sys.thread_states()
        if states == 0:
            return False
        try:
            # The number of links to a folder is that of the folders in it, and of two names for itself.
            tasks = os.stat("/proc/self/task").st_nlink - 2
        except OSError:
            return False
        unknown = tasks - states - _sys.native_threads()
        if unknown <= 0 or (unknown == 1 and _watchdog()):
            return False
        time.sleep(pause)
    return True


def _watchdog() -> bool:
    """Is there a thread like that of faulthandler.dump_traceback_later?  It has the process's name, takes no signal, and
    waits for its time; and it wakes nobody."""
    try:
        mine = _read(f"{os.getpid()}/comm")
        for tid in os.listdir("/proc/self/task"):
            if _read(f"{tid}/comm") == mine and _read(f"{tid}/syscall").startswith(f"{_FUTEX} "):
                blocked = re.search(r"SigBlk:\s*([0-9a-f]+)", _read(f"{tid}/status"))
                # (The C library keeps two for itself, which nobody can block.)
                if blocked and int(blocked[1], 16) | _NEVER_BLOCKED == (1 << 64) - 1:
                    return True
    except OSError:  # a thread that has ended
        pass
    return False


def _read(name: str) -> str:
    with open(f"/proc/self/task/{name}", encoding="ascii", errors="replace") as f:
        return f.read()


def _signal_handlers() -> bool:
    for signum in signal.valid_signals():
        handler = handlers.installed(signum)
        if callable(handler) and handler is not signal.default_int_handler:
            module = getattr(handler, "__module__", None) or type(handler).__module__
            if not str(module).startswith("gopark.runtime"):
                return True
    return False
