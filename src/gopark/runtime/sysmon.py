"""Preemption: a goroutine that has run for 10 ms is made to let the others run.

sysmon (a thread without the GIL, _sysmon.h) sees that the scheduler has not decided anything for a time slice, and sends
SIGURG to the runtime's thread.  Python runs the handler between two bytecodes of whatever runs there, and the handler
yields: the goroutine is suspended inside a signal handler, like any function that called gosched, and goes on later.

A goroutine is not preempted where a switch could do harm:

- inside the runtime;
- in an import (its locks are held), a finalizer, a weakref or garbage collector callback, another signal handler, a trace
  function: the interrupted code holds locks that it does not know of, and would hold them while others run;
- in a `__repr__`: Python remembers, for the thread, what it is in the middle of showing;
- inside a call into C that looks for signals, as writing to a file does with the file's buffer locked: only where a loop
  goes round or a function begins, which is where the interpreter, not C code, calls the handler;
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
import sys
import threading
import warnings
from types import CodeType, FrameType
from typing import Any

from gopark.runtime import _sys, g, proc
from gopark.runtime.p import URGENT

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
# Where the interpreter itself looks for signals, and nothing else can.  (After a call it looks, too; but while the call lasts
# the frame is at the same instruction, and in a C function with who knows what locked.)  The compiled core's handler waits
# until the frame is at one of these; the interpreted core cannot.
_between = frozenset(op for name, op in dis.opmap.items() if name == "RESUME" or "JUMP_BACKWARD" in name)

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
    _installed = True  # first: what is installed is undone, whatever is raised in between
    current = signal.getsignal(signal.SIGURG)
    if current is not _handler:
        _previous = current if callable(current) else None
        signal.signal(signal.SIGURG, _handler)
        signal.siginterrupt(signal.SIGURG, False)  # SA_RESTART: system calls are not cut short
    if _gc_start not in gc.callbacks:
        gc.callbacks.insert(0, _gc_start)
        gc.callbacks.append(_gc_stop)


def stop() -> None:
    """Stop sysmon; give SIGURG back."""
    global _installed, _previous
    _sys.sysmon_stop()
    if not _installed:
        return
    if signal.getsignal(signal.SIGURG) is _handler:
        signal.signal(signal.SIGURG, _previous or signal.SIG_DFL)
    _previous = None
    for callback in (_gc_start, _gc_stop):
        if callback in gc.callbacks:
            gc.callbacks.remove(callback)
    _installed = False  # last: called again, because something was raised here, it goes on


def chained() -> bool:
    """Is SIGURG ours?"""
    return _installed and signal.getsignal(signal.SIGURG) is _handler


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

    On a thread that gopark does not run on there is nobody to preempt, and it does nothing."""

    def __enter__(self) -> None:
        if _p.thread in (0, _sys.thread_ident()):
            proc.getg().nopreempt += 1

    def __exit__(self, *exc: object) -> None:
        if _p.thread == _sys.thread_ident():
            proc.getg().nopreempt -= 1


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
    _p.preempt()
    gp = _p.curg
    if gp is not None and gp.pending is not None and gp.shield == 0:
        # Ctrl-C while another goroutine ran: the main one need not park to notice.  And who computes on while the program
        # is to end would never notice.
        if _p.state >= URGENT or (gp is _p.maing and isinstance(gp.pending, (KeyboardInterrupt, SystemExit))):
            raise gp.take_pending()
    return False


_handler = _sys.preempt_handler(_on_preempt, _between)


def preemptible(frame: FrameType | None, blocked: bool) -> bool:
    """May the running goroutine be switched away from, here?  *blocked*: it waits for a lock."""
    gp = _p.curg
    if gp is None or gp.nopreempt or _in_gc or _sys.thread_ident() != _p.thread:
        return False
    if frame is None:
        return blocked  # a goroutine without Python code: go(lock.acquire)
    if frame.f_code.co_filename.startswith(_package) and not (blocked and frame.f_code in _callers()):
        return False  # the interpreted core, in the middle of something
    codes: set[CodeType] = set()
    callee: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        codes.add(code)
        if code.co_name in ("__del__", "__repr__") or code.co_filename in _CALLBACKS:
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
    return codes.isdisjoint(_handler_codes())  # the dearest question last


# Weak containers' callbacks run at any deallocation; what is being shown, or traced, is remembered for the whole thread.
_CALLBACKS = _stdlib("weakref.py", "_weakrefset.py", "reprlib.py", "dataclasses.py", "bdb.py", "pdb.py")
# These hold locks of the whole OS thread while they run Python code: until this goroutine has its next turn, all that want
# the same lock would have to be interrupted in their wait.  One that waits itself is let go, or nobody could end its wait.
_LOCKING = _stdlib(
    "threading.py", "queue.py", "subprocess.py", "tempfile.py", "_strptime.py", "logging/__init__.py"
)


def _callers() -> tuple[CodeType, ...]:
    """The code of ours that calls goroutines' functions, which may be C functions: run, and the interpreted core's."""
    functions: tuple[Any, ...] = (_sys.outcome,)
    codes = (getattr(fn, "__code__", None) for fn in functions)
    return (g.rare().main_code, *(code for code in codes if isinstance(code, CodeType)))


def _handler_codes() -> set[CodeType]:
    """The code of every Python signal handler that is installed, and of the trace function."""
    codes: set[CodeType] = set()
    for handler in (*map(signal.getsignal, signal.valid_signals()), sys.gettrace(), sys.getprofile()):
        if callable(handler) and not isinstance(handler, signal.Handlers):
            code = getattr(g.function(handler), "__code__", None)
            if isinstance(code, CodeType):
                codes.add(code)
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
