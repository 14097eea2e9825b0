"""The life of the runtime: who starts it (run, or the first use), and how it ends, with its goroutines.

Not on any hot path, so plain Python; the scheduler reaches this room and its neighbours through g.rare().  The neighbours:
start.py (what is installed while gopark runs), interrupts.py (Ctrl-C, signals), joining.py, deadlock.py, reports.py, fork.py.
"""

import atexit
import contextvars
import inspect
import sys
import threading
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

from gopark.runtime import (
    _sys,
    blocking,
    deadlock,
    g,
    interrupts,
    joining,
    netpoll,
    proc,
    reports,
    start,
    sysmon,
)
from gopark.runtime.g import Cancelled, Goexit, Goroutine
from gopark.runtime.p import DRAINING, ENDING, RUNNING, URGENT

_T = TypeVar("_T")

_CANCEL_GRACE = (
    5.0  # s: how long cancelled goroutines have for their clean-up before they are cancelled once more
)
_CANCEL_AGAIN = 0.5  # s: from then on, between one cancellation and the next
_CANCEL_ROUNDS = 10  # how often, before they are given up with a warning
_CANCEL_TURNS = 1000  # how often those that have come meanwhile are cancelled, before they are given up

_p = proc.getp()
_exiting = False  # the main goroutine of an implicitly started runtime has called goexit
lasting = False  # threads are goroutines: the runtime outlives every run, and ends after all threads that exit waits for


# -- run ---------------------------------------------------------------------------------------------------------------


