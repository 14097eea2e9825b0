"""A goroutine is not preempted where the thread is in the middle of something for others: in a trace function or a greenlet
hook, in a stream below a buffer, in a system call of C code; and who started gopark has no say in it."""

import ctypes
import errno
import gzip
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import greenlet
import pytest

import gopark
from gopark import go
from gopark.runtime import sysmon
from support import IS_COMPILED, goroutines, python


@pytest.fixture
def short_slice() -> Iterator[None]:
    sysmon.set_slice(200_000)
    yield
    sysmon.set_slice(sysmon.SLICE_NS)


def spin(n: int = 3000) -> None:
    for _ in range(n):
        pass


# -- hooks of the thread -------------------------------------------------------------------------------------------------


def leaf() -> None:
    pass


def calls(n: int) -> None:
    for _ in range(n):
        leaf()


def counted(seen: dict[str, int], name: str) -> None:
    if name in ("leaf", "calls"):
        seen[name] = seen.get(name, 0) + 1
        spin(300)


@goroutines
def test_a_profile_function_sees_the_calls_of_all_goroutines(short_slice: None) -> None:
    seen: dict[str, int] = {}

    def profile(frame: Any, event: str, arg: object) -> None:
        if event == "call":
            counted(seen, frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        for gp in [go(calls, 500) for _ in range(3)]:
            gp.join(30)
    finally:
        sys.setprofile(None)
    assert seen == {"leaf": 1500, "calls": 3}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
@pytest.mark.parametrize("event", ["PY_START", "CALL", "LINE", "JUMP", "PY_RETURN"])
@goroutines
def test_sys_monitoring_sees_the_events_of_all_goroutines(short_slice: None, event: str) -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    seen: dict[str, int] = {}

    def callback(code: Any, *rest: object) -> None:
        counted(seen, code.co_name)

    def once() -> dict[str, int]:
        seen.clear()
        for gp in [go(calls, 300) for _ in range(3)]:
            gp.result(30)
        return dict(seen)

    monitoring.use_tool_id(monitoring.PROFILER_ID, "test")
    try:
        monitoring.register_callback(monitoring.PROFILER_ID, getattr(monitoring.events, event), callback)
        monitoring.set_events(monitoring.PROFILER_ID, getattr(monitoring.events, event))
        with gopark.no_preempt():
            seen.clear()
            calls(300)
            expected = {name: 3 * n for name, n in seen.items()}
        assert once() == expected
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)


@goroutines
def test_a_greenlet_hook_may_take_longer_than_a_time_slice(short_slice: None) -> None:
    events = 0

    def hook(event: str, args: object) -> None:
        nonlocal events
        events += 1
        spin(20_000)

    gps = [go(lambda: [gopark.sleep(0.0001) for _ in range(5)]) for _ in range(5)]
    greenlet.settrace(hook)
    try:
        for gp in gps:
            gp.result(30)
    finally:
        greenlet.settrace(None)
    assert events > 5


# -- streams ---------------------------------------------------------------------------------------------------------------


class Raw(io.RawIOBase):
    """A stream written in Python, as GzipFile's, a socket's, anybody's."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.at = 0

    def readable(self) -> bool:
        return True

    writable = seekable = readable

    def write(self, data: Any) -> int:
        spin()
        self.data += data
        return len(data)

    def readinto(self, room: Any) -> int:
        spin()
        got = self.data[self.at : self.at + len(room)]
        room[: len(got)] = got
        self.at += len(got)
        return len(got)

    def seek(self, offset: int, whence: int = 0) -> int:
        spin()
        self.at = offset
        return offset


class Duck:
    """A raw stream that is of no class of io's: tarfile has one."""

    closed = False

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        return self.raw.readinto(room)


LINE = b"x" * 99 + b"\n"


def write_lines(file: Any, n: int) -> None:
    for _ in range(n):
        file.write(LINE)


def read_lines(file: Any) -> int:
    n = 0
    while line := file.readline():
        assert line == LINE
        n += 1
    return n


@goroutines
def test_goroutines_may_write_to_a_buffer_above_a_stream_in_python(short_slice: None) -> None:
    raw = Raw()
    file = io.BufferedWriter(raw, 1000)
    for gp in [go(write_lines, file, 300) for _ in range(4)]:
        gp.result(30)
    file.flush()
    assert raw.data == LINE * 1200


@pytest.mark.parametrize("kind", [lambda raw: raw, Duck], ids=["of io's", "duck"])
@goroutines
def test_goroutines_may_read_from_a_buffer_above_a_stream_in_python(short_slice: None, kind: Any) -> None:
    raw = Raw()
    raw.data += LINE * 1200
    file = io.BufferedReader(kind(raw), 1000)
    assert sum(gp.result(30) for gp in [go(read_lines, file) for _ in range(4)]) == 1200


@goroutines
def test_goroutines_may_share_a_gzip_file(short_slice: None, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "file", "wb") as file:
        for gp in [go(write_lines, file, 500) for _ in range(4)]:
            gp.result(30)
    with gzip.open(tmp_path / "file", "rb") as file:
        assert sum(gp.result(30) for gp in [go(read_lines, file) for _ in range(4)]) == 2000


# -- system calls ----------------------------------------------------------------------------------------------------------


class PollFd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


