"""Private servers for the drivers: each with a folder and a port or a Unix socket of its own, ended with the test run.

A server program that is not there is a reason to skip.  PostgreSQL and MariaDB refuse to run as root: nobody runs them."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PLACES = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def program(name: str, *more: str) -> str:
    """Where that program is; the test is skipped if it is nowhere."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES, *more])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextlib.contextmanager
def folder(unprivileged: bool = False) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder below /tmp, short enough for a Unix socket's path, and what makes Popen run as its owner."""
    where = Path(tempfile.mkdtemp(prefix="gopark-"))
    who: dict[str, Any] = {}
    if unprivileged and os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(where, nobody.pw_uid, nobody.pw_gid)
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        yield where, who
    finally:
        shutil.rmtree(where, ignore_errors=True)


@contextlib.contextmanager
def server(
    command: list[str], up: Callable[[], bool], log: Path, stop: signal.Signals = signal.SIGTERM, **how: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run *command* until the end of the block, which is entered when *up* says so."""
    with open(log, "wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd="/", **how) as process:
        try:
            end = time.monotonic() + 40
            while not up():
                if process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"{command[0]} does not start\n{log.read_text(errors='replace')}")
                time.sleep(0.02)
            yield process
        finally:
            process.send_signal(stop)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(*address: Any) -> Callable[[], bool]:
    """Can one connect there?  (host, port) or a path."""

    def up() -> bool:
        family = socket.AF_INET if len(address) == 2 else socket.AF_UNIX
        with socket.socket(family) as s:
            return s.connect_ex(address if len(address) == 2 else address[0]) == 0

    return up


@contextlib.contextmanager
def redis() -> Iterator[dict[str, Any]]:
    command = program("redis-server")
    with folder() as (where, _):
        port = free_port()
        args = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(where)]
        with server([command, *args], answers("127.0.0.1", port), where / "log"):
            yield {"host": "127.0.0.1", "port": port}


@contextlib.contextmanager
def memcached() -> Iterator[dict[str, Any]]:
    command = program("memcached")
    with folder() as (where, _):
        port = free_port()
        args = ["-l", "127.0.0.1", "-p", str(port), "-U", "0", "-c", "1000", "-u", "nobody"]
        with server([command, *args], answers("127.0.0.1", port), where / "log"):
            yield {"host": "127.0.0.1", "port": port}


@contextlib.contextmanager
def postgres() -> Iterator[dict[str, Any]]:
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    initdb = program("initdb", *places)
    command = str(Path(os.path.realpath(initdb)).with_name("postgres"))
    with folder(unprivileged=True) as (where, who):
        data = where / "data"
        made = subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"],
            capture_output=True,
            cwd="/",
            env=os.environ | {"HOME": str(where)},
            **who,
        )
        assert made.returncode == 0, made.stderr.decode(errors="replace")
        port = free_port()
        args = ["-D", str(data), "-k", str(where), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        args += ["-c", "fsync=off", "-c", "max_connections=150", "-c", "shared_buffers=32MB"]
        with server([command, *args], answers("127.0.0.1", port), where / "log", signal.SIGINT, **who):
            yield {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres"}


@contextlib.contextmanager
def mariadb() -> Iterator[dict[str, Any]]:
    install, command = program("mariadb-install-db"), program("mariadbd")
    with folder(unprivileged=True) as (where, who):
        common = ["--no-defaults", f"--datadir={where}/data"]
        made = subprocess.run(
            [install, *common, "--skip-test-db", "--auth-root-authentication-method=normal"],
            capture_output=True,
            cwd="/",
            **who,
        )
        assert made.returncode == 0, made.stderr.decode(errors="replace") + made.stdout.decode(
            errors="replace"
        )
        port = free_port()
        # No names are looked up, no transaction waits for the disk.
        args = [*common, f"--socket={where}/s", f"--pid-file={where}/pid", f"--port={port}"]
        args += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=200"]
        args += ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        setup = where / "setup.sql"
        setup.write_text("CREATE USER t@'127.0.0.1' IDENTIFIED BY 't';\nGRANT ALL ON *.* TO t@'127.0.0.1';\n")
        setup.chmod(0o644)
        args += [f"--init-file={setup}"]
        with server([command, *args], answers("127.0.0.1", port), where / "log", **who):
            yield {"host": "127.0.0.1", "port": port, "user": "t", "password": "t"}


@contextlib.contextmanager
def sshd() -> Iterator[dict[str, Any]]:
    command, keygen = program("sshd"), program("ssh-keygen")
    with folder() as (where, _):
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks its unprivileged half in
        for name in ("host", "user"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", where / name], check=True)
        port = free_port()
        (where / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {where}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {where}/user.pub\nPermitRootLogin prohibit-password\nUseDNS no\n"
            "MaxStartups 200\nMaxSessions 200\nPasswordAuthentication no\n"
        )
        with server(
            [command, "-D", "-e", "-f", str(where / "config")], answers("127.0.0.1", port), where / "log"
        ):
            user = pwd.getpwuid(os.getuid()).pw_name
            yield {"host": "127.0.0.1", "port": port, "user": user, "key": str(where / "user")}


@contextlib.contextmanager
def python_server(name: str) -> Iterator[dict[str, Any]]:
    """One of peers.py's, in a Python of its own without gopark's hooks; it prints its port."""
    with subprocess.Popen(
        [sys.executable, HERE / "peers.py", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.strip().isdigit(), f"the {name} server does not start"
            yield {"host": "127.0.0.1", "port": int(line)}
        finally:
            process.kill()


STARTERS: dict[str, Callable[[], Any]] = {
    "redis": redis,
    "memcached": memcached,
    "postgres": postgres,
    "mariadb": mariadb,
    "sshd": sshd,
    "http": lambda: python_server("http"),
    "websocket": lambda: python_server("websocket"),
    "s3": lambda: python_server("s3"),
    "zmq": lambda: python_server("zmq"),
    "grpc": lambda: python_server("grpc"),
}
