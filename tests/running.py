"""A Python process that runs until the test has seen enough of it."""

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

# What a program may do when it has nothing to do any more.  A mutex that is locked twice is never had, and
# unlike a sleep its wait goes on after a signal.
WEDGED = """
import ctypes
def wedged(library):
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
"""


def environment(**env: str) -> dict[str, str]:
    """This process's, with this core."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | env


@contextlib.contextmanager
def running(program: str, runtime_dir: Path, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """Run *program* with its debug socket below *runtime_dir*; entered when it has printed "ready", killed at
    the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment(XDG_RUNTIME_DIR=str(runtime_dir), **env),
        stdin=subprocess.PIPE,  # never read: a program that waits for it waits
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate(timeout=10)
            yield process
        finally:
            process.kill()


def gopark_command(*arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command `gopark`."""
    return subprocess.run(
        [sys.executable, "-m", "gopark", *map(str, arguments)],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=30,
    )
