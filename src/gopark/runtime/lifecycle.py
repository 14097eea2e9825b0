"""The life of the runtime: how it starts (run, or the first use), how it ends, and the rare events of a goroutine's life.

Not on any hot path, so plain Python.  The scheduler reaches this module through g.rare().
"""

import atexit
import contextvars
import gc
import inspect
import os
import signal
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import Any, TypeVar

from gopark.runtime import (
    _sys,
    blocking,
    debug,
    debug_server,
    debug_signals,
    g,
    netpoll,
    proc,
    sysmon,
)
from gopark.runtime.g import Cancelled, Deadlock, Goexit, Goroutine, ParkLock
from gopark.runtime.sema import WaitQ

_T = TypeVar("_T")

_CANCEL_GRACE = (
    5.0  # s: how long cancelled goroutines have for their clean-up before they are cancelled once more
)
_CANCEL_AGAIN = 0.5  # s: from then on, between one cancellation and the next
_CANCEL_ROUNDS = 10  # how often, before they are given up with a warning
_CANCEL_TURNS = 1000  # how often those that have come meanwhile are cancelled, before they are given up

_p = proc.getp()
_in_run = False
_watching = threading.Lock()  # held while somebody is added to Goroutine.watchers
_old_sigint: Any = None
_wakeup_fd = -1  # the signal pipe's write end; made once, kept
_starting = threading.RLock()  # held while a thread makes the runtime its own
_owner = threading.local()  # .guard: on the thread that gopark runs on, unless it is the main one
_program = False  # this is a forked child whose program is the goroutine that forked
_exiting = False  # the main goroutine of an implicitly started runtime has called goexit
_failed: weakref.WeakSet[Goroutine] = weakref.WeakSet()  # ended with an exception
_runtime_dir = os.path.dirname(os.path.dirname(__file__)) + os.sep


# -- start -------------------------------------------------------------------------------------------------------------


def enter(what: str) -> Goroutine:
    """A goroutine is needed here.  Starts the runtime on this thread, with the caller as main goroutine, or says why not."""
    with _starting:
        if _p.thread == 0:
            me = threading.current_thread()
            # (In a child that it has forked, it is the main thread.)
            if isinstance(me, blocking.PoolThread) and me is not threading.main_thread():
                raise RuntimeError(
                    f"{what}: gopark does not run any more; this is a thread of its pool for blocking calls"
                )
            start()
            _register_at_exit(_at_exit)
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


# Before the threads that are left are waited for: they must find an end of the runtime, not one that nobody runs any more.
_register_at_exit: Any = getattr(threading, "_register_atexit", atexit.register)


def start_for_go() -> None:
    """gopark.go on a thread that gopark does not run on, when it runs nowhere (or not for long any more)."""
    if threading.current_thread() is threading.main_thread() and _p.thread == 0:
        enter("go")
    else:
        raise RuntimeError(
            "gopark.go: gopark does not run (yet, or any more), and this is not the main thread, to start it"
        )


class _Guard:
    """Goes with the thread that gopark runs on: a thread may end without having ended the runtime."""

    def __init__(self) -> None:
        self.thread = _sys.thread_ident()

    def __del__(self) -> None:
        if _p.thread == self.thread == _sys.thread_ident():
            _orphaned()


def _orphaned() -> None:
    # What the goroutines left behind can never run again: greenlets belong to their thread.
    left = [gp for gp in _p.allgs if gp is not _p.maing]
    for gp in left:
        if gp.stack is not None:
            fork.keep(gp.stack)
        _p.abandon(gp)
    fork.keep((_p.g0, _p.gfree))
    _p.gfree = []
    stop()
    if left:
        warnings.warn(
            f"gopark: its thread has ended; {len(left)} goroutine(s) were abandoned, among them {left[0]!r}: end the "
            "thread's work with gopark.run, which waits for them",
            RuntimeWarning,
            stacklevel=2,
        )


def start() -> None:
    """Start the runtime on this thread; the caller becomes the main goroutine."""
    netpoll.poll_server_init()
    gp = Goroutine(None, (), None)
    gp.forked = _program
    root = _sys.getcurrent()
    _sys.measure_headroom()
    _p.begin(gp, root)
    gp.label = "main"
    if threading.current_thread() is threading.main_thread():
        watch_sigint()
        debug_signals.install()
        _watch_signals()
    else:
        _owner.guard = _Guard()
    if _on_gc not in gc.callbacks:
        gc.callbacks.append(_on_gc)
    sysmon.start()
    debug_server.start()


