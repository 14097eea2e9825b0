"""Coroutines of async libraries, awaited from goroutines; and goroutines, awaited from coroutines.

    reply = gopark.aio.wait(client.get("http://example.org/"))       # in a goroutine: parks until the coroutine has ended
    answer = await gopark.aio.future(gopark.go(compute, 42))         # in a coroutine: awaits a goroutine

There is one asyncio loop for all of them.  It runs in a goroutine of its own, is started when it is needed first, and ends
with the runtime.  Its selector parks that goroutine instead of blocking the thread: an epoll instance is a descriptor that
becomes readable when one of its own does, so netpoll waits for it as for any other.

What Python remembers for a thread, it would take for true of all goroutines: that this loop is running, and who is told of
asynchronous generators.  So it is put aside whenever the loop's goroutine lets go of the thread (aside).

What must not live here: programs' own loops (asyncio.run in a goroutine): gopark.patch sees to those.
"""

import asyncio
import contextvars
import inspect
import os
import selectors
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gopark.runtime import _sys, fork, g, lifecycle, netpoll, polldesc, pollstate, proc, sysmon
from gopark.runtime.g import Cancelled, Goroutine
from gopark.runtime.note import Note
from gopark.runtime.p import RUNNING
from gopark.sync.onend import on_end

__all__ = ["future", "wait"]

_T = TypeVar("_T")
_R = pollstate.MODE_R
_LOOK_AGAIN = 0.005  # s: while a run ends, between two looks whether anybody is left who could use the loop
_CANCELS = 4  # so often a run's end may cancel the loop for the sake of others that do not end
_p = proc.getp()


# -- the loop ----------------------------------------------------------------------------------------------------------


class _Selector(selectors.EpollSelector):
    """An EpollSelector whose waits park the goroutine."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = Note()
        self.patient = False  # nothing but wake can end the wait
        self.pd = netpoll.poll_open(super().fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Netpoll says when something becomes ready, not that it is: first forget, then look, then wait.
        self.idle.clear()
        if self.pd.rd:
            netpoll.poll_set_deadline(self.pd, 0, _R)  # the last wait's; past it, nothing would be forgotten
        netpoll.poll_reset(self.pd, _R)
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            aside(proc.gosched)  # the others' turn, between two rounds of callbacks
            return ready
        aside(self.park, timeout)
        return super().select(0)

    def park(self, timeout: float | None) -> None:
        gp = proc.getg()
        gp.shield -= 1  # here, and nowhere else, the loop is cancelled
        try:
            if timeout is None and self.patient and len(self.get_map()) <= 1:
                # Not in the poller: nobody waits for the network, and a deadlock of all the others is to be noticed.
                self.idle.sleep("aio: idle loop")
                return
            if timeout is not None:
                when = proc.deadline_after(proc.seconds_to_ns(timeout, "timeout"))
                netpoll.poll_set_deadline(self.pd, when, _R)
            netpoll.poll_wait(self.pd, _R)
        finally:
            gp.shield += 1

    def wake(self) -> None:
        """End the wait, or the next one.  Runtime's thread only."""
        if not self.pd.closing:
            netpoll.netpollgoready(polldesc.netpollunblock(self.pd, _R, True))
            self.idle.wakeup()

    def close(self) -> None:
        if not self.pd.closing:
            netpoll.poll_unblock(self.pd)
            netpoll.poll_close(self.pd)
        super().close()


def aside(call: Callable[..., object], *args: Any) -> None:
    """call(*args), in which other goroutines run: they see neither a running loop nor its hooks."""
    loop = asyncio._get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    task = None
    if sys.version_info >= (3, 14) and loop is not None:
        task = asyncio.tasks._swap_current_task(loop, None)  # from there on the thread's, too
    asyncio._set_running_loop(None)
    sys.set_asyncgen_hooks(None, None)
    try:
        call(*args)
    finally:
        sys.set_asyncgen_hooks(*hooks)
        asyncio._set_running_loop(loop)
        if sys.version_info >= (3, 14) and task is not None:
            asyncio.tasks._swap_current_task(loop, task)


class _Loop(asyncio.SelectorEventLoop):
    """The loop, as asyncio has it, with a selector that parks; other goroutines on this thread may call it."""

    def __init__(self) -> None:
        self.selector = _Selector()
        try:
            super().__init__(self.selector)
        except BaseException:
            self.selector.close()
            raise

    def _run_once(self) -> None:
        self.selector.patient = not self._signal_handlers  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]

    def _write_to_self(self) -> None:
        """What call_soon_threadsafe ends with.  From any thread."""
        proc.on_p(self.selector.wake)

    def _check_thread(self) -> None:
        """In debug mode asyncio has an opinion on who may call it."""
        if proc.elsewhere():
            super()._check_thread()  # type: ignore[misc]


