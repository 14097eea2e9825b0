"""Who waits for a goroutine's end, or makes it come: join and cancel, from goroutines and from other threads.

How the waiters are told is P.tell_ended.
"""

import threading
from typing import Any

from gopark.runtime import _sys, proc
from gopark.runtime.g import Cancelled, Goroutine
from gopark.runtime.sema import WaitQ

_p = proc.getp()


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
    # Made before the look: a collection may come while it is.  Between look and act there is no call, so nobody else.
    made = [event]
    watchers = gp.watchers
    if watchers is None:
        gp.watchers = made
    else:
        watchers.append(event)


def unwatch(gp: Goroutine, event: Any) -> None:
    """Undo watch."""
    watchers = gp.watchers
    if watchers is not None:
        try:
            watchers.remove(event)
        except ValueError:
            pass  # it is being told
