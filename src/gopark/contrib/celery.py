"""A pool for Celery's worker: each task is a goroutine of a patched process.

    CELERY_CUSTOM_WORKER_POOL=gopark.contrib.celery:TaskPool celery -A proj worker --pool custom --concurrency 1000

A task's process id, as `celery inspect active` shows it, is its goroutine's id, as `gopark ps` shows it.  Revoking a task
with terminate, and its hard time limit, cancel its goroutine; its soft time limit raises SoftTimeLimitExceeded in it.  Both
arrive where it waits, and where it computes in Python: at its next preemption, within 10 ms.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded, Terminated
from celery.concurrency.base import BasePool
from celery.utils.log import get_logger

from gopark import hook
from gopark.runtime import proc, sysmon
from gopark.runtime.g import Cancelled, Goroutine
from gopark.runtime.proc import go
from gopark.sync import WaitGroup
from gopark.time import Timer, after_func

_STOPPED = 5.0  # s: for the clean-up of tasks when the worker is made to end

logger = get_logger("celery.pool")


class Job:
    """A task that was applied: it waits for its turn, then it is a goroutine."""

    def __init__(self, pool: "TaskPool", target: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.pool = pool
        self.target = target
        self.args = args or ()
        self.kwargs = kwargs or {}
        self.callback: Any = None  # with what target returns
        self.error_callback: Any = None
        self.accept_callback: Any = None  # when its turn has come
        self.timeout_callback: Any = None
        self.soft: float | None = None  # s
        self.hard: float | None = None
        self.goroutine: Goroutine | None = None
        self.running = False  # target is
        self.ended: BaseException | None = None  # why it was made to end

    def run(self) -> None:
        timers: list[Timer] = []
        try:
            pid = proc.getg().id
            if self.accept_callback is not None:
                self.accept_callback(pid, time.monotonic())
            if self.soft:
                timers.append(after_func(self.soft, self.soft_limit))
            if self.hard:
                timers.append(after_func(self.hard, self.hard_limit))
            self.running = True
            try:
                if self.ended is not None:  # while its acceptance was told
                    raise Cancelled
                result = self.target(*self.args, **self.kwargs)
            finally:
                self.running = False
                for timer in timers:
                    timer.stop()
        except BaseException as e:
            self.failed(e)
        else:
            if not isinstance(self.ended, TimeoutError) and self.callback is not None:
                self.callback(result)

    def failed(self, exc: BaseException) -> None:
        if isinstance(self.ended, TimeoutError):
            return  # that has been said
        if self.ended is not None and isinstance(exc, Cancelled):
            exc = self.ended
        try:
            try:
                raise exc
            except BaseException:
                if self.error_callback is not None:
                    self.error_callback(ExceptionInfo())
        except Exception:
            logger.exception("Task's failure cannot be reported")
        if isinstance(exc, Cancelled):
            raise exc  # not by us: the worker ends

    def soft_limit(self) -> None:
        if self.running and self.goroutine is not None and self.ended is None:
            if self.timeout_callback is not None:
                self.timeout_callback(True, self.soft)
            if self.running:
                sysmon.interrupt(self.goroutine, SoftTimeLimitExceeded(self.soft))

    def hard_limit(self) -> None:
        if self.running and self.ended is None:
            self.end(TimeoutError())
            if self.timeout_callback is not None:
                self.timeout_callback(False, self.hard)

    def end(self, why: BaseException) -> None:
        """Cancel it, once."""
        if self.ended is None and self.goroutine is not None:
            self.ended = why
            if self.running:
                sysmon.interrupt(self.goroutine, Cancelled())

    def terminate(self, signum: Any) -> None:
        """Celery calls this besides the pool's terminate_job, which has done it, or will when the job is accepted."""


class TaskPool(BasePool):  # type: ignore[misc]
    """`CELERY_CUSTOM_WORKER_POOL=gopark.contrib.celery:TaskPool`."""

    limit: int
    signal_safe = False
    task_join_will_block = False  # a task may wait for another one's result
    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hook.patch()
        self.soft_limit = kwargs.get("soft_timeout")
        self.hard_limit = kwargs.get("timeout")
        self.waiting: deque[Job] = deque()
        self.jobs: dict[int, Job] = {}  # by goroutine
        self.unfinished = WaitGroup()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        error_callback: Any = None,
        accept_callback: Any = None,
        timeout_callback: Any = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Job:
        job = Job(self, target, args, kwargs)
        job.callback, job.error_callback = callback, error_callback
        job.accept_callback, job.timeout_callback = accept_callback, timeout_callback
        job.soft, job.hard = soft_timeout or self.soft_limit, timeout or self.hard_limit
        self.unfinished.add(1)
        self.waiting.append(job)
        self.start_more()
        return job

    def start_more(self) -> None:
        while self.waiting and len(self.jobs) < self.limit:
            job = self.waiting.popleft()
            job.goroutine = go(self.run_job, job)
            job.goroutine.name = "celery task"
            self.jobs[job.goroutine.id] = job

    def run_job(self, job: Job) -> None:
        try:
            job.run()
        except Exception:
            logger.exception("Task's result cannot be reported")
        finally:
            assert job.goroutine is not None
            self.jobs.pop(job.goroutine.id, None)
            self.unfinished.done()
            self.start_more()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        job = self.jobs.get(pid)
        if job is not None:
            job.end(Terminated(signal))

    def on_stop(self) -> None:
        """Warm: what was applied is finished."""
        self.unfinished.wait()

    def on_terminate(self) -> None:
        """Cold: what has begun is cancelled, and the rest never begins."""
        while self.waiting:
            self.waiting.pop()
            self.unfinished.done()
        for job in list(self.jobs.values()):
            job.end(Terminated(0))
        go(self.unfinished.wait).join(_STOPPED)

    def grow(self, n: int = 1) -> None:
        self.limit += n
        self.start_more()

    def shrink(self, n: int = 1) -> None:
        self.limit = max(self.limit - n, 1)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        return info | {"goroutines": len(self.jobs), "waiting": len(self.waiting)}