class _Service:
    """The loop and its goroutine."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self.waits: set[_Wait] = set()
        self.cancels = 0
        # With no context variables: the first caller's are none of the others' business.
        self.goroutine = contextvars.Context().run(proc.go, self.main)
        self.goroutine.name = "gopark.aio"
        self.goroutine.shield += 1
        sysmon.around[self.goroutine] = aside

    def main(self) -> None:
        try:
            self.serve()
        finally:
            retire(self)
            try:
                self.finish()
            finally:
                asyncio._set_running_loop(None)
                sysmon.around.pop(self.goroutine, None)

    def serve(self) -> None:
        while True:
            try:
                self.loop.run_forever()
                if self.cancels:
                    return
            except Cancelled:
                # With the others of a run that ends: their clean-up may need the loop.
                self.cancels += 1
                if _p.state <= RUNNING or self.cancels > _CANCELS:
                    return
                self.loop.call_soon(self.look)
            except (KeyboardInterrupt, SystemExit) as e:
                # asyncio lets them out of the loop, besides giving them to who awaits the task.
                if not any(w.task.done() and w.outcome() is e for w in self.waits):
                    proc.interrupt(_p.maing, e)  # type: ignore[arg-type]

    def look(self) -> None:
        """The run ends: does anybody but the main goroutine live who could use the loop?"""
        if lifecycle.awaited() - {_p.reaper, self.goroutine}:
            self.loop.call_later(_LOOK_AGAIN, self.look)
        else:
            self.loop.stop()

    def finish(self) -> None:
        """End what tasks there are, as asyncio.run does, and the loop."""
        loop = self.loop
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
            for task in tasks:
                if not task.cancelled() and task.exception() and not any(w.task is task for w in self.waits):
                    message = "unhandled exception at the end of gopark's loop"
                    loop.call_exception_handler(
                        {"message": message, "exception": task.exception(), "task": task}
                    )
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            for wait in list(self.waits):
                wait.end()
            loop.close()


_service: _Service | None = None


def service() -> _Service:
    global _service
    with sysmon.no_preempt():  # or two who come at once make two
        if _service is None or _service.goroutine.done:
            _service = _Service()
        return _service


def retire(old: _Service) -> None:
    global _service
    if _service is old:
        _service = None


def _forked() -> None:
    """In a forked child: the loop, and the epoll instance that it shares with this process, are the parent's."""
    global _service
    old = _service
    _service = None
    if old is not None:
        # Not by the loop's own close, which would unregister in the parent's epoll instance as well.
        old.loop.selector.close()
        fork.keep(old)


os.register_at_fork(after_in_child=_forked)


# -- goroutines that await coroutines ----------------------------------------------------------------------------------


class _Wait(Note):
    """A goroutine's wait for a task."""

    def __init__(self, owner: _Service, task: "asyncio.Future[Any]") -> None:
        super().__init__()
        self.owner = owner
        self.task = task
        owner.waits.add(self)
        task.add_done_callback(self.end)
        owner.loop.selector.wake()

    def describe(self, mode: int) -> str:
        return _name(self.task)

    def end(self, task: "asyncio.Future[Any] | None" = None) -> None:
        self.owner.waits.discard(self)
        self.wakeup()

    def cancel(self) -> None:
        self.task.cancel()
        self.owner.loop.selector.wake()

    def outcome(self) -> BaseException | None:
        """The exception of the task, which has ended; it is never said then that nobody looked at it."""
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()


def _name(task: "asyncio.Future[Any]") -> str:
    if not isinstance(task, asyncio.Task):
        return ""
    coroutine: Any = task.get_coro()
    code = getattr(coroutine, "cr_code", None)
    return f"{task.get_name()} {code.co_qualname}" if code is not None else task.get_name()


def wait(awaitable: Awaitable[_T], timeout: float | None = None) -> _T:
    """Run *awaitable* (a coroutine, or what else can be awaited) on gopark's asyncio loop and park until it has ended; return
    its result or raise its exception.

    It is awaited as if the goroutine were a coroutine: it sees the goroutine's context variables, and what it sets is set
    afterwards.  If the goroutine is cancelled, so is the task, and Cancelled is raised when that has ended, whatever it
    made of it.  If the task is cancelled (by another one), asyncio.CancelledError is raised here.
    TimeoutError after *timeout* seconds; the task is cancelled then, and has ended.
    RuntimeError in a coroutine (await it there), and on a thread that gopark does not run on."""
    try:
        when = 0
        if timeout is not None:
            when = proc.deadline_after(max(proc.seconds_to_ns(timeout, "aio.wait: timeout"), 0))
        _check(awaitable)
        owner = service()
        context = contextvars.copy_context()
        pending = _Wait(owner, _task(awaitable, owner.loop, context))
    except BaseException:
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # it was not awaited, and that has been said
        raise
    interrupted, late = _await(pending, when)
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)
    result: _T = _result(pending, interrupted, late)
    return result


