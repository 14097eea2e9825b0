"""What the runtime says itself goes to the standard error output, or nowhere: never into a file that took its number."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from running import environment

PROGRAM = """
import os, signal, socket, sys
theirs, mine = socket.socketpair()
while theirs.fileno() != 2 and mine.fileno() != 2 and HOW != "kept":
    theirs, mine, *_ = (*socket.socketpair(), theirs, mine)
import gopark  # after that: the interpreted core loads ctypes, whose library may take a descriptor for good
mine.setblocking(False)
theirs.setblocking(False)
def received():
    for end in (theirs, mine):
        try:
            return end.recv(100)
        except BlockingIOError:
            pass
    return b""
def deadlock():
    try:
        gopark.Chan().recv()
    except gopark.FatalError:
        pass
def dump():
    os.kill(os.getpid(), signal.SIGUSR1)
    gopark.sleep(0.02)
def uncollected():
    gopark.go(lambda: 1 / 0)
    gopark.sleep(0.02)
def hook():
    def fails(gp, exc):
        raise OSError("the hook")
    gopark.excepthook = fails
    uncollected()
def signal_name():
    pass
gopark.run(WHAT)
os.write(LOG, b"done:" + received())
"""


def run(how: str, what: str, tmp_path: Path) -> "tuple[str, str]":
    """What the program's own socket has received, and what came out of the descriptors 1 and 2."""
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT, 0o600)
    program = PROGRAM
    for name, value in {"HOW": repr(how), "WHAT": what, "LOG": str(log)}.items():
        program = program.replace(name, value)
    if how == "closed later":
        program = program.replace("theirs, mine =", "import gopark\nos.close(2)\ntheirs, mine =", 1)
    elif how == "closed":
        again = "os.execv(sys.executable, [sys.executable, '-c', program])"
        program = f"import os, sys\nprogram = {program!r}\nos.close(2)\n{again}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(GOPARK_DUMP_SIGNAL="nonsense" if what == "signal_name" else "USR1"),
        capture_output=True,
        text=True,
        timeout=30,
        pass_fds=[log],
    )
    with open(log) as f:
        f.seek(0)
        return f.read(), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("how", "what"),
    [
        *(("closed", what) for what in ("deadlock", "dump", "uncollected", "hook", "signal_name")),
        # Not uncollected exceptions: Python's own sys.stderr, which the program has left as it was, writes there.
        *(("closed later", what) for what in ("deadlock", "dump", "signal_name")),
    ],
)
def test_it_goes_nowhere_when_descriptor_2_is_somebody_elses(how: str, what: str, tmp_path: Path) -> None:
    received, said = run(how, what, tmp_path)
    assert (received, said) == ("done:", "")


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("deadlock", "all goroutines are asleep"),
        ("dump", "SIGUSR1: all goroutines"),
        ("uncollected", "never collected"),
        ("signal_name", "GOPARK_DUMP_SIGNAL=nonsense is not a signal"),
    ],
)
def test_it_comes_out_when_there_is_a_stderr(what: str, text: str, tmp_path: Path) -> None:
    received, said = run("kept", what, tmp_path)
    assert received == "done:" and text in said


def test_a_pipe_that_nobody_reads_does_not_keep_the_program_for_ever() -> None:
    program = textwrap.dedent("""
        import os, signal, gopark
        from gopark.runtime import output
        output._PATIENCE = 0.2
        os.set_blocking(2, False)
        try:
            while True: os.write(2, b"x" * 65536)
        except BlockingIOError:
            pass
        def main():
            os.kill(os.getpid(), signal.SIGUSR1)
            gopark.sleep(0.01)
            print("goes on", flush=True)
        gopark.run(main)
    """)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"goes on\n"
        finally:
            process.send_signal(signal.SIGKILL)
    assert time.monotonic() - began < 15