@goroutines
def test_system_calls_of_c_libraries_are_not_interrupted() -> None:
    """Also not those that the kernel never restarts; and the others have their turn when the call is over."""
    libc = ctypes.CDLL(None, use_errno=True)
    r, w = os.pipe()
    room = ctypes.create_string_buffer(64)
    ep = libc.epoll_create1(0)
    waits: dict[str, Any] = {
        "poll": lambda: libc.poll(ctypes.byref(PollFd(r, 1, 0)), 1, 60),
        "usleep": lambda: libc.usleep(60_000),
        "epoll_wait": lambda: libc.epoll_wait(ep, room, 1, 60),
    }
    ran: list[int] = []
    for n, (name, wait) in enumerate(waits.items()):
        go(ran.append, n)
        ctypes.set_errno(0)
        assert wait() == 0, (name, errno.errorcode.get(ctypes.get_errno()))
        while n not in ran:
            spin(10)
    for fd in (r, w, ep):
        os.close(fd)


@goroutines
def test_pause_ends_with_the_programs_signal_and_no_earlier() -> None:
    old = signal.signal(signal.SIGUSR2, lambda *args: None)
    go(gopark.sleep, 0)
    sender = threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR2))
    start = time.monotonic()
    sender.start()
    signal.pause()
    assert time.monotonic() - start >= 0.1
    sender.join()
    signal.signal(signal.SIGUSR2, old)


# -- signals, collections --------------------------------------------------------------------------------------------------


def test_a_programs_sigurg_is_not_lost_where_a_preemption_is_refused() -> None:
    program = """
        import gopark, os, signal, time
        from gopark.runtime import sysmon
        got = []
        signal.signal(signal.SIGURG, lambda s, f: got.append(s))
        class Shown:
            def __repr__(self):
                for _ in range(30):
                    n = len(got)
                    time.sleep(0.0005)
                    os.kill(os.getpid(), signal.SIGURG)
                    while len(got) == n:
                        pass
                return "shown"
        def main():
            sysmon.set_slice(200_000)
            assert repr(Shown()) == "shown"
        gopark.run(main)
        print("ok")
    """
    assert python(program).stdout.strip() == "ok"


@pytest.mark.skipif(not IS_COMPILED, reason="its callbacks are Python functions")
def test_a_collection_at_the_recursion_limit_is_silent() -> None:
    program = """
        import gc, gopark, sys
        problems = []
        sys.unraisablehook = problems.append
        def deep():
            lists = [[] for _ in range(50)]
            deep()
        def main():
            gc.set_threshold(100)
            for _ in range(50):
                try: deep()
                except RecursionError: pass
            sys.unraisablehook = sys.__unraisablehook__
            before = gopark.statistics().preemptions
            while gopark.statistics().preemptions == before:
                pass
        gopark.run(main)
        print([p.exc_type for p in problems])
    """
    done = python(program)
    assert done.stdout.strip() == "[]" and done.stderr == ""


def test_a_signal_at_the_recursion_limit_raises_nothing() -> None:
    program = """
        import gopark, sys, time
        from gopark.runtime import sysmon
        def deep(n):
            if n:
                return deep(n - 1)
            end = time.monotonic() + 0.002
            while time.monotonic() < end:
                pass
        def depth():
            try:
                return depth() + 1
            except RecursionError:
                return 1
        def main():
            sysmon.set_slice(200_000)
            limit = depth() - 3
            for n in range(limit - 40, limit, 1):
                deep(n)
            print("ok")
        gopark.run(main)
    """
    if IS_COMPILED:
        assert python(program).stdout.strip() == "ok"


# -- who started gopark ----------------------------------------------------------------------------------------------------

HOG = """
import gopark, time
def main():
    ran = []
    gopark.go(ran.append, 1)
    end = time.monotonic() + 20
    while not ran and time.monotonic() < end:
        pass
    print("preempted" if ran else "never", flush=True)
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="there a child that a thread has forked looks for no signals"
)
@pytest.mark.parametrize("start", ["gopark.run(main)", "main()"], ids=["run", "first use"])
def test_main_is_preempted_in_a_child_forked_by_a_thread(start: str) -> None:
    program = f"""{HOG}
import os, threading
def fork():
    pid = os.fork()
    if pid == 0:
        {start}
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""
    assert python(program).stdout.strip() == "preempted"


def test_main_is_preempted_although_a_module_that_is_imported_called_run(tmp_path: Path) -> None:
    (tmp_path / "runs.py").write_text(HOG + "gopark.run(main)\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runs"
    assert python(program).stdout.strip() == "preempted"


@pytest.mark.parametrize("start", ["gopark.run(main)", "main()"], ids=["run", "first use"])
@pytest.mark.parametrize("tool", ["pdb", "runpy"])
def test_main_is_preempted_under_tools_that_run_programs(tmp_path: Path, start: str, tool: str) -> None:
    (tmp_path / "hog.py").write_text(HOG + start + "\n")
    run = {
        "pdb": "import pdb; pdb.main()",
        "runpy": "import runpy; runpy.run_path(sys.argv[-1], run_name='__main__')",
    }[tool]
    program = f"import sys; sys.argv = ['x', '-c', 'continue', {str(tmp_path / 'hog.py')!r}]\n{run}"
    assert "preempted" in python(program).stdout
