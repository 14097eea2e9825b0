# cython: nonecheck=True
"""Blocking calls: fn runs on an OS thread, the calling goroutine parks.

For what can block and cannot be polled: name look-ups, files, C libraries.  The pool starts a thread when a call finds
none idle, up to a limit; beyond it calls queue.  A thread that was idle for some seconds ends.  Calls of one kind may
have a limit of their own (Gate): those of one file, one at a time; look-ups, so that those which hang leave threads to
others.

Nothing here is guarded by a lock.  A signal handler or a finalizer, which may come while one is held, would wait for
itself if it made a blocking call; one that raises would leave it locked.  Instead every change is one step that takes
a call from one sound state to the next: plain attribute accesses with no call and no loop among them, between which
neither another thread nor a handler comes (see sync/waiters.py, which rests on the same).  That is why putting a call at
the end of the queue is written out where it happens.  What has to follow such a step (a thread is to be woken, or started)
may be cut off by an exception in the interpreted core; then whoever submitted the call takes it back.
"""

import _thread
import atexit
import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from gopark.runtime import _sys, cpus, proc
from gopark.runtime.g import GWAITING, FatalError, Goroutine, ParkLock, waiting_threads

_P = ParamSpec("_P")
_T = TypeVar("_T")

IDLE_SECONDS = 5.0  # an idle thread ends after so long
MAX_THREADS = max(64, 4 * cpus.usable())

_PARKED = GWAITING

# Call.state
_NEW = 0
_GATED = 1  # waits at its gate
_QUEUED = 2  # waits for a thread
_RUNNING = 3  # a thread has it
_OVER = 4  # it has ended, or will never begin

_p = proc.getp()


class Queue:
    """Calls that wait, first come first served; they are linked through their own fields."""

    def __init__(self) -> None:
        self.head: Call | None = None
        self.tail: Call | None = None
        self.size = 0


class Gate(Queue):
    """At most *limit* of the calls that go through it run at a time; the others wait before it."""

    def __init__(self, limit: int) -> None:
        Queue.__init__(self)
        self.limit = limit
        self.running = 0  # calls that are past it: they run, or wait for a thread
        self.pool: Pool | None = None  # whose calls these are: a forked child has another


