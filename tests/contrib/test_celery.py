"""gopark.contrib.celery:TaskPool, and Celery's own thread pool under gopark run, with a real redis as broker."""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery", reason="Celery is not installed")
pytest.importorskip("redis", reason="redis-py is not installed")

from contrib.serving import NEEDED, Server, serving
from support import eventually

pytestmark = NEEDED

TASKS = '''
"""The tests' tasks."""
import os, threading, time
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True, task_track_started=True,
                worker_hijack_root_logger=False, result_expires=60, task_default_queue=os.environ["QUEUE"])

@app.task
def sleep(seconds):
    time.sleep(seconds)
    return threading.get_ident()

@app.task
def fail():
    raise ValueError("on purpose")

def spin(end):
    while time.monotonic() < end:
        pass

@app.task
def compute(seconds, path=None):
    try:
        spin(time.monotonic() + seconds)
    except SoftTimeLimitExceeded:
        return "out of time"
    finally:
        if path:
            open(path, "w").close()
    return "computed"

@app.task
def tidy(path):
    """Waits, and says when it is made to end."""
    try:
        time.sleep(3600)
    except SoftTimeLimitExceeded:
        return "out of time"
    finally:
        open(path, "w").close()

@app.task
def threads():
    return len(os.listdir("/proc/self/task"))

@app.task
def nested(n):
    return sleep.delay(0.01).get(timeout=10) is not None and n
'''

