"""What becomes of a goroutine's exception: whom it concerns, and what is said of one that nobody collects."""

import sys
import traceback
import weakref
from functools import partial
from types import TracebackType

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