class Call(ParkLock):
    """One call: what its goroutine parks on, and where the thread leaves the outcome."""

    def __init__(
        self, gate: Gate | None, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.gate = gate
        self.fn: Callable[..., Any] | None = fn
        self.args: tuple[Any, ...] | None = args
        self.kwargs: dict[str, Any] | None = kwargs
        self.ctx: Any = contextvars.copy_context()
        self.what: str = getattr(fn, "__qualname__", None) or type(fn).__qualname__  # for dumps
        self.state = _NEW
        self.before: Call | None = None  # neighbours at the gate, or in the pool's queue
        self.after: Call | None = None
        self.gp: Goroutine | None = None  # who is to be woken; None: a thread, or nobody any more
        self.lock: Any = None  # of a thread that runs the call itself: locked while it waits at the gate
        self.thread = 0  # ident of the pool's thread that runs it, while it does: dumps show its frames
        self.value: Any = None
        self.exc: BaseException | None = None

    def parkcommit(self, gp: Goroutine, mode: int) -> bool:  # atomic
        return self.state != _OVER

    def parkcancel(self, gp: Goroutine, mode: int) -> bool:  # atomic
        """Nobody waits for it any more: take it back if no thread has begun with it, else what it returns is dropped."""
        if self.state == _OVER:
            return False
        self.gp = None
        lock = _pool.leave(self, False)
        if self.state == _OVER:
            _p.external -= 1
        if lock is not None:
            lock.release()  # safe: one of our own locks, C code
        return True

    def describe(self, mode: int) -> str:
        return str(self.what)

    def run(self) -> None:
        """On the pool's thread."""
        self.thread = _sys.thread_ident()
        try:
            self.value = self.ctx.run(self.fn, *self.args, **self.kwargs)  # type: ignore[misc,arg-type]
        except BaseException as e:
            self.exc = e
        finally:
            self.thread = 0
            self.drop()

    def drop(self) -> None:
        """What was to be called is the program's: its finalizers run here."""
        self.fn = self.args = self.kwargs = self.ctx = None

    def __call__(self) -> None:
        """On the runtime's thread, when it has run: what the pool's thread has injected."""
        if self.state != _RUNNING:
            raise FatalError("runtime: a blocking call has ended twice")
        self.state = _OVER
        _p.external -= 1
        gp = self.gp
        if gp is not None and gp.parklock is self and gp.status == _PARKED:
            proc.goready(gp)


class Worker:
    """One of the pool's threads."""

    def __init__(self, pool: "Pool", number: int) -> None:
        self.pool = pool
        self.number = number
        self.counted = False  # among the pool's threads
        self.lock = _locked()  # it waits here while it is idle
        self.over: Worker | None = None  # neighbours among the idle ones
        self.under: Worker | None = None

    def __del__(self) -> None:
        # The thread was not started, or died before it could do anything: then whoever counts on it needs another.
        if self.counted:
            self.counted = False
            self.pool.threads -= 1
            try:
                _p.inject(self.pool)
            except MemoryError:
                pass  # the next call will see to it


class Pool(Queue):
    """The threads, and the calls that wait for one."""

    def __init__(self) -> None:
        Queue.__init__(self)
        self.top: Worker | None = None  # the idle threads: the one that has been idle for the shortest time
        self.idle = 0
        self.threads = 0  # alive, or about to be
        self.started = 0  # ever, for names

    # -- steps ---------------------------------------------------------------------------------------------------------

    def enter(self, call: Call) -> Any:  # atomic
        """Put *call* where it waits for its turn.  What is to be released: an idle thread's lock."""
        gate = call.gate
        queue: Queue = self
        state = _QUEUED if call.lock is None else _RUNNING
        if gate is not None:
            if gate.pool is not self:
                # We are a forked child: who was on either side of the gate is the parent's.
                stale = gate.head  # noqa: F841  (released after the step)
                old = gate.pool  # noqa: F841
                gate.pool = self
                gate.head = gate.tail = None
                gate.running = gate.size = 0
            if gate.running >= gate.limit:
                queue = gate
                state = _GATED
            else:
                gate.running += 1
        call.state = state
        if state == _RUNNING:
            return None
        last = queue.tail
        call.before = last
        if last is None:
            queue.head = call
        else:
            last.after = call
        queue.tail = call
        queue.size += 1
        if state == _GATED:
            return None
        worker = self.top
        if worker is None:
            return None
        under = worker.under
        self.top = under
        if under is not None:
            under.over = None
        worker.under = None
        self.idle -= 1
        return worker.lock

    def leave(self, call: Call, ran: bool) -> Any:  # atomic
        """*call* has ended (*ran*), or is taken back if it has not begun; it is _OVER then.  What is to be released: the
        lock of a thread whose call is let through in its place."""
        gate = call.gate
        state = call.state
        if state == _GATED or state == _QUEUED:
            queue: Queue = self
            if state == _GATED and gate is not None:
                queue = gate
            before = call.before
            after = call.after
            if before is None:
                queue.head = after
            else:
                before.after = after
            if after is None:
                queue.tail = before
            else:
                after.before = before
            call.before = call.after = None
            queue.size -= 1
            call.state = _OVER
            if state == _GATED:
                return None
        elif not ran:
            return None
        if gate is None or gate.pool is not self:
            return None
        following = gate.head
        if gate.running <= 0:
            raise FatalError("runtime: a blocking call left a gate that none had entered")
        if following is None:
            gate.running -= 1
            return None
        assert following.state == _GATED and gate.running <= gate.limit
        after = following.after
        gate.head = after
        if after is None:
            gate.tail = None
        else:
            after.before = None
        following.after = None
        gate.size -= 1
        if following.lock is not None:
            following.state = _RUNNING
            return following.lock
        following.state = _QUEUED
        last = self.tail
        following.before = last
        if last is None:
            self.head = following
        else:
            last.after = following
        self.tail = following
        self.size += 1
        return None

    def take(self, worker: Worker) -> Call | None:  # atomic
        """The call that *worker* is to run; None: it is among the idle ones now."""
        call = self.head
        if call is None:
            under = self.top
            worker.under = under
            if under is not None:
                under.over = worker
            self.top = worker
            self.idle += 1
            return None
        after = call.after
        self.head = after
        if after is None:
            self.tail = None
        else:
            after.before = None
        assert call.state == _QUEUED and call.before is None
        call.after = None
        call.state = _RUNNING
        self.size -= 1
        assert self.size >= 0 and (self.size > 0) == (after is not None)
        return call

    def rouse(self) -> Any:  # atomic
        """An idle thread's lock, to be released, if there is a call for it and an idle thread."""
        worker = self.top
        if worker is None or self.head is None:
            return None
        under = worker.under
        self.top = under
        if under is not None:
            under.over = None
        worker.under = None
        self.idle -= 1
        return worker.lock

    def retire(self, worker: Worker) -> bool:  # atomic
        """*worker* ends; False: it has been given work just now."""
        over = worker.over
        under = worker.under
        if over is None and self.top is not worker:
            return False
        if over is None:
            self.top = under
        else:
            over.under = under
        if under is not None:
            under.over = over
        worker.over = worker.under = None
        self.idle -= 1
        self.threads -= 1
        worker.counted = False
        assert 0 <= self.idle <= self.threads
        return True

    # -- what follows them ---------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Have *call* run in its turn.  If this raises, the call is to be taken back."""
        lock = self.enter(call)
        if lock is not None:
            lock.release()
        elif call.state == _QUEUED:
            self.hire()

    def hire(self) -> None:
        """No thread is idle: start one more, unless there are enough."""
        if self.threads >= MAX_THREADS:
            return
        self.started += 1
        worker: Worker | None = None
        try:
            worker = Worker(self, self.started)
            worker.counted = True
            self.threads += 1
            # Not as a Thread: what its start does is Python code, where a signal handler could raise, or make a blocking
            # call itself.
            _thread.start_new_thread(self.serve, (worker,))
        except (RuntimeError, MemoryError):
            worker = None  # counts itself off, unless the thread runs all the same
            if self.threads == 0:
                raise
            # Another thread will come to it.

    def serve(self, worker: Worker) -> None:
        """What a thread of the pool does.  Nothing but a call may fail on it: the others would wait for it in vain."""
        try:
            introduce(worker.number)
            while (
                self is _pool
            ):  # a thread that has forked is alone in the child, and no thread of the pool's there
                call = self.take(worker)
                if call is not None:
                    call.run()
                    self.over(call)
                    call = None  # or an idle thread would keep the last result alive
                elif not idle(worker.lock):
                    if self.retire(worker):
                        return
                    renew(worker)
        finally:
            take_leave()
            if worker.counted and not self.retire(worker):
                # Something was raised in it: what it was to do, another has to.
                worker.counted = False
                self.threads -= 1
                self.staff()

    def __call__(self) -> None:
        """On the runtime's thread: a thread of ours was lost."""
        self.staff()

    def staff(self) -> None:
        """A call may wait that nobody was woken for: wake a thread, or start one."""
        lock = self.rouse()
        if lock is not None:
            lock.release()
        elif self.size > 0:
            self.hire()

    def over(self, call: Call) -> None:
        """*call* has run, on this thread of the pool."""
        lock = self.leave(call, True)
        if lock is not None:
            lock.release()
        while True:
            try:
                _p.inject(call)
                return
            except MemoryError:
                _patience.acquire(True, 0.001)  # (a thread of ours may wait)


def idle(lock: Any) -> bool:
    """Wait for work; False if it was too long."""
    try:
        woken: bool = lock.acquire(True, IDLE_SECONDS)
        return woken
    except Exception:  # no memory
        return False


def renew(worker: Worker) -> None:
    """*worker* had its time just when it was given work: whoever gave it may not have released its lock yet."""
    try:
        worker.lock = _locked()
    except Exception:
        pass  # no memory: at the worst it is woken once for nothing


def introduce(number: int) -> None:
    """Have this thread listed, by name, among threading's: it is not one that is to be waited for at the program's end."""
    try:
        idents.add(_sys.thread_ident())
        threading.current_thread().name = f"gopark-blocking-{number}"
    except Exception:
        pass  # no memory: it works as well without


def take_leave() -> None:
    """Undo introduce: threading does not notice the end of a thread that it has not started."""
    ident = _sys.thread_ident()
    idents.discard(ident)
    known: dict[int, threading.Thread] = getattr(threading, "_active", {})
    if isinstance(known.get(ident), threading._DummyThread):
        known.pop(ident, None)


def _locked() -> Any:
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


idents: set[int] = (
    set()
)  # of the pool's threads: they wake nobody but who waits for their calls, and those are counted
_pool = Pool()
_patience = _locked()  # never released


def blocking(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run fn(*args, **kwargs) on an OS thread and park until it is done; return its result or raise its exception.

    It sees the caller's contextvars.  If the caller is cancelled it gets Cancelled at once; the thread goes on to the end
    and its result is dropped.  Called on a thread that gopark does not run on, it simply calls fn."""
    if not callable(fn):
        raise TypeError(f"gopark.blocking: fn must be callable, not {fn!r}")
    if _p.thread not in (0, _sys.thread_ident()):
        return fn(*args, **kwargs)
    result: _T = park(None, fn, args, kwargs)
    return result


def blocking_at(gate: Gate, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """blocking, through *gate*: also on a thread that gopark does not run on, which blocks until it is its turn.

    A call whose caller is cancelled keeps its place until it has ended, on its thread; one that has not begun leaves it."""
    result: _T
    if _p.thread not in (0, _sys.thread_ident()):
        result = wait_here(gate, fn, args, kwargs)
    else:
        result = park(gate, fn, args, kwargs)
    return result


def park(gate: Gate | None, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One blocking call of the running goroutine."""
    gp = proc.getg()
    call = Call(gate, fn, args, kwargs)
    call.gp = gp
    _p.external += 1
    try:
        _pool.submit(call)
        proc.gopark(call, 0, "blocking call")
    except BaseException:
        # Cancelled; or raised before it was parked: no thread, no room on the stack, a signal handler.
        give_up(call)
        raise
    if call.exc is not None:
        try:
            raise call.exc
        finally:
            call.exc = None  # no cycle through the traceback
    return call.value


def give_up(call: Call) -> None:
    """Its goroutine does not wait for it (any more)."""
    gp = call.gp
    if gp is not None:
        if call.state == _NEW:
            call.state = _OVER
            call.gp = None
            _p.external -= 1
        else:
            call.parkcancel(gp, 0)
    if call.state == _OVER:
        call.drop()


def wait_here(gate: Gate, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """On a thread of its own: call fn when *gate* lets it through."""
    call = Call(gate, fn, args, kwargs)
    call.lock = _locked()
    me = _sys.thread_ident()
    pool = _pool
    try:
        pool.enter(call)
        if call.state == _GATED:
            waiting_threads[me] = call
            try:
                call.lock.acquire()
            finally:
                waiting_threads.pop(me, None)
        return fn(*args, **kwargs)
    finally:
        lock = pool.leave(call, call.state == _RUNNING)
        if lock is not None:
            lock.release()
        pool.staff()  # if it was a goroutine's call that was let through, no thread of the pool's knows


def counts() -> tuple[int, int, int]:
    """(threads alive, threads idle, calls that wait for a thread)."""
    return _pool.threads, _pool.idle, _pool.size


def forked() -> None:
    """In a forked child: none of the threads exist."""
    global _pool
    _pool = Pool()
    idents.clear()


def _keep_stdin() -> None:
    """A thread that reads standard input at the program's end holds that file's lock for ever, and the interpreter, which
    closes the file when it destroys it, aborts.  So it is not destroyed."""
    if _pool.threads != _pool.idle:
        for stream in (sys.stdin, sys.__stdin__):
            if stream is not None:
                _sys.immortalize(stream)


atexit.register(_keep_stdin)