_UNSET: Any = object()


def _await(pending: _Wait, when: int) -> tuple[BaseException | None, bool]:
    """Park until the task has ended: (what was raised in the goroutine meanwhile, whether the time was up)."""
    interrupted: BaseException | None = None
    late = False
    while not pending.woken:
        try:
            if when == 0:
                pending.sleep("aio.wait")
            elif not pending.sleep_until("aio.wait", when):
                when = 0
                late = True
                pending.cancel()
        except BaseException as e:
            if interrupted is None or isinstance(interrupted, Cancelled):
                interrupted = e
            pending.cancel()
    return interrupted, late


def _result(pending: _Wait, interrupted: BaseException | None, late: bool) -> Any:
    task = pending.task
    if not task.done():  # the loop was ended with force
        task.cancel()
        raise interrupted or Cancelled()
    exc = None if task.cancelled() else task.exception()
    try:
        if interrupted is not None:
            if interrupted.__context__ is None and exc is not interrupted:
                interrupted.__context__ = exc
            raise interrupted
        if late and task.cancelled():
            raise TimeoutError("aio.wait: it did not end in time, and was cancelled")
        return task.result()
    finally:
        del interrupted, exc, task, pending  # no cycle through the traceback


def _check(awaitable: object) -> None:
    if inspect.iscoroutinefunction(awaitable):
        name = getattr(awaitable, "__qualname__", awaitable)
        raise TypeError(f"aio.wait: pass what {name}(...) returns, not the function")
    if not inspect.isawaitable(awaitable):
        raise TypeError(f"aio.wait: pass a coroutine, or something else to await, not {awaitable!r}")
    if _p.curg is None or _p.thread != _sys.thread_ident():
        g.rare().enter("aio.wait")
    running = asyncio._get_running_loop()
    if running is None:
        return
    if _service is None or running is not _service.loop:
        raise RuntimeError(
            "aio.wait: this is called from a coroutine (or a callback) of an asyncio loop, which would stand still "
            "meanwhile: use await"
        )
    if _p.curg is _service.goroutine:
        raise RuntimeError("aio.wait: this is called from a coroutine on gopark's own loop: use await")


def _task(
    awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop, context: contextvars.Context
) -> "asyncio.Future[Any]":
    if isinstance(awaitable, asyncio.Future):
        if awaitable.get_loop() is not loop:
            raise ValueError(f"aio.wait: {awaitable!r} belongs to another loop")
        return awaitable
    coroutine: Coroutine[Any, Any, Any]
    coroutine = awaitable if inspect.iscoroutine(awaitable) else _awaited(awaitable)
    # Not by the loop's task factory: an eager one would run the coroutine here.
    return asyncio.Task(coroutine, loop=loop, context=context)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


# -- coroutines that await goroutines ----------------------------------------------------------------------------------


class _Future(asyncio.Future[Any]):
    """A goroutine, as asyncio sees a task: cancel asks it to end, and when it has, the future is done."""

    def __init__(self, goroutine: Goroutine) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.goroutine = goroutine

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self.goroutine.cancel()
        return True

    def ended(self) -> None:
        """On whatever thread."""
        try:
            self.get_loop().call_soon_threadsafe(self.take)
        except RuntimeError:
            pass  # the loop is closed, and nobody awaits it any more

    def take(self) -> None:
        if self.done():
            return
        try:
            self.set_result(self.goroutine.result())
        except Cancelled:
            super().cancel()
        except StopIteration as e:
            # No future can hold one: what raises it looks like the end of a generator.
            error = RuntimeError(f"{self.goroutine!r} raised StopIteration")
            error.__cause__ = e
            self.set_exception(error)
        except BaseException as e:
            self.set_exception(e)


def future(goroutine: Goroutine) -> "asyncio.Future[Any]":
    """In a coroutine, on whatever asyncio loop: a future of *goroutine*'s result, to be awaited.

    It is to the goroutine what a task is to its coroutine: cancelling the future, or the task that awaits it, cancels the
    goroutine, and it is done when the goroutine has ended.  A goroutine that was cancelled raises asyncio.CancelledError."""
    if not isinstance(goroutine, Goroutine):
        raise TypeError(f"aio.future: goroutine must be what gopark.go returns, not {goroutine!r}")
    if asyncio._get_running_loop() is None:
        raise RuntimeError("aio.future: this is no coroutine: call goroutine.result() instead")
    made = _Future(goroutine)
    on_end(goroutine, made.ended)
    return made
