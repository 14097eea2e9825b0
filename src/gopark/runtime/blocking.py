"""Blocking calls: fn runs on an OS thread, the calling goroutine parks.

For what can block and cannot be polled: name look-ups, files, C libraries.  The pool starts a thread when a call finds
none idle, up to a limit; beyond it calls queue.  A thread that was idle for some seconds ends.
"""

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from gopark.runtime import _sys, proc
from gopark.runtime.g import GWAITING, Goroutine, ParkLock

_P = ParamSpec("_P")
_T = TypeVar("_T")

IDLE_SECONDS = 5.0  # an idle thread ends after so long
MAX_THREADS = max(64, 4 * (os.cpu_count() or 1))

_p = proc.getp()


class _Call(ParkLock):
    """One call: what its goroutine parks on, and where the thread leaves the outcome."""

    def __init__(self, fn: Callable[[], Any], gp: Goroutine, what: str, done: Callable[[], object]) -> None:
        self.fn: Callable[[], Any] | None = fn
        self.done: Callable[[], object] = done  # to be called when fn has ended, or will never begin
        self.what = what  # the caller's function, by name
        self.ctx = contextvars.copy_context()
        self.gp: Goroutine | None = gp  # None: cancelled, nobody waits any more
        self.finished = False
        self.thread = 0  # ident of the thread that runs it, while it does: dumps show its frames
        self.value: Any = None
        self.exc: BaseException | None = None

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:
        return not self.finished

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:
        if self.finished:
            return False
        self.give_up()
        return True

    def describe(self, mode: int) -> str:
        return self.what

    def run(self) -> None:
        """On the pool's thread."""
        fn = self.fn
        assert fn is not None
        self.thread = _sys.thread_ident()
        try:
            self.value = self.ctx.run(fn)
        except BaseException as e:
            self.exc = e
        finally:
            self.fn = fn = None
            self.thread = 0
            self.done()
            _p.inject(self.finish)

    def finish(self) -> None:
        """On the runtime's thread."""
        _p.external -= 1
        self.finished = True
        if self.gp is not None and self.gp.parklock is self and self.gp.status == GWAITING:
            proc.goready(self.gp)

    def give_up(self) -> None:
        """Nobody waits for it (any more): take it back if no thread has begun with it, else what it returns is dropped."""
        self.gp = None
        if _pool.withdraw(self):
            _p.external -= 1
            self.finished = True
            self.fn = None
            self.done()


class PoolThread(threading.Thread):
    """One of the pool's threads: it wakes nobody but who waits for its call, and those are counted."""


class _Pool:
    """The threads.  lock guards every field."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)
        self.queue: deque[_Call] = deque()
        self.idle = 0  # threads waiting in work
        self.threads = 0  # threads alive
        self.started = 0  # threads ever started, for names

    def submit(self, call: _Call) -> None:
        with self.lock:
            self.queue.append(call)
            if self.idle >= len(self.queue):
                self.work.notify()
                return
            if self.threads >= MAX_THREADS:
                return
            self.threads += 1
            self.started += 1
            name = f"gopark-blocking-{self.started}"
        # Daemonic: a call that never returns must not keep the process from ending.
        thread = PoolThread(target=self.serve, name=name, daemon=True)
        try:
            thread.start()
        except BaseException as e:
            if thread.ident is None and thread not in threading._limbo:  # type: ignore[attr-defined]
                # It could not be started.  (A signal handler may raise when it was.)
                with self.lock:
                    self.threads -= 1
                if self.threads > 0 and isinstance(e, (RuntimeError, MemoryError)):
                    return  # another thread will come to it
            raise

    def withdraw(self, call: _Call) -> bool:
        """Take *call* back, if no thread has taken it."""
        with self.lock:
            try:
                self.queue.remove(call)
            except ValueError:
                return False
            return True

    def serve(self) -> None:
        while True:
            with self.lock:
                while not self.queue:
                    self.idle += 1
                    woken = self.work.wait(IDLE_SECONDS)
                    self.idle -= 1
                    if not woken and not self.queue:
                        self.threads -= 1
                        return
                call = self.queue.popleft()
            call.run()
            del call  # or an idle thread would keep the last result alive


_pool = _Pool()


def blocking(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run fn(*args, **kwargs) on an OS thread and park until it is done; return its result or raise its exception.

    It sees the caller's contextvars.  If the caller is cancelled it gets Cancelled at once; the thread goes on to the end
    and its result is dropped.  Called on a thread that gopark does not run on, it simply calls fn."""
    if not callable(fn):
        raise TypeError(f"gopark.blocking: fn must be callable, not {fn!r}")
    return blocking_then(_nothing, fn, *args, **kwargs)


def _nothing() -> None:
    pass


def blocking_then(
    done: Callable[[], object], fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """blocking, and done() once fn has ended, on its thread: later than the caller, if that is cancelled.

    Also if fn cannot be run at all: whatever happens, done is called once."""

    if _p.thread not in (0, _sys.thread_ident()):
        try:
            return fn(*args, **kwargs)
        finally:
            done()
    try:
        gp = proc.getg()
    except BaseException:
        done()
        raise
    what = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    call = _Call(lambda: fn(*args, **kwargs), gp, what, done)
    _p.external += 1
    # Preempted with the pool's lock held, it would keep every other goroutine's call waiting.
    gp.nopreempt += 1
    try:
        try:
            _pool.submit(call)
        finally:
            gp.nopreempt -= 1
        proc.gopark(call, 0, "blocking call")
    except BaseException:
        # Cancelled; or raised before it was parked: no thread, no room on the stack, a signal handler.
        if call.gp is not None and not call.finished:
            call.give_up()
        raise
    if call.exc is not None:
        try:
            raise call.exc
        finally:
            call.exc = None  # no cycle through the traceback
    result: _T = call.value
    return result


def counts() -> tuple[int, int, int]:
    """(threads alive, threads idle, calls queued)."""
    # Without the lock: who counts must not be able to wait.
    return _pool.threads, _pool.idle, len(_pool.queue)


def forked() -> None:
    """In a forked child: none of the threads exist."""
    global _pool
    _pool = _Pool()
