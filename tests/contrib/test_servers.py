"""Servers that know nothing of gopark, unchanged, under `gopark run`: their threads are goroutines."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.serving import NEEDED, Server, listening, serving
from support import eventually

pytestmark = NEEDED
RUN = ["-m", "gopark", "run"]


def check(server: Server, n: int = 100, threads: int = 6) -> None:
    """*n* slow requests at once, on a few OS threads; and one that hangs is found."""
    assert server.get("/patched")[1] == b"True"
    began = time.monotonic()
    assert server.get_all(["/sleep/0.4"] * n) == [b"ok"] * n
    assert time.monotonic() - began < 4.0
    assert int(server.get("/threads")[1]) <= threads
    found(server)


def found(server: Server) -> None:
    """`gopark ps` and `gopark dump` show the request that hangs."""
    with server.connect() as sock:
        pid = server.get("/pid")[1].decode()
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        dump = eventually(lambda: "wait_for_nothing" in (d := gopark("dump", pid)) and d)
        hangs = next(part for part in dump.split("\n\n") if "wait_for_nothing" in part)
        match = re.match(r"goroutine (\d+) \[", hangs)
        assert match, hangs
        assert re.search(rf"^\s*{match[1]}\b", gopark("ps", pid), re.MULTILINE)
        os.kill(int(pid), signal.SIGKILL)  # it would let the request end


def gopark(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gopark", *command], capture_output=True, text=True, timeout=20
    )
    return done.stdout


@contextlib.contextmanager
def program(tmp_path: Path, text: str) -> Iterator[Server]:
    """A program that serves app.application and prints its port, under gopark run."""
    (tmp_path / "serve.py").write_text(textwrap.dedent(text))
    with serving([*RUN, "serve.py"], tmp_path) as server:
        server.address = ("127.0.0.1", int(server.said(r"port (\d+)")[1]))
        yield server


def test_gunicorns_thread_worker(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    arguments = [
        "-m",
        "gunicorn",
        "-k",
        "gthread",
        "--threads",
        "1000",
        "--bind",
        "fd://{fd}",
        "--no-control-socket",
    ]
    with serving(
        [*RUN, *arguments, "app:application"], tmp_path, listener=listening(), ready="Booting worker"
    ) as server:
        check(server)


def test_gunicorns_thread_worker_ends_gracefully(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    arguments = [
        "-m",
        "gunicorn",
        "-k",
        "gthread",
        "--threads",
        "1000",
        "--bind",
        "fd://{fd}",
        "--no-control-socket",
    ]
    with serving(
        [*RUN, *arguments, "app:application"], tmp_path, listener=listening(), ready="Booting worker"
    ) as server:
        server.get("/pid")
        with server.connect() as sock:
            sock.sendall(b"GET /sleep/0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.2)
            assert server.stop() == 0
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
        assert "Traceback" not in server.text()


def test_werkzeug(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug", reason="Werkzeug is not installed")
    text = """
        from werkzeug.serving import make_server
        from app import application
        server = make_server("127.0.0.1", 0, application, threaded=True)
        print("port", server.port)
        server.serve_forever()
    """
    with program(tmp_path, text) as server:
        check(server)


def test_waitress(tmp_path: Path) -> None:
    pytest.importorskip("waitress", reason="waitress is not installed")
    text = """
        import waitress
        from app import application
        server = waitress.create_server(application, host="127.0.0.1", port=0, threads=300)
        print("port", server.effective_port)
        server.run()
    """
    with program(tmp_path, text) as server:
        check(server)


def test_cheroot(tmp_path: Path) -> None:
    pytest.importorskip("cheroot", reason="cheroot is not installed")
    text = """
        from cheroot import wsgi
        from app import application
        server = wsgi.Server(("127.0.0.1", 0), application, numthreads=150, request_queue_size=200)
        server.prepare()
        print("port", server.bind_addr[1])
        server.serve()
    """
    with program(tmp_path, text) as server:
        check(server)


def test_djangos_runserver(tmp_path: Path) -> None:
    pytest.importorskip("django", reason="Django is not installed")
    text = """
        import sys, time
        from django.conf import settings
        from django.core.management import execute_from_command_line
        import app

        def view(request):
            from django.http import HttpResponse
            return HttpResponse(b"".join(app.application(request.META, lambda *a: None)))

        class URLs:
            from django.urls import re_path
            urlpatterns = [re_path("", view)]

        settings.configure(DEBUG=True, ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF=URLs)
        execute_from_command_line(["manage.py", "runserver", "--noreload", "127.0.0.1:0"])
    """
    (tmp_path / "serve.py").write_text(textwrap.dedent(text))
    with serving([*RUN, "serve.py"], tmp_path) as server:
        server.said("Quit the server")
        server.address = ("127.0.0.1", _port_of(server.process.pid))
        check(server, 10)  # it listens with a backlog of 10


def _port_of(pid: int) -> int:
    """The port that process *pid* listens on."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.update(re.findall(r"socket:\[(\d+)\]", str(fd.readlink())))
        except OSError:
            pass
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].split(":")[1], 16)
    raise AssertionError("it listens nowhere")


def test_the_standard_librarys_threading_server(tmp_path: Path) -> None:
    text = """
        from socketserver import ThreadingMixIn
        from wsgiref.simple_server import WSGIServer, make_server
        from app import application
        class Server(ThreadingMixIn, WSGIServer):
            request_queue_size = 200
        server = make_server("127.0.0.1", 0, application, server_class=Server)
        print("port", server.server_port)
        server.serve_forever()
    """
    with program(tmp_path, text) as server:
        check(server)
