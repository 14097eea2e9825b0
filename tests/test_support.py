"""The tests' own help: a child that is waited for in vain is looked at."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import subprocess, sys
# The child's child has its stdout, and outlives it.
other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=int(sys.argv[1]))
print(other.pid, flush=True)
"""


def test_who_holds_a_childs_stdout_after_its_end_is_named() -> None:
    r, w = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(r)], stdout=subprocess.PIPE, text=True, pass_fds=[r]
    ) as process:
        os.close(r)
        try:
            assert process.wait(20) == 0
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                process.communicate(timeout=0.1)
        finally:
            os.close(w)
        other = int(process.communicate(timeout=20)[0])
    (note,) = caught.value.__notes__
    assert (
        f"pid {process.pid}, returncode 0\nstdout: open, can be written to by\n  pid {other} (parent" in note
    )
    assert re.search(r"descriptor 1: '.*sys\.stdin\.read\(\)", note)


def test_what_a_child_does_that_does_not_end_is_said() -> None:
    with subprocess.Popen(["sleep", "100"], stdout=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            process.communicate(timeout=0.1)
        process.kill()
    (note,) = caught.value.__notes__
    assert re.search(rf"thread {process.pid}: S \S*nanosleep\S* syscall \d", note)
    assert "stood still" in note


def test_a_parent_that_stood_still_takes_nothing_from_its_childs_time() -> None:
    # subprocess looks at the time before it looks at what the wait has brought: a parent that was not scheduled for longer
    # than its timeout gave up a child that had ended well, and whose pipes were at their ends.
    program = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import conftest
child = subprocess.Popen(
    [sys.executable, "-c", "import sys; sys.stdin.read(); print('well')"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
print("ready", flush=True)
print(child.communicate(timeout=0.5)[0])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, os.path.dirname(__file__)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
        os.kill(parent.pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(parent.pid, os.WUNTRACED)[1])
        time.sleep(1.0)  # twice its timeout
        os.kill(parent.pid, signal.SIGCONT)
        out, _ = parent.communicate(timeout=20)
    assert out == "b'well\\n'\n"
