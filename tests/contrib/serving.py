"""Servers in processes of their own, and clients that ask them many things at once."""

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gopark
from gopark import net
from gopark.hook import refusal

NEEDED = pytest.mark.skipif(refusal() is not None, reason=f"cannot be patched: {refusal()}")

# What the tests' servers serve.
APP = '''
"""Slow, busy and failing pages."""
import os, sys, threading, time
import gopark

def application(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"ok"
    if path.startswith("/sleep/"):
        time.sleep(float(path.split("/")[2]))
    elif path.startswith("/compute/"):
        end = time.monotonic() + float(path.split("/")[2])
        while time.monotonic() < end:
            pass
    elif path == "/pid":
        body = str(os.getpid()).encode()
    elif path == "/threads":
        body = str(len(os.listdir("/proc/self/task"))).encode()
    elif path == "/patched":
        body = str(gopark.is_patched() and PATCHED).encode()
    elif path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    elif path == "/large":
        body = b"x" * 3_000_000
    elif path == "/fail":
        raise ValueError("the application fails")
    elif path == "/hang":
        wait_for_nothing()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

def wait_for_nothing():
    threading.Event().wait()

PATCHED = gopark.is_patched()  # when this was imported
VERSION = 1
'''


class Server:
    """A program that serves on an address, from its start until it is told to end."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: Any, log: Path) -> None:
        self.process = process
        self.address = address  # (host, port), or the path of a Unix socket
        self.log = log
        self.context: ssl.SSLContext | None = None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def said(self, pattern: str, seconds: float = 15.0) -> "re.Match[str]":
        """Wait until its log has *pattern*."""
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.text())):
            assert self.process.poll() is None and time.monotonic() < end, (
                f"never {pattern!r}:\n{self.text()}"
            )
            time.sleep(0.01)
        return match

    def stop(self, signum: int = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Send it *signum* and wait for its end; its exit status."""
        self.process.send_signal(signum)
        return self.process.wait(seconds)

    # -- clients -------------------------------------------------------------------------------------------------------

    def connect(self) -> Any:
        """A connection, with its own time limit."""
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(20)
        sock.connect(self.address)
        return sock if self.context is None else self.context.wrap_socket(sock)

    def get(self, path: str, sock: Any = None, body: bytes | None = None) -> tuple[int, bytes]:
        """One request, on a connection of its own, or on *sock* and it stays open: status and body."""
        kept = sock is not None
        sock = sock or self.connect()
        try:
            head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: x\r\n"
            head += "" if kept else "Connection: close\r\n"
            head += "" if body is None else f"Content-Length: {len(body)}\r\n"
            sock.sendall(f"{head}\r\n".encode() + (body or b""))
            return _answer(sock.recv)
        finally:
            if not kept:
                sock.close()

    def get_all(self, paths: list[str]) -> list[bytes]:
        """All of *paths* at once, each on a connection of its own: their bodies."""
        return gopark.run(self._get_all, paths)

    def _get_all(self, paths: list[str]) -> list[bytes]:
        network = "unix" if isinstance(self.address, str) else "tcp"
        address = self.address if network == "unix" else "{}:{}".format(*self.address)

        def one(path: str) -> bytes:
            with net.dial(network, address) as conn:
                conn.set_timeout(20)
                conn.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                status, body = _answer(conn.read)
                assert status == 200, (status, body)
                return body

        asking = [gopark.go(one, path) for path in paths]
        for g in asking:
            g.join()
        errors = [g.exception for g in asking if g.exception is not None]
        if errors:
            errors[0].add_note(f"{len(errors)} of {len(paths)} requests failed")
            raise errors[0]
        return [g.result() for g in asking]


def _answer(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = read(65536)
        if not more:
            raise EOFError(f"the server hung up after {data!r}")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    parts = [body]
    size = len(body)
    while length is None or size < int(length[1]):
        more = read(65536)
        if not more:
            break
        parts.append(more)
        size += len(more)
    return int(head.split()[1]), b"".join(parts)


@contextlib.contextmanager
def serving(
    arguments: list[str],
    tmp_path: Path,
    *,
    listener: "socket.socket | None" = None,
    address: Any = None,
    ready: str = "",
    **env: str,
) -> Iterator[Server]:
    """Run `python *arguments*` in *tmp_path*, where app.py is; ready when it answers, or when its log has *ready*.

    "{fd}" among the arguments is the descriptor of *listener*, a socket that listens already."""
    (tmp_path / "app.py").write_text(APP)
    log = tmp_path / "log"
    fds = () if listener is None else (listener.fileno(),)
    arguments = [a.replace("{fd}", str(fds[0]) if fds else "") for a in arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONUNBUFFERED": "1"}
            | env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=fds,
            start_new_session=True,
        )
    server = Server(process, listener.getsockname() if listener is not None else address, log)
    try:
        if ready:
            server.said(ready)
        yield server
    except BaseException:
        print(server.text())  # pytest shows it with the failure
        raise
    finally:
        if listener is not None:
            listener.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def listening() -> socket.socket:
    """A socket that listens, for a server to inherit: nobody has to guess a free port."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


def readable(sock: Any, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])
