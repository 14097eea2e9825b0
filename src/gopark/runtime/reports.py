"""What becomes of a goroutine's exception: whom it concerns, and what is said of one that nobody collects."""

import sys
import traceback
import weakref
from functools import partial
from types import GetSetDescriptorType, MemberDescriptorType, TracebackType
from typing import Any

from gopark.runtime import proc
from gopark.runtime.g import Cancelled, Goexit, Goroutine

_p = proc.getp()
_failed: weakref.WeakSet[Goroutine] = weakref.WeakSet()  # ended with an exception


def exited(gp: Goroutine) -> None:
    """A goroutine ended with an exception."""
    exc = gp.exc
    assert exc is not None
    # The core's own frames say nothing to the user (and in the interpreted core would keep gp alive).
    tb: TracebackType | None = exc.__traceback__
    while tb is not None and _is_core(tb):
        tb = tb.tb_next
    exc.__traceback__ = tb
    if not isinstance(exc, Cancelled):
        _failed.add(gp)
    if isinstance(exc, (SystemExit, KeyboardInterrupt)):
        # They are about the process: the main goroutine gets them.
        gp.collected = True
        if _p.maing is not None:
            proc.interrupt(_p.maing, exc)


def _is_core(tb: TracebackType) -> bool:
    module = tb.tb_frame.f_globals.get("__name__")  # any object: a program may have set it
    return isinstance(module, str) and module.startswith("gopark.runtime.")


# -- what it is for those who ask --------------------------------------------------------------------------------------


def exception_of(gp: Goroutine) -> BaseException:
    """The exception of *gp*, to be raised in one more goroutine that asks for its result.

    Each gets one of its own: where it passes it gathers traceback, context and notes, and would mix them up with the others',
    and keep alive what their frames hold.  The first has the very object that was raised."""
    gp.collected = True
    exc = gp.exc
    assert exc is not None
    if gp not in _originals:
        spare = _copy(exc)
        if spare is not None:
            gp.exc = spare
            return exc
        # Nobody knows how to make another one: all share it, as it was.
        _originals[gp] = (exc.__traceback__, exc.__context__)
    exc.__traceback__, exc.__context__ = _originals[gp]
    return exc


# By goroutine, if its exception cannot be copied: the traceback and the context that it was raised with.
_originals: weakref.WeakKeyDictionary[Goroutine, tuple[TracebackType | None, BaseException | None]] = (
    weakref.WeakKeyDictionary()
)
_APART = ("__dict__", "__weakref__", "__traceback__", "__context__", "__cause__", "args")


def _copy(exc: BaseException) -> BaseException | None:
    """Another exception that says all that *exc* does; None if there can be none.

    Not by its __init__ (nor by copy.copy, which calls it): what that would make of args is the program's affair."""
    cls = type(exc)
    try:
        new: BaseException = cls.__new__(cls, *exc.args)
        if type(new) is not cls or new is exc:
            return None
        new.args = exc.args
        for base in cls.__mro__:
            for name, member in vars(base).items():
                if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)) and name not in _APART:
                    try:
                        value = member.__get__(exc, cls)
                        if value is not member.__get__(new, cls):
                            member.__set__(new, value)
                    except (AttributeError, TypeError):
                        pass  # not set; or read-only, and so it is __new__'s
        new.__dict__.update(exc.__dict__)
        new.__cause__ = exc.__cause__
        new.__suppress_context__ = exc.__suppress_context__
        new.__context__ = exc.__context__
        new.__traceback__ = exc.__traceback__
    except Exception:
        return None
    return new


def refuse_async(what: str, fn: Any) -> TypeError:
    """What to raise for an async function, which gopark cannot run."""
    return TypeError(
        f"gopark.{what}: {getattr(fn, '__qualname__', fn)!r} is an async function: gopark needs no async and await, write a "
        "plain one"
    )


# -- what nobody asks for ----------------------------------------------------------------------------------------------


def reap() -> None:
    """On a goroutine of its own: what is left of goroutines, where their finalizers and excepthook may park."""
    proc.getg().shield = 0
    try:
        while _p.graves:
            gp = _p.graves.popleft()
            if not gp.collected:
                report_uncollected(gp)
            gp.value = gp.exc = None
            del gp
    finally:
        _p.reaper = None


def report_uncollected(gp: Goroutine) -> None:
    """Nobody will ever see its exception: gopark.excepthook gets it."""
    exc = gp.exc
    if exc is None or isinstance(exc, (Cancelled, Goexit)):
        return
    gopark = sys.modules.get("gopark")
    if gopark is None:
        return
    hook = getattr(gopark, "excepthook", excepthook)
    try:
        hook(gp, exc)
    except BaseException as e:
        # Nothing may leave here, where perhaps no goroutine runs; and the hook must not cost us what it was to report.
        if isinstance(e, (SystemExit, KeyboardInterrupt)) and _p.maing is not None:
            _p.inject(partial(_p.uncaught, e))
            return
        if sys.stderr is not None:  # else it would go to stdout
            traceback.print_exc()
        if hook is not excepthook:
            excepthook(gp, exc)


def excepthook(goroutine: Goroutine, exc: BaseException) -> None:
    """What becomes of an exception that nobody collected: prints it with its traceback to stderr.

    Assign another function of (goroutine, exception) to gopark.excepthook to do something else."""
    if sys.stderr is not None:
        text = "".join(traceback.format_exception(exc))
        sys.stderr.write(
            f"exception in goroutine {goroutine.id} ({goroutine.name}), never collected:\n{text}"
        )


def report_failed() -> None:
    """At exit: those that are referenced to the end.  After this nobody is left who could collect their exceptions."""
    for gp in list(_failed):
        if not gp.collected:
            gp.collected = True
            report_uncollected(gp)
