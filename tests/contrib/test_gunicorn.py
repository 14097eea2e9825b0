"""gopark.contrib.gunicorn.Worker: what gunicorn expects of a worker, and what goroutines add."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

from contrib.serving import NEEDED, Server, listening, readable, serving
from support import eventually

pytestmark = NEEDED


def gunicorn(tmp_path: Path, *options: str, **env: str) -> Any:
    """gunicorn with our worker and the tests' application, on a port of its own."""
    arguments = ["-m", "gunicorn", "-k", "gopark.contrib.gunicorn.Worker", "--bind", "fd://{fd}"]
    arguments += ["--no-control-socket", "--worker-tmp-dir", "/dev/shm", *options, "app:application"]
    return serving(arguments, tmp_path, listener=listening(), ready="Booting worker", **env)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests that leave it as it was."""
    with gunicorn(tmp_path_factory.mktemp("shared"), "--keep-alive", "1", "--timeout", "1") as server:
        server.get("/pid")
        yield server


def test_slow_requests_run_at_once_on_one_thread(shared: Server) -> None:
    server = shared
    server.get("/pid")
    began = time.monotonic()
    assert server.get_all(["/sleep/0.3"] * 100) == [b"ok"] * 100
    assert time.monotonic() - began < 2.0
    assert int(server.get("/threads")[1]) <= 4  # the thread, sysmon, the debug socket's


def test_the_process_is_patched_before_the_application_is_imported(shared: Server) -> None:
    server = shared
    assert server.get("/patched")[1] == b"True"


def test_a_preloaded_application_is_patched_after_its_import(tmp_path: Path) -> None:
    """Its import was in the master, which is not patched; no import order matters to what is hooked."""
    with gunicorn(tmp_path, "--preload") as server:
        assert server.get("/patched")[1] == b"False"
        began = time.monotonic()
        server.get_all(["/sleep/0.3"] * 20)
        assert time.monotonic() - began < 2.0


def test_bodies_of_any_size_go_both_ways_on_one_connection(shared: Server) -> None:
    server = shared
    with server.connect() as sock:
        for size in (0, 1, 100_000, 2_000_000):
            body = os.urandom(size)
            assert server.get("/echo", sock, body) == (200, body)
        assert server.get("/large", sock) == (200, b"x" * 3_000_000)


def test_an_application_that_fails_is_a_500_and_the_worker_goes_on(shared: Server) -> None:
    server = shared
    pid = server.get("/pid")
    assert server.get("/fail")[0] == 500
    assert "the application fails" in server.text()
    assert server.get("/pid") == pid


# -- limits ------------------------------------------------------------------------------------------------------------


def test_more_connections_than_worker_connections_wait_their_turn(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "--worker-connections", "5") as server:
        server.get("/pid")
        began = time.monotonic()
        assert server.get_all(["/sleep/0.2"] * 15) == [b"ok"] * 15
        assert 0.6 <= time.monotonic() - began < 3.0


def test_an_idle_connection_is_closed_after_keepalive_seconds(shared: Server) -> None:
    server = shared
    with server.connect() as sock:
        assert server.get("/pid", sock)[0] == 200
        began = time.monotonic()
        assert readable(sock, 10) and sock.recv(10) == b""
        assert 0.8 < time.monotonic() - began < 4.0


def test_a_client_that_sends_half_a_request_is_not_waited_for(shared: Server) -> None:
    server = shared
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert readable(sock, 10)
        assert server.get("/pid")[0] == 200


def test_a_request_may_take_longer_than_keepalive(shared: Server) -> None:
    server = shared
    with server.connect() as sock:
        assert server.get("/sleep/1.3", sock) == (200, b"ok")


def test_max_requests_ends_the_worker_and_another_one_goes_on(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "--max-requests", "10", "--max-requests-jitter", "3") as server:
        pids = {server.get("/pid")[1] for _ in range(30)}
        assert len(pids) >= 2
        assert "Autorestarting worker" in server.text()
        assert "Traceback" not in server.text()


# -- the master --------------------------------------------------------------------------------------------------------


def test_the_heart_beats_beside_requests_that_only_compute(shared: Server) -> None:
    """Preemption: the master would kill a worker that does not report for a second."""
    server = shared
    pid = server.get("/pid")[1]
    assert server.get_all(["/compute/0.9"] * 2 + ["/sleep/0.1"] * 5) == [b"ok"] * 7
    assert server.get("/pid")[1] == pid
    assert "WORKER TIMEOUT" not in server.text()


def test_a_worker_without_its_master_ends(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        pid = int(server.get("/pid")[1])
        server.process.kill()
        server.process.wait()
        eventually(lambda: not Path(f"/proc/{pid}").exists() or _state(pid) == "Z")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_term_lets_requests_end(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server, server.connect() as sock, server.connect() as idle:
        server.get("/pid", idle)
        sock.sendall(b"GET /sleep/0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        _requests(server, 1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5.0
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
        assert "Traceback" not in server.text()


def test_after_graceful_timeout_requests_are_cancelled(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "--graceful-timeout", "1") as server, server.connect() as sock:
        server.get("/pid")
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        _requests(server, 1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 6.0
        assert "Worker graceful timeout" in server.text()


def _requests(server: Server, n: int) -> None:
    """Wait until the worker is in *n* requests: by then they have been accepted and read."""
    eventually(lambda: _dump(server).count("app.application") >= n)


def _dump(server: Server) -> str:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    done = subprocess.run(
        [sys.executable, "-m", "gopark", "dump", *children[:1]], capture_output=True, text=True, timeout=20
    )
    return done.stdout


@pytest.mark.parametrize("signum", [signal.SIGQUIT, signal.SIGINT])
def test_quit_and_int_end_it_at_once(tmp_path: Path, signum: int) -> None:
    with gunicorn(tmp_path, "--graceful-timeout", "30") as server, server.connect() as sock:
        server.get("/pid")
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        _requests(server, 1)
        began = time.monotonic()
        assert server.stop(signum) == 0
        assert time.monotonic() - began < 5.0


def test_usr1_reopens_the_logs_and_dumps_nothing(tmp_path: Path) -> None:
    access = tmp_path / "access"
    with gunicorn(tmp_path, "--access-logfile", str(access)) as server:
        server.get("/pid")
        eventually(lambda: "/pid" in access.read_text())
        access.rename(tmp_path / "access.1")
        server.process.send_signal(signal.SIGUSR1)
        eventually(access.exists)
        # The worker's turn comes after its master's.
        eventually(lambda: server.get("/sleep/0")[0] == 200 and "/sleep/0" in access.read_text())
        assert "goroutine" not in server.text()


def test_hup_starts_new_workers_with_the_new_code(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        before = server.get("/pid")[1]
        app = tmp_path / "app.py"
        app.write_text(app.read_text().replace("str(os.getpid())", "('new %d' % os.getpid())"))
        server.process.send_signal(signal.SIGHUP)
        after = eventually(lambda: (b := server.get("/pid")[1]).startswith(b"new") and b)
        assert before not in after


def test_reload_notices_changed_code(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "--reload", "--reload-engine", "poll") as server:
        server.get("/pid")
        app = tmp_path / "app.py"
        app.write_text(app.read_text().replace("str(os.getpid())", "('new %d' % os.getpid())"))

        def noticed() -> bool:
            os.utime(app)  # again: gunicorn may have looked for the first time only just now
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                if server.get("/pid")[1].startswith(b"new"):
                    return True
                time.sleep(0.02)
            return False

        eventually(noticed, 20)


def test_workers_share_the_listener(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "--workers", "2") as server:
        pids: set[bytes] = set()
        eventually(lambda: pids.update(server.get_all(["/pid"] * 20)) or len(pids) == 2)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    arguments = ["-m", "gunicorn", "-k", "gopark.contrib.gunicorn.Worker", "--bind", f"unix:{path}"]
    arguments += ["--no-control-socket", "app:application"]
    with serving(arguments, tmp_path, address=path, ready="Booting worker") as server:
        assert server.get_all(["/sleep/0.1"] * 20) == [b"ok"] * 20
        assert server.stop() == 0
    assert not os.path.exists(path)


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    try:
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
            f"-keyout {key} -out {certificate}".split(),
            check=True,
            capture_output=True,
            timeout=20,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate")
    with gunicorn(
        tmp_path, "--certfile", str(certificate), "--keyfile", str(key), "--keep-alive", "1"
    ) as server:
        silent = server.connect()  # never begins its handshake
        server.context = ssl.create_default_context(cafile=str(certificate))
        server.context.check_hostname = False
        with server.connect() as sock:
            assert server.get("/echo", sock, b"secret" * 50_000) == (200, b"secret" * 50_000)
            assert server.get("/large", sock) == (200, b"x" * 3_000_000)
        assert readable(silent, 10) and silent.recv(10) == b""
        silent.close()
        with socket.create_connection(server.address) as plain:  # speaks no TLS
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert readable(plain, 10)
        assert server.get("/pid")[0] == 200


def test_a_request_that_hangs_is_found_with_ps(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server, server.connect() as sock:
        server.get("/pid")
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        dump = eventually(lambda: "wait_for_nothing" in (d := _dump(server)) and d)
        assert "app.py" in dump
        server.process.kill()
