"""Runs the examples as their users do: as programs, on real sockets."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE = 30.0  # s for anything that must happen


class Program:
    """An example that runs."""

    def __init__(self, name: str, arguments: tuple[object, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, EXAMPLES / name, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        text, end = b"", time.monotonic() + PATIENCE
        while not text.endswith(b"\n"):
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"no line within {PATIENCE} s"
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                raise AssertionError(f"it ended: {text!r}, {self.process.communicate()}")
            text += byte
        return text.decode().rstrip("\n")

    def address(self) -> tuple[str, int]:
        """Where it says that it listens."""
        found = re.fullmatch(r"listening on ([\d.]+):(\d+)", self.line())
        assert found
        return found[1], int(found[2])

    def end(self, signum: int | None = None) -> tuple[int, str, str]:
        """Its exit status and what it still prints, after *signum* if given."""
        if signum is not None:
            self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
def example() -> Iterator[Callable[..., Program]]:
    """example("name.py", arguments...): a running program; ended after the test."""
    running: list[Program] = []

    def start(name: str, *arguments: object) -> Program:
        running.append(Program(name, arguments))
        return running[-1]

    yield start
    for program in running:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate()