POOL = {"CELERY_CUSTOM_WORKER_POOL": "gopark.contrib.celery:TaskPool"}
WORKER = ["worker", "--without-gossip", "--without-mingle", "--loglevel", "info", "--events"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis of its own, as a URL."""
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "s"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([command, *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            eventually(path.exists)
            yield f"redis+socket://{path}"
        finally:
            process.terminate()


class Worker:
    """A worker process, and the application as a client sees it."""

    def __init__(self, server: Server, app: Any) -> None:
        self.server = server
        self.app = app
        self.name = f"{app.conf.task_default_queue}@here"

    def inspect(self) -> Any:
        return self.app.control.inspect(destination=[self.name], timeout=1)

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.send_task(f"tasks.{name}", args, **options)


@contextlib.contextmanager
def worker(broker: str, tmp_path: Path, arguments: list[str], **env: str) -> Iterator[Worker]:
    from celery import Celery

    queue = tmp_path.name  # each worker has its own: what one leaves is none of the next one's
    (tmp_path / "tasks.py").write_text(TASKS)
    variables = {"BROKER": broker, "QUEUE": queue, **env}
    with (
        serving(arguments, tmp_path, ready=r"\bready\.", **variables) as server,
        Celery("client", broker=broker, backend=broker) as app,
    ):
        app.conf.task_default_queue = queue
        yield Worker(server, app)


def custom(broker: str, tmp_path: Path, *options: str) -> Any:
    arguments = [
        "-m",
        "celery",
        "-A",
        "tasks",
        *WORKER,
        "--pool",
        "custom",
        "-n",
        f"{tmp_path.name}@here",
        *options,
    ]
    return worker(broker, tmp_path, arguments, **POOL)


@pytest.fixture(scope="module")
def shared(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker for the tests that leave it as it was."""
    with custom(broker, tmp_path_factory.mktemp("shared"), "-c", "200") as w:
        w.send("sleep", 0).get(timeout=15)
        yield w


def state(result: Any, wanted: str) -> None:
    eventually(lambda: result.state == wanted)


def test_tasks_that_wait_run_at_once(shared: Worker) -> None:
    w = shared
    began = time.monotonic()
    results = [w.send("sleep", 0.5) for _ in range(150)]
    idents = {result.get(timeout=20) for result in results}
    assert time.monotonic() - began < 6.0
    assert len(idents) > 20  # each has an identity of its own
    assert w.send("threads").get(timeout=10) < 10


def test_no_more_than_the_concurrency_run_at_once(broker: str, tmp_path: Path) -> None:
    with custom(broker, tmp_path, "-c", "2") as w:
        w.send("sleep", 0).get(timeout=15)
        began = time.monotonic()
        for result in [w.send("sleep", 0.2) for _ in range(6)]:
            result.get(timeout=10)
        assert time.monotonic() - began >= 0.55


def test_a_task_that_fails_is_a_failure(shared: Worker) -> None:
    w = shared
    with pytest.raises(ValueError, match="on purpose"):
        w.send("fail").get(timeout=15)
    assert w.send("nested", 7).get(timeout=10) == 7


def test_terminate_cancels_a_task_and_runs_its_clean_up(shared: Worker, tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    w = shared
    for name, args in (("tidy", (str(cleaned),)), ("compute", (30, str(cleaned)))):
        result = w.send(name, *args)
        state(result, "STARTED")
        began = time.monotonic()
        w.app.control.revoke(result.id, terminate=True)
        state(result, "REVOKED")
        eventually(cleaned.exists)
        assert time.monotonic() - began < 5.0
        cleaned.unlink()
    assert w.send("sleep", 0).get(timeout=10)  # its place is free, and the worker well


def test_a_revoked_task_that_waits_for_its_turn_never_runs(broker: str, tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    with custom(broker, tmp_path, "-c", "1") as w:
        first = w.send("sleep", 1.0)
        state(first, "STARTED")
        second = w.send("tidy", str(cleaned))
        inspect = w.inspect()
        eventually(
            lambda: any(t["id"] == second.id for ts in (inspect.reserved() or {}).values() for t in ts)
        )
        w.app.control.revoke(second.id, terminate=True)
        state(second, "REVOKED")
        assert first.get(timeout=10)
        assert w.send("sleep", 0).get(timeout=10)
        assert not cleaned.exists()


def test_the_soft_time_limit_is_an_exception_in_the_task(shared: Worker, tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    w = shared
    waits = w.send("tidy", str(cleaned), soft_time_limit=0.3)
    computes = w.send("compute", 30, soft_time_limit=0.3)
    assert waits.get(timeout=10) == "out of time"
    assert computes.get(timeout=10) == "out of time"
    assert "Soft time limit" in w.server.text()


def test_the_hard_time_limit_ends_the_task(shared: Worker, tmp_path: Path) -> None:
    from celery.exceptions import TimeLimitExceeded

    cleaned = tmp_path / "cleaned"
    w = shared
    for name, args in (("tidy", (str(cleaned),)), ("compute", (30, str(cleaned)))):
        with pytest.raises(TimeLimitExceeded):
            w.send(name, *args, time_limit=0.3).get(timeout=10)
        eventually(cleaned.exists)
        cleaned.unlink()
    assert w.send("sleep", 0).get(timeout=10)


def test_the_pool_shows_itself_and_grows(broker: str, tmp_path: Path) -> None:
    with custom(broker, tmp_path, "-c", "3") as w:
        w.send("sleep", 0).get(timeout=15)
        pool = next(iter(w.inspect().stats().values()))["pool"]
        assert pool["implementation"] == "gopark.contrib.celery:TaskPool"
        assert (pool["max-concurrency"], pool["waiting"]) == (3, 0)
        w.app.control.pool_grow(2, reply=True, destination=[w.name])
        pool = next(iter(w.inspect().stats().values()))["pool"]
        assert pool["max-concurrency"] == 5


def test_term_finishes_what_has_begun(broker: str, tmp_path: Path) -> None:
    with custom(broker, tmp_path, "-c", "4") as w:
        result = w.send("sleep", 0.7)
        state(result, "STARTED")
        began = time.monotonic()
        assert w.server.stop() == 0
        assert time.monotonic() - began < 8.0
        assert result.get(timeout=1)


def test_quit_does_not(broker: str, tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    with custom(broker, tmp_path, "-c", "4") as w:
        state(w.send("tidy", str(cleaned)), "STARTED")
        began = time.monotonic()
        w.server.stop(signal.SIGQUIT)
        assert time.monotonic() - began < 8.0
        assert cleaned.exists()


def test_celerys_thread_pool_unchanged(broker: str, tmp_path: Path) -> None:
    """`gopark run -m celery worker --pool threads --concurrency 1000`."""
    arguments = ["-m", "gopark", "run", "-m", "celery", "-A", "tasks", *WORKER]
    arguments += ["--pool", "threads", "-c", "1000", "-n", f"{tmp_path.name}@here"]
    with worker(broker, tmp_path, arguments) as w:
        w.send("sleep", 0).get(timeout=15)
        began = time.monotonic()
        results = [w.send("sleep", 0.5) for _ in range(150)]
        assert len({result.get(timeout=20) for result in results}) > 20
        assert time.monotonic() - began < 6.0
        assert w.send("threads").get(timeout=10) < 10
        assert w.server.stop() == 0


def test_a_task_that_hangs_is_found_with_dump(shared: Worker, tmp_path: Path) -> None:
    w = shared
    result = w.send("tidy", str(tmp_path / "cleaned"))
    state(result, "STARTED")
    command = [sys.executable, "-m", "gopark", "dump", str(w.server.process.pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert re.search(r"tasks\.tidy\(\.\.\.\)\n\t.*tasks\.py", done.stdout)
    active = next(iter(w.inspect().active().values()))
    assert f"goroutine {active[0]['worker_pid']} " in done.stdout
    w.app.control.revoke(result.id, terminate=True)