def stop() -> None:
    """End the runtime on this thread: only the main goroutine is left.  It can be started again, here or elsewhere."""
    global _old_sigint
    _owner.__dict__.pop("guard", None)
    debug_server.stop()
    sysmon.stop()
    debug_signals.restore()
    if _old_sigint is not None:
        if signal.getsignal(signal.SIGINT) is _on_sigint:
            signal.signal(signal.SIGINT, _old_sigint)
        _old_sigint = None
    if threading.current_thread() is threading.main_thread():
        _unwatch_signals()
    if _on_gc in gc.callbacks:
        gc.callbacks.remove(_on_gc)
    _p.end()
    if _interrupt_main in _p.injected:
        # Ctrl-C in the last moment: not for the next run.
        _p.injected.remove(_interrupt_main)
        raise KeyboardInterrupt


def run(main: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
    """Run main(*args, **kwargs) as the main goroutine; return its result, or raise its exception.

    When it returns, the goroutines that are left are cancelled (their finally and with blocks run) and waited for.
    RuntimeError if called from a goroutine, or while gopark runs on another thread."""
    global _in_run
    if not callable(main):
        raise TypeError(f"gopark.run: main must be callable, not {main!r}")
    with _starting:
        if _p.thread == 0:
            start()
        elif _p.thread != _sys.thread_ident():
            raise RuntimeError("gopark.run: gopark is running on another thread already")
        elif _in_run or _p.curg is not _p.maing:
            raise RuntimeError("gopark.run cannot be called from a goroutine: call the function itself")
        _in_run = True
    try:
        result: Any = None
        try:
            result = contextvars.copy_context().run(main, *args, **kwargs)
        except Goexit:
            while others := _others():
                _drain(others, None)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(
                f"gopark.run: {getattr(main, '__qualname__', main)!r} is an async function: gopark needs no async and "
                "await, write a plain one"
            )
        outcome: _T = result
        return outcome
    finally:
        _in_run = False
        try:
            _shutdown(sys.exception())
        finally:
            stop()


def current() -> Goroutine:
    """The running goroutine.  RuntimeError on a thread that gopark does not run on."""
    return proc.getg()


def num_goroutine() -> int:
    """How many goroutines exist: running, runnable or parked.  The main goroutine counts."""
    return len(_p.allgs)


# -- end ---------------------------------------------------------------------------------------------------------------


class _Drained(ParkLock):
    """Main waits here until the others have ended."""

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:
        return True


_drained = _Drained()


def _others() -> set[Goroutine]:
    return {gp for gp in _p.allgs if gp is not _p.maing}


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


def _shutdown(ending: BaseException | None) -> None:
    """Cancel every other goroutine, and wait until they have ended.

    What the main goroutine is sent meanwhile, or was before and had no park to be raised at (Ctrl-C, another goroutine's
    SystemExit), neither keeps the others from their clean-up nor gets lost: it is raised at the end, unless it is
    *ending*, which is being raised already."""
    late = _pending()
    try:
        rounds = turns = 0
        _p.urgent = isinstance(late or ending, (KeyboardInterrupt, SystemExit))
        # A round is over when its time is up, or a second Ctrl-C cuts it short.  Those that have been started meanwhile,
        # by the clean-up of others, have their turn when all the others have ended.
        while rounds < _CANCEL_ROUNDS and turns < _CANCEL_TURNS and (awaited := _others()):
            for gp in awaited:
                proc.interrupt(gp, Cancelled())
            try:
                _drain(awaited, _CANCEL_GRACE if rounds == 0 else _CANCEL_AGAIN)
            except BaseException as e:
                late = late if isinstance(e, Cancelled) else e
            rounds += bool(awaited)
            turns += 1
            _p.urgent = _p.urgent or rounds > 0
            _p.ending = True  # other threads have had their chance
            _p.attend_now()
    finally:
        _p.ending = True
        _abandon_rest()
    _p.attend_now()
    late = _pending() or late
    if late is not None and late is not ending:
        try:
            raise late
        finally:
            del late, ending  # no cycle through the traceback


def _pending() -> BaseException | None:
    gp = _p.maing
    assert gp is not None
    exc: BaseException | None = gp.pending
    gp.pending = None
    return None if isinstance(exc, Cancelled) else exc


def _abandon_rest() -> None:
    left = [gp for gp in _p.allgs if gp is not _p.maing]
    if not left:
        return
    warnings.warn(
        f"gopark: {len(left)} goroutine(s) did not end when cancelled and were abandoned, among them {left[0]!r}",
        RuntimeWarning,
        stacklevel=3,
    )
    for gp in left:
        # Out of everything that could still wake it; its stack must not be unwound by a later owner of this thread.
        if gp.stack is not None:
            fork.keep(gp.stack)
        _p.abandon(gp)


def _at_exit() -> None:
    # The runtime was started by first use.  Its goroutines end as under run, unless this is not their thread.
    if _p.thread == _sys.thread_ident() and _p.curg is _p.maing:
        try:
            while _exiting and (others := _others()):
                _drain(others, None)
        finally:
            try:
                _shutdown(None)
            finally:
                stop()


def goexit() -> BaseException:
    """What gopark.goexit raises."""
    global _exiting
    if _p.curg is _p.maing and not _in_run and _p.thread == _sys.thread_ident():
        # There is no run to catch it: the script ends here, and at exit the others are waited for.
        _exiting = True
        return SystemExit(0)
    return Goexit()


@atexit.register
def _report_failed() -> None:
    # Those that are referenced to the end: after this there is nobody left who could collect their exceptions.
    for gp in list(_failed):
        if not gp.collected:
            gp.collected = True
            report_uncollected(gp)


# -- signals and collections -------------------------------------------------------------------------------------------


def _watch_signals() -> None:
    """A signal ends a blocking netpoll, whenever it arrives.  Main thread only."""
    global _wakeup_fd
    if _wakeup_fd < 0:
        _wakeup_fd = _p.poller.netpollsignal()
    old = signal.set_wakeup_fd(_wakeup_fd, warn_on_full_buffer=False)
    if old >= 0:
        signal.set_wakeup_fd(old)  # the program has its own: leave it


def _unwatch_signals() -> None:
    """Undo _watch_signals, but not what the program has set since."""
    old = signal.set_wakeup_fd(-1)
    if old not in (-1, _wakeup_fd):
        signal.set_wakeup_fd(old)


def _in_runtime(frame: FrameType | None) -> bool:
    """Was this frame, of the interpreted core or of a thread that it starts, in the middle of something?"""
    while frame is not None and frame.f_code.co_filename == threading.__file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_runtime_dir)


