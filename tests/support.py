"""What the tests share: bodies run under gopark.run, waiting for a condition, other processes."""

import functools
import os
import select
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import gopark
from gopark.runtime import IS_COMPILED, g, proc

__all__ = [
    "IS_COMPILED",
    "descriptors",
    "diagnosis",
    "eventually",
    "goroutines",
    "parked",
    "python",
    "settle",
    "started",
]


def goroutines(test: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the test's body runs as the main goroutine of a gopark.run."""

    @functools.wraps(test)
    def body(*args: Any, **kwargs: Any) -> Any:
        return gopark.run(test, *args, **kwargs)

    return body


def settle() -> None:
    """In a goroutine: let the others run until all are parked."""
    while proc.getp().runqsize():
        gopark.gosched()


def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until *condition()* is true and return it; AssertionError after *seconds*.

    In a goroutine it parks in between, elsewhere it blocks the thread."""
    p = proc.getp()
    here = p.thread == threading.get_ident() and p.curg is not None
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s"
        (gopark.sleep if here else time.sleep)(0.001)


def started(goroutine: gopark.Goroutine) -> gopark.Goroutine:
    """Let the others run until *goroutine* has run and has parked or ended; the goroutine."""
    while goroutine.status == g.GRUNNABLE:
        gopark.gosched()
    return goroutine


def parked(goroutine: gopark.Goroutine, reason: str = "") -> gopark.Goroutine:
    """Let the others run until *goroutine* is parked (for *reason*, if given); the goroutine."""
    started(goroutine)
    eventually(lambda: goroutine.status == g.GWAITING and reason in goroutine.waitreason)
    return goroutine


def python(
    program: str, *, timeout: float = 30.0, check: bool = True, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run *program* in a Python of its own, with this core; never longer than *timeout* seconds.

    With *check* it must exit with 0."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def descriptors() -> list[int]:
    """The open descriptors of this process.  (A listing of /proc/self/fd is now and then cut short.)"""
    found = []
    for fd in range(16384):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found


def diagnosis(process: "subprocess.Popen[Any]") -> str:
    """Of a child whose end is waited for in vain: what its threads do, and who has the other ends of its pipes."""
    out = [f"pid {process.pid}, returncode {process.poll()}"]
    for task in _listing(f"/proc/{process.pid}/task"):
        at = f"/proc/{process.pid}/task/{task}"
        state = _text(f"{at}/stat").rpartition(")")[2][:2].strip()
        out.append(f"  thread {task}: {state} {_text(f'{at}/wchan')} syscall {_text(f'{at}/syscall')}")
    for name in ("stdout", "stderr"):
        stream = getattr(process, name)
        if stream is None or stream.closed:
            continue
        poller = select.poll()
        poller.register(stream.fileno(), select.POLLIN)
        events = dict(poller.poll(0)).get(stream.fileno(), 0)
        held = ["  " + line for line in _writers(os.readlink(f"/proc/self/fd/{stream.fileno()}"))]
        out.append(f"{name}: {'at its end' if events & select.POLLHUP else 'open'}, can be written to by")
        out += held or ["  nobody"]
    return "\n".join(out)


def _writers(pipe: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, _listing("/proc")):
        for fd in _listing(f"/proc/{pid}/fd"):
            try:
                same = os.readlink(f"/proc/{pid}/fd/{fd}") == pipe
            except OSError:
                continue
            flags = _text(f"/proc/{pid}/fdinfo/{fd}").partition("flags:")[2].split()[:1]
            if same and flags and int(flags[0], 8) & os.O_ACCMODE != os.O_RDONLY:
                command = _text(f"/proc/{pid}/cmdline").replace("\0", " ")[:200]
                parent = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1:2]
                found.append(f"pid {pid} (parent {''.join(parent)}), descriptor {fd}: {command!r}")
    return found


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        with open(path, errors="replace") as f:
            return f.read().strip()
    except OSError:
        return "?"
