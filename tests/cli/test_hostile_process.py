"""`gopark ps` and `gopark dump` on a process that says, and leaves, whatever it likes."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gopark.cli import _attach
from running import environment, gopark_command, running

GREETING = b"gopark\n"
NONE = "gave an answer that is none"


@contextmanager
def hostile(talk: Callable[[socket.socket], object]) -> Iterator[None]:
    """This process's debug socket, in XDG_RUNTIME_DIR, is *talk*'s."""
    directory = Path(os.environ["XDG_RUNTIME_DIR"], "gopark")
    directory.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / f"{os.getpid()}.sock"))
        listener.listen(8)

        def serve() -> None:
            while True:
                try:
                    conn, _ = listener.accept()
                except OSError:
                    return
                with conn:
                    try:
                        conn.recv(64)
                        conn.sendall(GREETING)
                        talk(conn)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def framed(body: bytes) -> bytes:
    return b"%d\n%b" % (len(body), body)


def endless(conn: socket.socket) -> None:
    while True:
        conn.sendall(b"1" * 65536)


@pytest.mark.parametrize("command", ["ps", "dump"])
@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"9" * 5000 + b"\n", NONE),
        (b"abc\n", NONE),
        (b"-5\nhello", NONE),
        (b"0\n", NONE),
        (b"\xb2\n12", NONE),  # a digit to some
        (b"1000000000000000\nx", "announces an answer of 1000000000000000 bytes"),
        (b"100\nthe end", "broke off the conversation"),
        (b"", "broke off the conversation"),
    ],
    ids=["digits", "a word", "negative", "zero", "superscript", "huge", "too short", "nothing"],
)
def test_a_length_that_is_none_is_refused(command: str, said: bytes, text: str) -> None:
    with hostile(lambda conn: conn.sendall(said)):
        done = gopark_command(command, os.getpid())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"gopark {command}: process {os.getpid()} ") and text in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_endless_line_takes_no_memory() -> None:
    with hostile(endless):
        done = subprocess.run(
            [sys.executable, "-m", "gopark", "dump", str(os.getpid())],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)),
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert NONE in done.stderr


def rows(id: str = "1", name: str = '""', waited: str = "1", frames: str = "[]") -> bytes:
    """An answer with one goroutine."""
    return (
        f'[{{"id": {id}, "name": {name}, "status": "waiting", "reason": "r", "waited": {waited}, '
        f'"frames": {frames}}}]'
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[" * 200000,
        b"[1]",
        b"[{}]",
        b"\xff\xfe",
        b"[" + b"9" * 5000 + b"]",
        rows(id="[]"),
        rows(name="1"),
        rows(waited='""'),
        rows(frames="[1]"),
        rows(frames="[{}]"),
    ],
    ids=range(11),
)
def test_what_is_no_list_of_goroutines_is_refused(body: bytes) -> None:
    with hostile(lambda conn: conn.sendall(framed(body))):
        done = gopark_command("ps", os.getpid())
    assert (done.returncode, done.stdout) == (1, "")
    assert NONE in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("waited", ["NaN", "Infinity", "-1", "1e300"])
def test_a_time_that_is_none_is_shown_as_unknown(waited: str) -> None:
    with hostile(lambda conn: conn.sendall(framed(rows(name='"x"', waited=waited)))):
        done = gopark_command("ps", os.getpid())
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == ["1", "waiting", "r", "?", "x"]


EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2028\x7f\r"


@pytest.mark.parametrize("command", ["ps", "dump"])
def test_nothing_that_a_terminal_obeys_is_printed(command: str) -> None:
    body = f"goroutine 1 [running]:\n\tgrün{EVIL}\n".encode()
    if command == "ps":
        body = rows(name=json.dumps(EVIL))
    with hostile(lambda conn: conn.sendall(framed(body))):
        done = gopark_command(command, os.getpid())
    assert done.returncode == 0
    assert re.sub(r"[\n\t]", "", done.stdout).isprintable()
    assert r"\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2028\x7f\r" in done.stdout


def test_what_the_output_cannot_show_is_escaped() -> None:
    with hostile(lambda conn: conn.sendall(framed("grün 你\n".encode()))):
        done = gopark_command("dump", os.getpid(), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "gr\\xfcn \\u4f60\n", "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    body = b"goroutine 1 [running]:\n" * 100_000
    with hostile(lambda conn: conn.sendall(framed(body))):
        with subprocess.Popen(
            [sys.executable, "-m", "gopark", "dump", str(os.getpid())],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == b"goroutine 1 [running]:\n"
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(20) == 0


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attach, "_SLOW", 0.3)
    over = threading.Event()

    def drip(conn: socket.socket) -> None:
        conn.sendall(b"100\n")
        while not over.wait(0.05):
            conn.sendall(b"x")

    # From another process: the connection must be this one's.
    with hostile(drip):
        with pytest.raises(_attach.AttachError, match=r"has not come to the end within 0\.3 s"):
            with _attach.Target(os.getpid()) as target:
                target.ask("dump")
        over.set()


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "empty", "words", "signal"])
def test_what_is_no_file_for_tracebacks_is_refused(kind: str, tmp_path: Path) -> None:
    never = """
        import os, socket, sys
        directory = os.environ["XDG_RUNTIME_DIR"] + "/gopark"
        os.mkdir(directory, 0o700)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{directory}/{os.getpid()}.sock")
        listener.listen(8)
        print("ready", flush=True)
        sys.stdin.read()
    """
    with running(never, tmp_path) as process:
        trace = tmp_path / "gopark" / f"{process.pid}.trace"
        if kind == "fifo":
            os.mkfifo(trace, 0o600)
        elif kind == "directory":
            trace.mkdir()
        elif kind == "link":
            trace.symlink_to("/etc/passwd")
        else:
            trace.write_text({"empty": "", "words": "abc\n", "signal": "9\n"}[kind])
        done = gopark_command("dump", process.pid)
        assert process.poll() is None
    assert done.returncode == 1
    assert "has not answered" in done.stderr and "faulthandler" in done.stderr
    assert "Traceback" not in done.stderr
