"""Preemption: a goroutine that has run for 10 ms is made to let the others run.

sysmon (a thread without the GIL, _sysmon.h) sees that the scheduler has not decided anything for a time slice, and sends
SIGURG to the runtime's thread.  Python runs the handler between two bytecodes of whatever runs there, and the handler
yields: the goroutine is suspended inside a signal handler, like any function that called gosched, and goes on later.

A goroutine is not preempted where a switch could do harm:

- inside the runtime;
- in an import (its locks are held), a finalizer, a weakref or garbage collector callback, another signal handler: the
  interrupted code holds locks that it does not know of, and would hold them while others run;
- in a `with gopark.no_preempt()` block, or with GOPARK_ASYNCPREEMPT=0.

A goroutine that waits for a threading.Lock, or anything that is made of them, blocks the thread, and so whoever holds the
lock.  sysmon notices that, too, and the handler runs inside the wait: the others run, and the wait goes on
when it is the goroutine's turn again.

After Go's asynchronous preemption (runtime/preempt.go, sysmon in proc.go).
"""

import dis
import gc
import os
import signal
import threading
import types
import warnings
from types import CodeType, FrameType
from typing import Any

from gopark.runtime import _sys, proc

SLICE_NS = 10_000_000

_p = proc.getp()
_package = os.path.dirname(os.path.dirname(__file__)) + os.sep
_installed = False
_previous: Any = None  # the program's own SIGURG handler
_in_gc = 0  # a collection runs: finalizers and callbacks
_said_off = False
_deciding = False  # _on_preempt is looking at the stack

# Python code is entered from these instructions because the program says so (a call, an operator, an attribute, an
# iteration).  A frame below any other instruction was entered behind its back: by a finalizer, a weakref's callback, a
# signal handler.
_CALLS = (
    "CALL", "PRECALL", "BINARY", "COMPARE", "CONTAINS", "UNARY", "LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER", "LOAD_NAME",
    "LOAD_GLOBAL", "LOAD_BUILD", "STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE", "DELETE_ATTR", "DELETE_SUBSCR", "FOR_ITER",
    "GET_ITER", "GET_YIELD", "SEND", "BEFORE_WITH", "WITH_EXCEPT", "FORMAT", "BUILD", "LIST_EXTEND", "SET_UPDATE", "SET_ADD",
    "DICT_", "MAP_ADD", "UNPACK", "POP_JUMP", "TO_BOOL", "CHECK_EXC", "CHECK_EG", "RAISE", "CONVERT", "MATCH", "YIELD",
    "INSTRUMENTED", "JUMP_IF", "EXTENDED_ARG", "KW_NAMES", "CACHE", "ASYNC", "GET_A",
)  # fmt: skip
_may_call = frozenset(op for name, op in dis.opmap.items() if name.startswith(_CALLS))


_BLOCKED = 2  # what sysmon_take_request says


def _stdlib(*names: str) -> frozenset[str]:
    folder = os.path.dirname(threading.__file__)
    return frozenset(os.path.join(folder, name) for name in names)


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
        raise OSError(err, f"cannot start sysmon's thread: {os.strerror(err).lower()}")


def install() -> None:
    """Put the SIGURG handler in place, before one that the program has; main thread only."""
    global _installed, _previous
    current = signal.getsignal(signal.SIGURG)
    if current is not _on_preempt:
        _previous = current if callable(current) else None
        signal.signal(signal.SIGURG, _on_preempt)
        signal.siginterrupt(signal.SIGURG, False)  # SA_RESTART: system calls are not cut short
    if _gc_start not in gc.callbacks:
        gc.callbacks.insert(0, _gc_start)
        gc.callbacks.append(_gc_stop)
    _installed = True


def stop() -> None:
    """Stop sysmon; give SIGURG back."""
    global _installed, _previous
    _sys.sysmon_stop()
    if not _installed:
        return
    _installed = False
    if signal.getsignal(signal.SIGURG) is _on_preempt:
        signal.signal(signal.SIGURG, _previous or signal.SIG_DFL)
    _previous = None
    for callback in (_gc_start, _gc_stop):
        if callback in gc.callbacks:
            gc.callbacks.remove(callback)


def set_slice(ns: int) -> None:
    """The time slice, in ns (for tests)."""
    _sys.sysmon_set(ns, _installed)


class no_preempt:
    """`with gopark.no_preempt():` the goroutine is not preempted in the block.  It may still park.

    On a thread that gopark does not run on there is nobody to preempt, and it does nothing."""

    def __enter__(self) -> None:
        if _p.thread in (0, _sys.thread_ident()):
            proc.getg().nopreempt += 1

    def __exit__(self, *exc: object) -> None:
        if _p.thread == _sys.thread_ident():
            proc.getg().nopreempt -= 1


# -- the handler -------------------------------------------------------------------------------------------------------


def _on_preempt(signum: int, frame: FrameType | None) -> None:
    global _deciding
    requested = _sys.sysmon_take_request()
    if requested == _BLOCKED:
        signal.siginterrupt(signal.SIGURG, False)
    # Two signals may have arrived as one: the program's handler gets every one, as in Go.
    if _previous is not None:
        _previous(signum, frame)
    if not requested or _deciding:
        return
    # One that arrives while this is being decided must not decide again: with a slice shorter than that takes, the handlers
    # would nest until the recursion limit.
    _deciding = True
    try:
        yes = preemptible(frame, requested == _BLOCKED)
    except RecursionError:
        return  # the interrupted code is near the limit, which it has not reached: nothing of ours may raise there
    finally:
        _deciding = False
    if yes:
        _p.preempt()


def preemptible(frame: FrameType | None, blocked: bool) -> bool:
    """May the running goroutine be switched away from, here?  *blocked*: it waits for a lock."""
    gp = _p.curg
    if gp is None or gp.nopreempt or _in_gc or frame is None or _sys.thread_ident() != _p.thread:
        return False
    if frame.f_code.co_filename.startswith(_package):
        return False  # the interpreted core, in the middle of something
    handlers = _handler_codes()
    callee: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code in handlers or code.co_filename in _CALLBACKS:
            return False
        if code.co_filename in _LOCKING and not blocked:
            return False
        if code.co_filename.startswith("<frozen importlib"):
            return False
        if callee is not None and code.co_code[frame.f_lasti] not in _may_call:
            if not code.co_filename.startswith(_package):
                return False
        callee = frame
        frame = frame.f_back
    return True


# Weak containers' callbacks run at any deallocation.
_CALLBACKS = _stdlib("weakref.py", "_weakrefset.py")
# These hold locks of the whole OS thread while they run Python code: until this goroutine has its next turn, all that want
# the same lock would have to be interrupted in their wait.  One that waits itself is let go, or nobody could end its wait.
_LOCKING = _stdlib(
    "threading.py", "queue.py", "subprocess.py", "tempfile.py", "_strptime.py", "logging/__init__.py"
)


def _handler_codes() -> set[CodeType]:
    """The code of every Python signal handler that is installed."""
    codes: set[CodeType] = set()
    for signum in signal.valid_signals():
        handler = signal.getsignal(signum)
        handler = getattr(handler, "__func__", handler)
        if isinstance(handler, types.FunctionType):
            codes.add(handler.__code__)
    return codes


def _gc_start(phase: str, info: dict[str, int]) -> None:
    # First of the callbacks at the start, last at the end: the others run in between.
    global _in_gc
    if phase == "start":
        _in_gc += 1


def _gc_stop(phase: str, info: dict[str, int]) -> None:
    global _in_gc
    if phase == "stop":
        _in_gc = max(0, _in_gc - 1)
