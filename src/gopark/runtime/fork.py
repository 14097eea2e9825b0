"""After os.fork: the child has a working runtime, in which only the goroutine that forked is alive.

The others' stacks were copied by the fork, but they are the parent's: nothing of them runs in the child, not even their
finally blocks, which would write to connections that both processes hold.  So they are neither resumed nor destroyed
(destroying a suspended greenlet unwinds it): they are kept, unreachable, until the child ends.

The poller gets a new epoll instance (the old one is shared with the parent: a change here would be one there) with every
open descriptor registered again.  Locks and waiting lists forget the goroutines that do not exist.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from gopark.runtime import _sys, chan, debug_server, lifecycle, netpoll, output, proc, reports, start, sysmon
from gopark.runtime.g import Cancelled, Goroutine, waiting_threads

_p = proc.getp()
_kept: list[Any] = []  # what must never be destroyed
_CUT_OFF = (
    "fatal error: a goroutine has ended where none runs: a signal handler that raises has cut off gopark's interpreted core"
    " in the middle of a switch.  Have the handler set a flag, or call Goroutine.cancel; or use the compiled core\n"
)


def keep(obj: Any) -> None:
    """Never destroy *obj*, not even at exit."""
    _kept.append(obj)
    _sys.immortalize(obj)


def _after_fork_in_child() -> None:
    # Python runs this in the child before os.fork returns there: on the forking goroutine's stack.
    me = _p.curg if _p.thread == _sys.thread_ident() else None
    was_main = me is _p.maing
    others = _p.allgs.copy()
    if me is not None:
        others.discard(me)
    for gp in others:
        if gp.stack is not None:
            keep(gp.stack)
        keep(gp)
    if me is None and _p.g0 is not None:
        # Forked from another thread: the greenlets of the runtime's thread can never run again.
        for stack in (_p.g0, *_p.gfree):
            keep(stack)
    steps: list[Callable[[], object]] = [
        # Whatever somebody waits on is known by who waits.  (Not by the collector, which does not list what gc.freeze has
        # frozen, as programs do before they fork.)
        *(gp.parklock.after_fork for gp in others if gp.parklock is not None),
        chan.forked,
        *(lock.after_fork for lock in waiting_threads.values()),
        waiting_threads.clear,
        netpoll.pollcache.after_fork,
        _sys.sysmon_forked,
        partial(_p.forked, me),
        _p.poller.netpollforked,
        debug_server.forked,
        partial(lifecycle.forked, me, was_main),
        *(partial(_p.gone, gp) for gp in others),  # whoever counts on their end (a WaitGroup, a Group) has it
    ]
    if me is not None:
        # The debug socket at the next scheduling decision: subprocess's preexec_fn runs in such a child, too, which is about
        # to be another program and would leave the files behind.
        steps += [sysmon.start, partial(_p.inject, start.start_debug_server)]
    _each(steps)


def _each(steps: list[Callable[[], object]]) -> None:
    """All of *steps*, also behind one that fails (no thread is to be had, a close says EIO): the child would be half its
    parent's.  Python prints what is raised here, and the child goes on without that one thing."""
    failed: BaseException | None = None
    for step in steps:
        try:
            step()
        except BaseException as e:
            failed = failed or e
    if failed is not None:
        raise failed


def stand_in() -> Goroutine:
    """For a goroutine that forked, is the child's program, and returns after it has ended the runtime."""
    if _p.thread != 0:
        # Never a silent end, nor another goroutine's outcome.
        output.write(2, _CUT_OFF)
        debug_server.remove()
        os._exit(2)
    gp = Goroutine(None, (), None)
    gp.forked = True
    return gp


def child_ended(gp: Goroutine) -> None:
    """The goroutine that forked has returned in the child, where it is the program: the process ends, as a thread's
    would (what the main goroutine would have done next is the parent's)."""
    exc = gp.exc
    if exc is not None and not isinstance(exc, SystemExit):
        reports.report_uncollected(gp)
    _exit(exc)


def stray_child(exc: BaseException | None) -> None:
    """Whoever forked did it in the scheduler (a signal handler, a finalizer, while all were parked), and has ended: nobody
    is left in the child."""
    if exc is not None and not isinstance(exc, SystemExit):
        sys.excepthook(type(exc), exc, exc.__traceback__)
    lifecycle.at_exit()
    _exit(exc)


def _exit(exc: BaseException | None) -> NoReturn:
    status = 0 if exc is None or isinstance(exc, Cancelled) else 1
    if isinstance(exc, SystemExit):
        code = exc.code
        status = code if isinstance(code, int) else 0 if code is None else 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    debug_server.remove()
    os._exit(status)


os.register_at_fork(after_in_child=_after_fork_in_child)
