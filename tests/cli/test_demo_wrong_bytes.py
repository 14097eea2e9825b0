"""``gopark demo`` fails when a server does not echo exactly what it was sent."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Echo servers that do one thing wrong, most of them after being right for a while: `answer` is an answer to
# `data`, the `count`th message of its connection.
SERVER = """
import socket, threading

def serve(sock):
    count = 0
    with sock:
        while data := sock.recv(65536):
            count += 1
            answer = {answer}
            if answer is None:
                return
            sock.sendall(answer)
        {at_end}

listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print("LISTENING", listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
RIGHT = "data"
WRONG = {
    "flips a bit of the last byte": (
        "data if count < 9 else data[:-1] + bytes([data[-1] ^ 1])",
        "pass",
        "from byte 63",
    ),
    "repeats an earlier answer": (
        "old if count == 9 else (old := data)",
        "pass",
        "message 8 came back wrong",
    ),
    "doubles an answer": ("data if count != 9 else data + data", "pass", "came back wrong"),
    "cuts an answer and hangs up": ("data if count < 9 else None", "pass", "EOF"),
    "says more at the end": ("data", "sock.sendall(b'!')", "1 bytes more came back than were sent"),
}
SILENT = "data if count < 9 else b''"


def server(directory: Path, answer: str, at_end: str = "pass") -> Path:
    path = directory / "server.py"
    path.write_text(SERVER.format(answer=answer, at_end=at_end))
    return path


def demo(program: Path) -> "subprocess.CompletedProcess[str]":
    short = ("--connections", "20", "--seconds", "0.3", "--no-compare")
    return subprocess.run(
        [sys.executable, "-m", "gopark", "demo", *short, "--server", f"{sys.executable} {program}"],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_answer_is_found_and_fails_the_demo(wrong: str, tmp_path: Path) -> None:
    answer, at_end, says = WRONG[wrong]
    done = demo(server(tmp_path, answer, at_end))
    assert done.returncode == 1
    assert says in done.stdout and "connections failed" in done.stdout


def test_right_answers_of_another_server_pass(tmp_path: Path) -> None:
    done = demo(server(tmp_path, RIGHT))
    assert (done.returncode, done.stderr) == (0, "")
    assert "yours" in done.stdout


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """(process id, port) of a server that stops to answer."""
    with subprocess.Popen(
        [sys.executable, server(tmp_path, SILENT)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().split()[1]
        process.kill()


def test_lost_answer_is_an_error_and_no_hang(silent: tuple[int, str]) -> None:
    pid, port = silent
    options = {
        "parent": os.getpid(),
        "port": port,
        "server": pid,
        "connections": 20,
        "size": 64,
        "seconds": 0.1,
        "connect-seconds": 20,
        "patience": 0.3,
    }
    done = subprocess.run(
        [sys.executable, "-m", "gopark.cli._demo_client", *(f"--{k}={v}" for k, v in options.items())],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["errors"] == 20
    assert "no answer within 0.3 s" in result["first_error"]
