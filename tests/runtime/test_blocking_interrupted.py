"""gopark.blocking and signal handlers, finalizers and the program's end: nothing of it holds a lock that they could meet."""

import subprocess
import sys

import pytest

from gopark.runtime import _sys
from support import python

PURE = "the interpreted core's own frames can be interrupted anywhere by a handler that raises: see docs/runtime.md"


@pytest.mark.skipif(not _sys.IS_COMPILED, reason=PURE)
def test_a_handler_that_raises_leaves_no_call_behind_and_the_file_usable() -> None:
    """In the middle of submitting, of starting a thread, of waiting: wherever it comes."""
    done = python("""
        import gopark, os, random, signal, tempfile, time
        from gopark import files, go
        class Alarm(Exception): pass
        def handler(signum, frame): raise Alarm
        def main():
            f = files.open(tempfile.mkstemp()[1], "w")
            os.unlink(f.name)
            signal.signal(signal.SIGALRM, handler)
            alarms, end = 0, time.monotonic() + 1.0
            while time.monotonic() < end:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 120e-6))
                    try: f.write("x")
                    finally: signal.setitimer(signal.ITIMER_REAL, 0)
                except Alarm: alarms += 1
                assert go(f.tell).join(10), f"after {alarms} alarms"
            while gopark.statistics().blocking_calls: gopark.sleep(0.001)
            print("fine" if alarms else "no alarm")
        gopark.run(main)
    """)
    assert done.stdout == "fine\n"


def test_a_signal_handler_may_make_blocking_calls() -> None:
    done = python("""
        import gopark, signal, time
        made, busy = 0, False
        def handler(signum, frame):
            global made, busy
            if busy: return
            busy = True
            try: gopark.blocking(int); made += 1
            except RuntimeError: pass       # it came while every goroutine was parked
            busy = False
        def main():
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 3e-4, 3e-4)
            end = time.monotonic() + 1.0
            while time.monotonic() < end or not made:
                gopark.blocking(int)
            signal.setitimer(signal.ITIMER_REAL, 0)
            while gopark.statistics().blocking_calls: gopark.sleep(0.001)
            print("fine")
        gopark.run(main)
    """)
    assert done.stdout == "fine\n"


def test_a_finalizer_may_make_blocking_calls_in_the_middle_of_another() -> None:
    done = python("""
        import gc, gopark, os, tempfile
        from gopark import files
        made = 0
        class Cycle:
            def __init__(self): self.me = self
            def __del__(self):
                global made
                if running:
                    gopark.blocking(int); made += 1
        running = True
        def main():
            global running
            f = files.open(tempfile.mkstemp()[1], "w")
            os.unlink(f.name)
            gc.set_threshold(7, 2, 2)
            for i in range(300):
                Cycle()
                f.write("x")
            gc.set_threshold(700, 10, 10)
            assert f.tell() == 300 and made, made
            running = False
            while gopark.statistics().blocking_calls: gopark.sleep(0.001)
            print("fine")
        gopark.run(main)
    """)
    assert done.stdout == "fine\n"


@pytest.mark.parametrize(
    "read",
    [
        "gopark.blocking(input)",
        "gopark.blocking(sys.stdin.readline)",
        "gopark.blocking(sys.stdin.buffer.read)",
        "files.wrap(sys.stdin.buffer).read(10)",
        "list(files.wrap(sys.stdin))",
    ],
)
def test_a_thread_that_reads_stdin_does_not_disturb_the_programs_end(read: str) -> None:
    program = f"""
import gopark, sys
from gopark import files, go
from gopark.runtime import blocking
def main():
    go(lambda: {read})
    while blocking.counts() != (1, 0, 0): gopark.sleep(0.001)
    gopark.sleep(0.02)      # into the system call
gopark.run(main)
print("end")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as p:
        assert p.stdin is not None and p.stdout is not None
        status = p.wait(30)  # with stdin open: communicate would close it
        assert (status, p.stdout.read()) == (0, "end\n")


@pytest.mark.skipif(not _sys.IS_COMPILED, reason="the interpreted core allocates at every step of a park")
@pytest.mark.parametrize("threads", ["idle", "new"])
def test_no_call_and_no_thread_is_lost_when_memory_is_short(threads: str) -> None:
    """Every n-th allocation fails, in the caller and in the pool's thread: an error, or the result; never silence."""
    pytest.importorskip("_testcapi")
    if threads == "new" and sys.version_info >= (3, 12):
        pytest.skip(
            "CPython 3.12 and 3.13 corrupt their heap when there is no memory to list a thread (_DummyThread)"
        )
    done = python(f"""
        import _testcapi, gopark, io
        from gopark import files
        from gopark.runtime import blocking
        new = {threads == "new"}
        if new: blocking.IDLE_SECONDS = 0.001
        def main():
            f = files.wrap(io.BytesIO(b"x" * 1000))
            for width in (1, 5, 100):
                for n in range(60):
                    while new and blocking.counts()[0]: gopark.sleep(0.0005)
                    _testcapi.set_nomemory(n, n + width)
                    try:
                        if n % 2: f.read(1)
                        else: gopark.blocking(int)
                    except (MemoryError, RuntimeError): pass        # "can't allocate lock"
                    finally: _testcapi.remove_mem_hooks()
                    while gopark.statistics().blocking_calls: gopark.sleep(0.0005)
                    assert gopark.blocking(int) == 0
            assert f.tell() >= 0
            while gopark.statistics().blocking_calls: gopark.sleep(0.0005)
            while blocking.counts()[0] != blocking.counts()[1]: gopark.sleep(0.0005)
            print("fine", blocking.counts()[0] >= 0 <= blocking.counts()[1])
        gopark.run(main)
    """)
    assert done.stdout == "fine True\n"
