"""A child process of `gopark demo`: its stdout is one of our connections, its end is certain, and its last
words are kept."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gopark import net, time

_STDERR_TAIL = 4000  # bytes of what a child that failed said


class Failed(Exception):
    """A child did not do what it should; the text says what it said."""


class Child:
    """Leaving the `with` kills the process and whatever it started.  *what* names it in errors."""

    def __init__(self, what: str, command: Sequence[str]) -> None:
        self.what = what
        self._buffer = b""
        self._stderr = tempfile.TemporaryFile()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # A process group of its own: Ctrl-C is for the demo alone, which then ends the child.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=theirs.fileno(),
                    stderr=self._stderr,
                    env=environment(),
                    process_group=0,
                )
            except OSError as error:
                ours.close()
                raise Failed(f"{what}: {error}") from None
        stdout = net.from_socket(ours)
        assert isinstance(stdout, net.Conn)
        self._stdout = stdout
        self.pid = self._process.pid

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._stdout.close()
        finally:
            self.kill()
            self._process.wait()
            self._stderr.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def read_line(self, seconds: float) -> str:
        """The next line of its stdout.  Failed if it ends first, or says nothing for *seconds*."""
        self._stdout.set_read_deadline(time.now() + seconds)
        try:
            line = self.next_line()
        except net.DeadlineExceeded:
            raise Failed(f"{self.what} said nothing for {seconds:g} s\n{self._said()}".rstrip()) from None
        finally:
            self._stdout.set_read_deadline(None)
        if line is None:
            raise Failed(self.last_words())
        return line

    def next_line(self) -> str | None:
        """The next line of its stdout, without a limit; None at the end.

        This alone is for other goroutines too.  All else belongs to the one that made the child, for Popen keeps a
        thread's lock: a goroutine that waits for it stops the thread of the one that has it."""
        while b"\n" not in self._buffer:
            got = self._stdout.read()
            if not got:
                return None
            self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace")

    def read_json(self, seconds: float) -> dict[str, Any]:
        """The next line, which must be a JSON object."""
        line = self.read_line(seconds)
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            raise Failed(f"{self.what} said {line!r}, which is not JSON") from None
        return told

    def died(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        """How it ended, and what it wrote to stderr."""
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return f"{self.what} closed its stdout\n{self._said()}".rstrip()
        how = (
            f"was killed by {signal.Signals(-status).name}"
            if status < 0
            else f"ended with exit status {status}"
        )
        return f"{self.what} {how}\n{self._said()}".rstrip()

    def _said(self) -> str:
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), _STDERR_TAIL, max(0, size - _STDERR_TAIL)).decode(
            errors="replace"
        )


def python(*arguments: str) -> list[str]:
    """This interpreter.  -P: files beside a script must not be taken for modules of the standard library."""
    return [sys.executable, "-P", *arguments]


def environment() -> dict[str, str]:
    """Ours, and this very gopark, however it was found."""
    here = str(Path(__file__).resolve().parents[2])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    }
