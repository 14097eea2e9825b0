"""Where the running goroutine may be preempted: the rules, read from its Python frames.

What must not live here: when (sysmon.py), and how (P.preempt).

Between two bytecodes, where any thread could be interrupted, is not always good enough.  A thread that is interrupted keeps
its locks, and others wait for them.  Goroutines share their thread, so a lock that belongs to the thread keeps no other
goroutine out, and one that does not blocks them all; and what Python remembers "for the thread" (a trace function runs, this
object is being shown) it takes for true of all of them.  So a goroutine is left alone where it holds such a lock, or is in
the middle of such a thing.

Only the goroutine's own frames count: what called gopark.run is the same for as long as it runs.
"""

import _io
import dis
import os
import signal
import sys
import threading
from types import CodeType, FrameType

import greenlet

from gopark.runtime import _sys, g, held, interrupts, proc

_p = proc.getp()
_package = os.path.dirname(os.path.dirname(__file__)) + os.sep

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
BETWEEN = frozenset(op for name, op in dis.opmap.items() if name == "RESUME" or "JUMP_BACKWARD" in name)
# CPython 3.11 makes one instruction of a comparison of two numbers, or texts, and the jump that follows it.
FUSED = frozenset(
    op
    for name, op in getattr(dis, "_all_opmap", {}).items()
    if name.startswith("COMPARE_OP_") and name.endswith("_JUMP")
)


def _stdlib(*names: str) -> frozenset[str]:
    folder = os.path.dirname(threading.__file__)
    return frozenset(os.path.join(folder, name) for name in names)


# Weak containers' callbacks run at any deallocation; what is being shown, or traced, is remembered for the whole thread.
_CALLBACKS = _stdlib("weakref.py", "_weakrefset.py", "bdb.py", "pdb.py")
# What of these is remembered for the thread is remembered for each goroutine where the process is patched.
_REMEMBERED = _stdlib("reprlib.py", "dataclasses.py")
# These hold locks of the whole OS thread while they run Python code: until this goroutine has its next turn, all that want
# the same lock would have to be interrupted in their wait.  One that waits itself is let go, or nobody could end its wait.
# (Where the process is patched, locks keep goroutines apart, and who wants one parks.)
_LOCKING = _stdlib(
    "threading.py", "queue.py", "subprocess.py", "tempfile.py", "_strptime.py", "logging/__init__.py"
)
_IMPORTING = "<frozen importlib"
# What a program is started by: neither good nor bad.
_LAUNCHERS = _stdlib("runpy.py") | {"<frozen runpy>", "<string>"}
# What a raw stream is asked for by the buffer above it, which holds its lock meanwhile.
_STREAM = frozenset(
    "read read1 readinto readinto1 readall readline write seek tell truncate flush close detach "
    "readable writable seekable isatty fileno closed".split()
)


def preemptible(frame: FrameType | None, blocked: bool) -> bool:
    """May the running goroutine be switched away from, here?  *blocked*: it waits for a lock."""
    gp = _p.curg
    if gp is None or gp.nopreempt or _sys.collecting() or _sys.thread_ident() != _p.thread:
        return False
    if not blocked and _sys.tracing():
        return False
    if frame is None:
        return blocked  # a goroutine without Python code: go(lock.acquire)
    if frame.f_code.co_filename.startswith(_package) and not (blocked and frame.f_code in _callers()):
        return False  # the interpreted core, in the middle of something
    patched = _p.hook is not None
    codes: set[CodeType] = set()
    callee: FrameType | None = None
    run = g.rare().main_code
    bad = False  # one of the frames so far must not be interrupted, unless it is only what the program was started by
    while frame is not None:
        code = frame.f_code
        if code is run:
            break
        if code in interrupts.bottoms:
            frame = None
            break
        codes.add(code)
        name = code.co_filename
        if code.co_name == "__del__" or (code.co_name == "__repr__" and not patched):
            return False
        if name in _CALLBACKS or name.startswith(_IMPORTING):
            bad = True
        elif not patched and (name in _REMEMBERED or (name in _LOCKING and not blocked)):
            bad = True
        elif bad and name not in _LAUNCHERS:
            return False
        if code.co_name in _STREAM and not patched and _is_stream(frame):
            return False
        if code.co_exceptiontable and not blocked and not patched and held.holds(frame):
            return False
        if (
            callee is not None
            and code.co_code[frame.f_lasti] not in _may_call
            and not name.startswith(_package)
        ):
            return False
        callee = frame
        frame = frame.f_back
    if bad and (frame is not None or gp is not _p.maing):
        return False
    return codes.isdisjoint(_handler_codes())  # the dearest question last


def _is_stream(frame: FrameType) -> bool:
    """Is this a method of a stream?  (Of a subclass of io's, or called readinto: nothing else is.)"""
    code = frame.f_code
    if code.co_name == "readinto":
        return True
    # Not isinstance: it may call the program's code.
    return code.co_argcount > 0 and issubclass(
        type(_sys.frame_local(frame, code.co_varnames[0])), _io._IOBase
    )


def _callers() -> tuple[CodeType, ...]:
    """The code of ours that calls goroutines' functions, which may be C functions: run, and the interpreted core's."""
    outcome = getattr(_sys.outcome, "__code__", None)
    return (g.rare().main_code, *((outcome,) if isinstance(outcome, CodeType) else ()))


def _handler_codes() -> set[CodeType]:
    """The code of every Python signal handler that is installed, and of the trace functions."""
    codes: set[CodeType] = set()
    hooks = (sys.gettrace(), sys.getprofile(), greenlet.gettrace())
    for handler in (*map(signal.getsignal, signal.valid_signals()), *hooks):
        if callable(handler) and not isinstance(handler, signal.Handlers):
            code = getattr(g.function(handler), "__code__", None)
            if isinstance(code, CodeType):
                codes.add(code)
    return codes