def watch_sigint() -> None:
    """Ctrl-C is ours unless the program has a handler.  Main thread only."""
    global _old_sigint
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _old_sigint = signal.signal(signal.SIGINT, _on_sigint)


def _on_sigint(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C: KeyboardInterrupt in the main goroutine, wherever it is, and in no other."""
    if _p.maing is None or (_p.curg is _p.maing and not _in_runtime(frame)):
        raise KeyboardInterrupt
    _p.inject(_interrupt_main)


def _interrupt_main() -> None:
    if _p.maing is not None:
        proc.interrupt(_p.maing, KeyboardInterrupt())


def _on_gc(phase: str, info: dict[str, int]) -> None:
    """At the end of a collection the network is polled (S1): a long one has kept everybody from it."""
    if phase == "stop" and _p.thread == _sys.thread_ident():
        _p.gcpoll()


# -- rare events of a goroutine ----------------------------------------------------------------------------------------


def cancel(gp: Goroutine) -> None:
    """Goroutine.cancel."""
    if _sys.thread_ident() == _p.thread:
        proc.interrupt(gp, Cancelled())
    else:
        _p.inject(lambda: proc.interrupt(gp, Cancelled()))


def join_wait(gp: Goroutine, timeout: float | None) -> None:
    """Goroutine.join, when it is not done."""
    if timeout is not None:
        ns = proc.seconds_to_ns(timeout, "join: timeout")
    if _p.thread not in (0, _sys.thread_ident()):
        _join_from_thread(gp, None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return
    if gp is proc.getg():
        raise RuntimeError("join: a goroutine cannot wait for itself")
    if gp.joinq is None:
        gp.joinq = WaitQ()
    if timeout is None:
        gp.joinq.park("goroutine join")
    elif ns > 0:
        gp.joinq.park_until("goroutine join", proc.deadline_after(ns))


def _join_from_thread(gp: Goroutine, timeout: float | None) -> None:
    event = threading.Event()
    watch(gp, event)
    # done is set before the watchers are: one of the two sees the other.
    if not gp.done and not event.wait(timeout):
        unwatch(gp, event)


def watch(gp: Goroutine, event: Any) -> None:
    """Have event.set() called when *gp* has ended.  Whoever finds gp.done true afterwards may have come too late for that."""
    with _watching:
        # One thread at a time makes the list, or the other's event would be lost with its list.
        if gp.watchers is None:
            gp.watchers = []
        gp.watchers.append(event)


def unwatch(gp: Goroutine, event: Any) -> None:
    """Undo watch."""
    with _watching:
        watchers = gp.watchers
        if watchers is not None and event in watchers:
            watchers.remove(event)


def exited(gp: Goroutine) -> None:
    """A goroutine ended with an exception."""
    exc = gp.exc
    assert exc is not None
    # The core's own frames say nothing to the user (and in the interpreted core would keep gp alive).
    tb: TracebackType | None = exc.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "").startswith("gopark.runtime."):
        tb = tb.tb_next
    exc.__traceback__ = tb
    if not isinstance(exc, Cancelled):
        _failed.add(gp)
    if isinstance(exc, (SystemExit, KeyboardInterrupt)):
        # They are about the process: the main goroutine gets them.
        gp.collected = True
        if _p.maing is not None:
            proc.interrupt(_p.maing, exc)


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


def checkdead() -> bool:
    """Nothing is runnable, no timer is armed, nobody is parked in the poller, no blocking call is in flight.

    If nothing else can wake anyone either, reports it and raises Deadlock in the main goroutine.  What else could: any
    other thread that runs Python code (except the runtime's own), and a Python signal handler (except the runtime's)."""
    if _other_threads() or _signal_handlers() or _p.maing is None:
        return False
    if _p.attention:
        return False  # a thread woke somebody before it ended: looked at only now that there is none that could do so later
    debug.write(2, "fatal error: all goroutines are asleep - deadlock!\n\n" + debug.stack())
    proc.interrupt(_p.maing, Deadlock("all goroutines are asleep - deadlock!"))
    if _p.runqsize() == 0:
        debug_server.remove()
        os._exit(2)  # the main goroutine is shielded from everything: there is nobody left to tell
    return True


own_threads: set[int] = set()  # idents of the runtime's threads that run Python code


def _other_threads() -> bool:
    mine = {_sys.thread_ident(), _sys.sysmon_ident(), *own_threads}
    mine.update(t.ident for t in threading.enumerate() if isinstance(t, blocking.PoolThread) and t.ident)
    frames = sys._current_frames()
    if _sys.thread_states() > len(frames):
        return True  # one that has only just been started, or that runs C code and may call Python's
    return any(ident not in mine and not debug_server.serves(frame) for ident, frame in frames.items())


def _signal_handlers() -> bool:
    for signum in signal.valid_signals():
        handler = signal.getsignal(signum)
        if callable(handler) and handler is not signal.default_int_handler:
            module = getattr(handler, "__module__", None) or type(handler).__module__
            if not str(module).startswith("gopark.runtime"):
                return True
    return False


# -- fork --------------------------------------------------------------------------------------------------------------


def forked(me: Goroutine | None, was_main: bool) -> None:
    """In a forked child, where *me* is the only goroutine."""
    global _in_run, _program, _starting, _wakeup_fd, _watching
    blocking.forked()
    _starting, _watching = threading.RLock(), threading.Lock()  # another thread may have held them
    own_threads.clear()
    _in_run = False
    if _wakeup_fd >= 0:
        # The signal pipe is the parent's: a signal here must not wake it there.
        _unwatch_signals()
        os.close(_wakeup_fd)
        _wakeup_fd = -1
        if me is not None:
            _watch_signals()
    if me is not None and not was_main:
        _program = me.forked = True


def stand_in() -> Goroutine:
    """For a goroutine that forked, is the child's program, and returns after it has ended the runtime."""
    gp = Goroutine(None, (), None)
    gp.forked = True
    return gp


def keep(obj: Any) -> None:
    fork.keep(obj)


def child_ended(gp: Goroutine) -> None:
    fork.child_ended(gp)


from gopark.runtime import fork  # noqa: E402  (it imports this module)

g.set_lifecycle(sys.modules[__name__])
