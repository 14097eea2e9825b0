"""The servers, one of each for all tests of a run, started when the first test wants it; and the programs that use them."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hook.drivers import servers
from running import environment


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[[str], dict[str, Any]]]:
    """server(name): where it is; the test is skipped if it cannot be had."""
    running: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:

        def get(name: str) -> dict[str, Any]:
            if name not in running:
                running[name] = stack.enter_context(servers.STARTERS[name]())
            return running[name]

        yield get


@pytest.fixture
def client(server: Callable[[str], dict[str, Any]]) -> Callable[..., str]:
    """client(program, name, ...): what that program printed, with that class of clients.py's."""

    def run(program: str, name: str, needs: str, *arguments: object, timeout: float = 55.0) -> str:
        command = [sys.executable, "-X", "faulthandler", str(Path(__file__).with_name(program)), name]
        done = subprocess.run(
            [*command, json.dumps(server(needs)), *map(str, arguments)],
            env=environment(PSYCOPG_IMPL="python" if name == "psycopg_python" else "binary"),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr[-20000:]}"
        return done.stdout

    return run