class _Run:
    """One call of run.  Something may be raised between any two of its lines (by the program's signal handlers), so that
    end is called twice: whatever the first one has left is done by the second."""

    def __init__(self) -> None:
        self.steps: start.Steps | None = None  # the runtime's life that this run ends
        self.outer = id(sys.exception())  # what the caller handles has not ended main
        self.first = 0  # the goroutines from this number on are its own

    def begin(self) -> None:
        global _in_run
        with start.lock:
            if _p.thread == 0:
                self.steps = start.Steps()
                start.start(self.steps)
            elif _p.thread != _sys.thread_ident():
                raise RuntimeError("gopark.run: gopark is running on another thread already")
            elif _in_run is not None or _p.curg is not _p.maing:
                raise RuntimeError("gopark.run cannot be called from a goroutine: call the function itself")
            else:
                self.steps = start.current
                self.first = _p.nextid if lasting else 0
            _in_run = self

    def main(self, main: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _T:
        result: Any = None
        try:
            result = _call(main, args, kwargs)
        except Goexit:
            while others := _others():
                _drain(others, None)
        if inspect.iscoroutine(result):
            result.close()
            raise reports.refuse_async("run", main)
        outcome: _T = result
        return outcome

    def end(self, last: bool) -> None:
        global _in_run
        if self.steps is None:
            return
        if _in_run is self:
            _in_run = None
        ending = sys.exception()
        ending = None if id(ending) == self.outer else ending
        if self.first:
            _end_of_run(ending, self.first)
        else:
            _end(self.steps, ending, last)
        self.steps = None


_in_run: _Run | None = None


def run(main: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
    """Run main(*args, **kwargs) as the main goroutine; return its result, or raise its exception.

    When it returns, the goroutines that are left are cancelled (their finally and with blocks run) and waited for.
    RuntimeError if called from a goroutine, or while gopark runs on another thread."""
    if not callable(main):
        raise TypeError(f"gopark.run: main must be callable, not {main!r}")
    this = _Run()
    try:
        try:
            this.begin()
            return this.main(main, args, kwargs)
        finally:
            this.end(last=False)
    finally:
        this.end(last=True)


def _call(main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return contextvars.copy_context().run(main, *args, **kwargs)


interrupts.entries.add(_call.__code__)


def current() -> Goroutine:
    """The running goroutine.  RuntimeError on a thread that gopark does not run on."""
    return proc.getg()


def num_goroutine() -> int:
    """How many goroutines exist: running, runnable or parked.  The main goroutine counts."""
    return len(_p.allgs)


# -- first use ---------------------------------------------------------------------------------------------------------


def enter(what: str) -> Goroutine:
    """A goroutine is needed here.  Starts the runtime on this thread, with the caller as main goroutine, or says why not."""
    with start.lock:
        if _p.thread == 0:
            # (In a child that it has forked, it is none.)
            if _sys.thread_ident() in blocking.idents:
                raise RuntimeError(
                    f"{what}: gopark does not run any more; this is a thread of its pool for blocking calls"
                )
            _register_at_exit()
            start.start(start.Steps())
            assert _p.maing is not None
            return _p.maing
    if _sys.thread_ident() != _p.thread:
        raise RuntimeError(
            f"{what}: this is thread {threading.current_thread().name!r}, but gopark runs on another thread: "
            "from here use gopark.go, or the operations that do not park"
        )
    raise RuntimeError(
        f"{what}: no goroutine is running here (a signal handler or a timer callback, while all are parked): "
        "start one with gopark.go"
    )


def _register_at_exit() -> None:
    # Before the threads that are left are waited for: they must find an end of the runtime, not one that nobody runs.
    try:
        getattr(threading, "_register_atexit", atexit.register)(_before_threads)
    except RuntimeError:
        pass  # too late for that: this is an atexit handler, and _at_last comes after it


def _before_threads() -> None:
    if not lasting:  # else they are waited for first, and need a runtime
        at_exit()


def start_for_go() -> None:
    """gopark.go on a thread that gopark does not run on, when it runs nowhere (or not for long any more)."""
    if start.on_main_thread() and _p.thread == 0:
        enter("go")
    else:
        raise RuntimeError(
            "gopark.go: gopark does not run (yet, or any more), and this is not the main thread, to start it"
        )


def goexit() -> BaseException:
    """What gopark.goexit raises."""
    global _exiting
    if _p.curg is _p.maing and _in_run is None and _p.thread == _sys.thread_ident():
        # There is no run to catch it: the script ends here, and at exit the others are waited for.
        _exiting = True
        return SystemExit(0)
    return Goexit()


def at_exit() -> None:
    # The runtime was started by first use.  Its goroutines end as under run, unless this is not their thread.
    if _p.thread == _sys.thread_ident() and _p.curg is _p.maing:
        try:
            while _exiting and (others := _others()):
                _drain(others, None)
        finally:
            try:
                _end(start.current, None, last=False)
            finally:
                _end(start.current, None, last=True)


def _at_last() -> None:
    """After the program's own atexit handlers (those that were registered after gopark's import), which may have used it."""
    try:
        at_exit()
    finally:
        reports.report_failed()


atexit.register(_at_last)


# -- end ---------------------------------------------------------------------------------------------------------------


def _end(steps: start.Steps, ending: BaseException | None, last: bool) -> None:
    """The others' end, then the runtime's.

    Called again, because something was raised in its middle, it goes on; then *last* it ends, whatever else is raised."""
    late = None
    if steps.done and _p.thread == _sys.thread_ident() and _p.maing is not None:
        try:
            late = _shutdown(ending)
        finally:
            if last:
                _p.advance(ENDING)
                _abandon(_others())
                _abandon(_threads())
                steps.stop()
    steps.stop()
    if late is not None:
        try:
            raise late
        finally:
            del late, ending  # no cycle through the traceback


def _end_of_run(ending: BaseException | None, first: int) -> None:
    """The end of the goroutines that a run has started; the runtime goes on."""
    try:
        late = _shutdown(ending, first)
    finally:
        _p.state = RUNNING
        _p.latecomers = 0
    if late is not None:
        try:
            raise late
        finally:
            del late, ending  # no cycle through the traceback


_drained = proc.SleepLock()  # main waits here until the others have ended


def _others(first: int = 0) -> set[Goroutine]:
    """All but main, and those that are threads (hook/threads.py); from number *first* on."""
    # A copy is made in one step: other threads, and finalizers, start goroutines at any moment.
    others = _p.allgs.copy()
    if _p.maing is not None:
        others.discard(_p.maing)
    if lasting:
        others = {gp for gp in others if gp.id >= first and not _is_thread(gp)}
        if first:
            others.difference_update(sysmon.around)  # started for whoever needs it: it ends with the runtime
    return others


def awaited() -> set[Goroutine]:
    """The goroutines that the runtime's end waits for."""
    return _others()


def _threads() -> set[Goroutine]:
    return {gp for gp in _p.allgs.copy() if _is_thread(gp) and gp is not _p.maing}


def _is_thread(gp: Goroutine) -> bool:
    return gp.thread is not None and bool(gp.thread.started)


def _drain(awaited: set[Goroutine], seconds: float | None) -> None:
    """Park main until all of *awaited* have ended (they are taken out of it), or *seconds* have passed."""

    def ended(gp: Goroutine) -> None:
        awaited.discard(gp)
        main = _p.maing
        # Not one that its time limit (or an interrupt) has woken already: it would be on the run queue twice.
        if not awaited and main is not None and main.parklock is _drained and main.status == g.GWAITING:
            proc.goready(main)

    _p.ondrain = ended
    try:
        if not awaited:
            return
        if seconds is None:
            proc.gopark(_drained, 0, "goroutines to finish")
        else:
            proc.gopark_until(_drained, 0, "goroutines to finish", proc.deadline_after(int(seconds * 1e9)))
    finally:
        _p.ondrain = None


def _shutdown(ending: BaseException | None, first: int = 0) -> BaseException | None:
    """Cancel every other goroutine, and wait until they have ended.

    What the main goroutine is sent meanwhile, or was before and had no park to be raised at (Ctrl-C, another goroutine's
    SystemExit), neither keeps the others from their clean-up nor gets lost: it is returned, to be raised at the end,
    unless it is *ending*, which is being raised already."""
    late = _pending()
    rounds = turns = 0
    _p.advance(URGENT if isinstance(late or ending, (KeyboardInterrupt, SystemExit)) else DRAINING)
    # A round is over when its time is up, or a second Ctrl-C cuts it short.  Those that have been started meanwhile,
    # by the clean-up of others, have their turn when all the others have ended.
    while rounds < _CANCEL_ROUNDS and turns < _CANCEL_TURNS and (awaited := _others(first)):
        for gp in awaited:
            proc.interrupt(gp, Cancelled())
        try:
            _drain(awaited, _CANCEL_GRACE if rounds == 0 else _CANCEL_AGAIN)
        except BaseException as e:
            late = late if isinstance(e, Cancelled) else e
        rounds += bool(awaited)
        turns += 1
        _p.advance(ENDING)  # other threads have had their chance
        _p.attend_now()
    _p.advance(ENDING)
    _abandon_rest(first)
    _p.attend_now()
    late = _pending() or late
    return None if late is ending else late


def _pending() -> BaseException | None:
    gp = _p.maing
    assert gp is not None
    exc: BaseException | None = gp.pending
    gp.pending = None
    return None if isinstance(exc, Cancelled) else exc


def _abandon(left: set[Goroutine]) -> None:
    """Out of everything that could still wake them; their stacks must not be unwound by a later owner of this thread."""
    for gp in left:
        if gp.stack is not None:
            fork.keep(gp.stack)
        _p.abandon(gp)
    if left:
        netpoll.pollcache.operations_ended()  # their connections can be closed


def _abandon_rest(first: int) -> None:
    if first == 0:
        _abandon(_threads())  # daemons: in silence, as Python's
    left = _others(first)
    if not left:
        return
    one = repr(next(iter(left)))
    _abandon(left)
    # Afterwards: the program may have made it an error.
    warnings.warn(
        f"gopark: {len(left)} goroutine(s) did not end when cancelled and were abandoned, among them {one}",
        RuntimeWarning,
        stacklevel=3,
    )


def orphaned() -> None:
    """The thread that gopark runs on ends without having ended it (start.py's guard)."""
    # What the goroutines left behind can never run again: greenlets belong to their thread.
    left = _others()
    one = repr(next(iter(left), None))
    _abandon(left)
    fork.keep((_p.g0, _p.gfree))
    _p.g0, _p.gfree = None, []
    start.current.stop()
    if left:
        warnings.warn(
            f"gopark: its thread has ended; {len(left)} goroutine(s) were abandoned, among them {one}: end the "
            "thread's work with gopark.run, which waits for them",
            RuntimeWarning,
            stacklevel=2,
        )


# -- what the scheduler calls ------------------------------------------------------------------------------------------


def forked(me: Goroutine | None, was_main: bool) -> None:
    """In a forked child, where *me* is the only goroutine."""
    global _in_run
    blocking.forked()
    deadlock.own_threads.clear()
    _in_run = None
    interrupts.forked(me is not None)
    start.forked(me, was_main)


class _Rare(g.Rare):
    main_code: CodeType = _call.__code__

    def enter(self, what: str) -> Goroutine:
        return enter(what)

    def start_for_go(self) -> None:
        start_for_go()

    def goexit(self) -> BaseException:
        return goexit()

    def exited(self, gp: Goroutine) -> None:
        reports.exited(gp)

    def report_uncollected(self, gp: Goroutine) -> None:
        reports.report_uncollected(gp)

    reap = staticmethod(reports.reap)

    def exception_of(self, gp: Goroutine) -> BaseException:
        return reports.exception_of(gp)

    def refuse_async(self, what: str, fn: Any) -> TypeError:
        return reports.refuse_async(what, fn)

    def cancel(self, gp: Goroutine) -> None:
        joining.cancel(gp)

    def join_wait(self, gp: Goroutine, timeout: float | None) -> None:
        joining.join_wait(gp, timeout)

    def checkdead(self) -> bool:
        return deadlock.checkdead()

    def watch_signals(self) -> None:
        interrupts.rewatch_signals()

    def orphaned(self) -> None:
        orphaned()

    def keep(self, obj: Any) -> None:
        fork.keep(obj)

    def stand_in(self) -> Goroutine:
        return fork.stand_in()

    def stray_child(self, exc: BaseException | None) -> None:
        fork.stray_child(exc)

    def child_ended(self, gp: Goroutine) -> None:
        fork.child_ended(gp)


from gopark.runtime import fork  # noqa: E402  (it imports this module)

g.set_rare(_Rare())
