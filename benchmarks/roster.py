"""Who is measured: the peers, how each one's programs are started, and which are available here.

A peer is a row of PEERS. Its programs are small files under native/ and peers/; the runner compiles
what needs compiling. A peer that this machine lacks is reported with the reason, never left out.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent


class NotAvailable(Exception):
    """The peer cannot run here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Peer:
    key: str  # for --peers
    name: str  # in tables
    needs: str = ""  # the Python package that must be importable
    echo: str = ""  # its echo server, relative to this folder; "" if it has none
    micro: str = ""  # its micro-benchmarks
    busy: bool = False  # its echo server knows --yielding and --spinning
    env: tuple[tuple[str, str], ...] = ()
    under: tuple[str, ...] = ()  # what stands before the file on Python's command line

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line, given how the file is run by itself."""
        return [command[0], *self.under, *command[1:]]


def _gopark(key: str, name: str, pure: str) -> Peer:
    env = (("GOPARK_PURE", pure),)
    return Peer(key, name, "gopark", "peers/gopark_echo.py", "peers/micro_gopark.py", True, env)


PEERS = (
    Peer("c", "raw C epoll", echo="native/echo_epoll.c"),
    _gopark("gopark", "gopark", ""),
    _gopark("gopark-pure", "gopark (interpreted)", "1"),
    # What sysmon's thread costs the others: the same server with it stopped.
    Peer(
        "gopark-no-sysmon",
        "gopark, sysmon off",
        "gopark",
        "peers/gopark_echo.py",
        env=(("GOPARK_PURE", ""), ("BENCH_SYSMON", "0")),
    ),
    # One core is measured, so Go gets one P, as everyone else has one thread.
    Peer("go", "Go", "", "peers/echo.go", "peers/micro.go", True, (("GOMAXPROCS", "1"),)),
    Peer("uvloop-protocol", "uvloop Protocol", "uvloop", "peers/uvloop_protocol.py"),
    Peer("uvloop-streams", "uvloop streams", "uvloop", "peers/uvloop_streams.py"),
    Peer("asyncio", "asyncio streams", "", "peers/asyncio_streams.py", "peers/micro_asyncio.py", True),
    Peer("gevent", "gevent", "gevent", "peers/gevent_echo.py", "peers/micro_gevent.py", True),
    Peer("trio", "trio", "trio", "peers/trio_echo.py", "peers/micro_trio.py", True),
    Peer("greenlet", "bare greenlet", "greenlet", micro="peers/micro_greenlet.py"),
    Peer("threads", "threads", "", "peers/socket_threads.py", "peers/micro_threads.py", True),
    # The same two files, unmodified.
    Peer(
        "gopark-run",
        "threads, gopark run",
        "gopark",
        "peers/socket_threads.py",
        "peers/micro_threads.py",
        True,
        (("GOPARK_PURE", ""),),
        ("-m", "gopark", "run"),
    ),
    Peer(
        "gevent-patched",
        "threads, gevent's patch",
        "gevent",
        "peers/socket_threads.py",
        "peers/micro_threads.py",
        True,
        (("PYTHONPATH", str(HERE / "peers")),),  # it does not look where the file is
        ("-m", "gevent.monkey"),
    ),
)


class Builder:
    """Turns a peer's source file into a command; compiles C and Go once, into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commands: dict[str, list[str] | NotAvailable] = {}

    def command(self, source: str) -> list[str]:
        """Return the command that runs `source`.

        Raises NotAvailable, with the compiler's own words, if it cannot be built.
        """
        if source not in self._commands:
            try:
                self._commands[source] = self._make(HERE / source)
            except NotAvailable as reason:
                self._commands[source] = reason
        command = self._commands[source]
        if isinstance(command, NotAvailable):
            raise command
        return command

    def _make(self, source: Path) -> list[str]:
        target = str(self._folder / source.stem)
        if source.suffix == ".py":
            return [sys.executable, str(source)]
        if source.suffix == ".c":
            self._compile(["cc", "-O2", "-o", target, str(source)])
        else:
            self._compile(["go", "build", "-o", target, str(source)])
        return [target]

    def _compile(self, command: Sequence[str]) -> None:
        if shutil.which(command[0]) is None:
            raise NotAvailable(f"no {command[0]!r} command on PATH")
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "GO111MODULE": "off"}
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise NotAvailable(f"{command[0]} failed: {lines[-1]}")


def check(peer: Peer) -> None:
    """Raise NotAvailable if the package that the peer needs is missing, or not what the peer's name says."""
    if peer.needs and importlib.util.find_spec(peer.needs) is None:
        raise NotAvailable(f"the Python package {peer.needs!r} is not installed")
    if peer.key in ("gopark", "gopark-no-sysmon", "gopark-run") and not _gopark_is_compiled():
        raise NotAvailable("gopark is installed without its compiled core")


def _gopark_is_compiled() -> bool:
    # A number for the interpreted core under the compiled one's name would be worse than none.
    code = "import gopark.runtime.proc as m; print(m.__file__)"
    environ = {**os.environ, "GOPARK_PURE": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
    # If the import fails, let the server itself fail and show its own message.
    return done.returncode != 0 or not done.stdout.strip().endswith(".py")


def version(peer: Peer) -> str:
    """Return the version of what the peer's programs are built on."""
    if peer.key == "c":
        return _first_line(["cc", "--version"])
    if peer.key == "go":
        return _first_line(["go", "version"])
    if not peer.needs:
        return f"Python {sys.version.split()[0]}"
    try:
        return importlib.metadata.version(peer.needs)
    except importlib.metadata.PackageNotFoundError:
        return "not installed" if importlib.util.find_spec(peer.needs) is None else "unknown"


def _first_line(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
