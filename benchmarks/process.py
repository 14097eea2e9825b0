"""Child processes of a benchmark: started on a chosen core, watched with a time limit, always ended.

Knows nothing about what is measured. A child that fails raises Failed with its last line of stderr.
"""

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

# The peers under test run on the first core that we may use, the client on the last.
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = _CORES[0], _CORES[-1]


class Failed(Exception):
    """A child did not do what it should; the text says what it last said."""


class Child:
    """A process pinned to one core, stdin and stdout piped, stderr kept. Leaving the `with` kills it."""

    def __init__(self, command: Sequence[str], core: int, env: Mapping[str, str] | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()
        self._pending = b""
        # PYTHONHASHSEED: the layout of dicts is not one more thing that differs between rounds.
        environ = {**os.environ, "PYTHONHASHSEED": "0", **(env or {})}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environ,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        self.pid = self._process.pid

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def read_line(self, timeout: float) -> str:
        """Return the next line of stdout; raise Failed if the child ends first or `timeout` seconds pass."""
        assert self._process.stdout is not None
        give_up = time.monotonic() + timeout
        while b"\n" not in self._pending:
            readable, _, _ = select.select(
                [self._process.stdout], [], [], max(0.0, give_up - time.monotonic())
            )
            if not readable:
                raise Failed(f"said nothing for {timeout:g} s")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise Failed(self._last_words())
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def read_json(self, timeout: float) -> dict[str, Any]:
        line = self.read_line(timeout)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise Failed(f"expected a line of JSON, got {line!r}") from None
        return answer

    def died(self) -> str | None:
        """Return why the child is gone, or None while it runs."""
        return None if self._process.poll() is None else self._last_words()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        said = [text for line in lines if (text := line.strip(" |+-"))]  # exception groups draw frames
        return said[-1] if said else f"exit status {status}, nothing on stderr"


def run_json(
    command: Sequence[str], core: int, timeout: float, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a command that prints one JSON line, and return it."""
    with Child(command, core, env) as child:
        return child.read_json(timeout)


def anonymous_bytes(pid: int) -> int:
    """Return a process's anonymous memory: what it allocated and touched, no files, no shared libraries."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        for line in lines:
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    raise Failed("no Anonymous line in smaps_rollup")
