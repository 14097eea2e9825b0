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
from gopark.runtime.g import Goroutine, ParkLock

_P = ParamSpec("_P")
_T = TypeVar("_T")

IDLE_SECONDS = 5.0  # an idle thread ends after so long
MAX_THREADS = max(64, 4 * (os.cpu_count() or 1))

_p = proc.getp()


class _Call(ParkLock):
    """One call: what its goroutine parks on, and where the thread leaves the outcome."""

    def __init__(self, fn: Callable[[], Any], gp: Goroutine, what: str) -> None:
        self.fn: Callable[[], Any] | None = fn
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
        self.gp = None  # the thread goes on; what it returns is dropped
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
            _p.inject(self.finish)

    def finish(self) -> None:
        """On the runtime's thread."""
        _p.external -= 1
        self.finished = True
        if self.gp is not None:
            proc.goready(self.gp)


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
        try:
            # Daemonic: a call that never returns must not keep the process from ending.
            PoolThread(target=self.serve, name=name, daemon=True).start()
        except BaseException:
            with self.lock:
                self.threads -= 1
                if self.threads > 0:
                    return  # another thread will come to it
                self.queue.remove(call)
            raise

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

    def run() -> _T:
        try:
            return fn(*args, **kwargs)
        finally:
            done()

    if _p.thread not in (0, _sys.thread_ident()):
        return run()
    try:
        call = _start(run, getattr(fn, "__qualname__", None) or type(fn).__qualname__)
    except BaseException:
        done()
        raise
    proc.gopark(call, 0, "blocking call")
    if call.exc is not None:
        try:
            raise call.exc
        finally:
            call.exc = None  # no cycle through the traceback
    result: _T = call.value
    return result


def _start(run: Callable[[], Any], what: str) -> _Call:
    gp = proc.getg()
    call = _Call(run, gp, what)
    _p.external += 1
    # Preempted with the pool's lock held, it would keep every other goroutine's call waiting.
    gp.nopreempt += 1
    try:
        _pool.submit(call)
    except BaseException:
        _p.external -= 1
        raise
    finally:
        gp.nopreempt -= 1
    return call


def counts() -> tuple[int, int, int]:
    """(threads alive, threads idle, calls queued)."""
    # Without the lock: who counts must not be able to wait.
    return _pool.threads, _pool.idle, len(_pool.queue)


def forked() -> None:
    """In a forked child: none of the threads exist."""
    global _pool
    _pool = _Pool()
