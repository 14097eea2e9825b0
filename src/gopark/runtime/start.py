"""How the runtime starts and ends on a thread: a stack of steps, each with its undo.

A start that fails half-way undoes what it has done; a stop undoes everything in reverse, and goes on when one undo raises, or
is interrupted by a signal handler.  So every undo may be called twice, and after a step that was only half done.

Who starts it, when, and what becomes of the goroutines at the end is lifecycle.py; this file knows none of them.
"""

import gc
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gopark.runtime import (
    _sys,
    debug_server,
    debug_signals,
    g,
    handover,
    importing,
    interrupts,
    netpoll,
    proc,
    sysmon,
)
from gopark.runtime.g import Goroutine

_p = proc.getp()
lock = threading.RLock()  # held while a thread makes the runtime its own
_owner = threading.local()  # .guard: on the thread that gopark runs on, unless it is the main one
program = False  # this is a forked child whose program is the goroutine that forked


class Step(NamedTuple):
    """One thing that the runtime needs while it runs."""

    name: str
    do: Callable[[], object]
    undo: Callable[[], object]


class Steps:
    """What has been done for one life of the runtime, from its start to its end."""

    def __init__(self) -> None:
        self.done: list[Step] = []

    def start(self, steps: Sequence[Step]) -> None:
        """Do *steps* in their order.  If one fails, nothing is left of the others."""
        try:
            for step in steps:
                self.done.append(step)  # first: one that is interrupted half-way is to be undone, too
                step.do()
            interrupts.release()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Undo all that has been done, the last one first, and raise the first error when it is over.

        Called again after something was raised in its middle, it goes on."""
        interrupts.hold()
        failed: BaseException | None = None
        while self.done:
            step = self.done[-1]
            for _ in range(2):  # again: it was interrupted half-way, perhaps
                try:
                    step.undo()
                    break
                except BaseException as e:
                    failed = failed or e
            self.done.pop()
        try:
            if failed is not None:
                raise failed
            interrupts.release()
        finally:
            del failed  # no cycle through the traceback


current = Steps()  # of the life that the runtime has now, or had last


def start(steps: Steps) -> None:
    """Start the runtime on this thread; the caller becomes the main goroutine.  The lock is held."""
    global current
    current = steps
    if not on_main_thread():
        steps.start(_OTHER_THREAD)
    elif isinstance(threading.main_thread(), threading._MainThread):  # type: ignore[attr-defined]
        steps.start(_MAIN_THREAD)
    else:
        # A forked child, whose main thread was another in the parent.  It ends like one, without an exit of Python's, and the
        # process must end with it.
        steps.start((*_MAIN_THREAD, _GUARD))


def on_main_thread() -> bool:
    # By its ident: a thread whose end this is, is not known to threading any more, and would be entered there again.
    return _sys.thread_ident() == threading.main_thread().ident


def _begin() -> None:
    gp = Goroutine(None, (), None)
    gp.forked = program
    root = _sys.getcurrent()
    _sys.measure_headroom()
    _p.begin(gp, root)
    gp.label = "main"


def _watch_gc() -> None:
    if proc.on_gc not in gc.callbacks:
        gc.callbacks.append(proc.on_gc)


def _unwatch_gc() -> None:
    if proc.on_gc in gc.callbacks:
        gc.callbacks.remove(proc.on_gc)


def start_debug_server() -> None:
    try:
        debug_server.start()
    except Exception:
        pass  # everything else works without it


# -- a thread that ends without having ended the runtime ---------------------------------------------------------------


class _Guard:
    """Goes with the thread that gopark runs on."""

    def __init__(self, steps: Steps) -> None:
        self.steps: Steps | None = steps

    def __del__(self) -> None:
        if self.steps is not None and self.steps is current and _p.thread == _sys.thread_ident():
            g.rare().orphaned()


def _arm_guard() -> None:
    _owner.guard = _Guard(current)


def _disarm_guard() -> None:
    guard: Any = _owner.__dict__.get("guard")
    if guard is not None:
        guard.steps = None  # its end is not the thread's
        del _owner.guard


# -- the steps ---------------------------------------------------------------------------------------------------------


def _nothing() -> None:
    pass


_POLLER = Step("poller", netpoll.poll_server_init, _nothing)  # descriptors outlive a run, and so does it
_REQUESTS = Step("requests of other threads", _nothing, handover.late)
_SCHEDULER = Step("scheduler", _begin, _p.end)
_GC = Step("collections", _watch_gc, _unwatch_gc)
_IMPORTS = Step("imports", importing.install, importing.uninstall)
_SYSMON = Step("sysmon", sysmon.start, sysmon.stop)
_DEBUG_SERVER = Step("debug socket", start_debug_server, debug_server.stop)
# Ctrl-C is the first to be taken and the last to be given back: in between it interrupts no step.
_MAIN_THREAD = (
    _POLLER,
    Step("Ctrl-C", interrupts.take, interrupts.give_back),
    _REQUESTS,
    _SCHEDULER,
    Step("dump signals", debug_signals.install, debug_signals.restore),
    Step("signals", interrupts.watch_signals, interrupts.unwatch_signals),
    _GC,
    _IMPORTS,
    _SYSMON,
    _DEBUG_SERVER,
)
_GUARD = Step("guard", _arm_guard, _disarm_guard)
_OTHER_THREAD = (
    _POLLER,
    _REQUESTS,
    _SCHEDULER,
    _GUARD,
    _GC,
    _IMPORTS,
    _SYSMON,
    _DEBUG_SERVER,
)


def forked(me: Goroutine | None, was_main: bool) -> None:
    """In a forked child, where *me* is the only goroutine; None: the runtime does not run there."""
    global lock, program
    lock = threading.RLock()  # another thread may have held it
    if me is None:
        current.stop()
    elif not was_main:
        program = me.forked = True
