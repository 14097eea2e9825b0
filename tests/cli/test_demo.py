"""``gopark demo`` for a user: what it prints, on a terminal and elsewhere, and its exit status."""

import os
import pty
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gopark.cli._demo_client import Load

DEMO = [sys.executable, "-m", "gopark", "demo"]
SHORT = ["--connections", "200", "--seconds", "0.5"]
ESCAPE = "\x1b"


def demo(*arguments: str, limits: Callable[[], None] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=55, preexec_fn=limits, check=False
    )


def row(name: str, out: str) -> list[str]:
    """The cells of one system in the summary's table."""
    line = re.findall(rf"^{name} +\d.*$", out, re.MULTILINE)[-1]
    return re.split(r"  +", line)


def test_all_three_systems_echo_every_byte_and_stand_in_one_table() -> None:
    done = demo(*SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    for name in "gopark", "asyncio", "threads":
        cells = row(name, done.stdout)
        assert (cells[1], cells[-1]) == ("200", "yes")
        assert int(cells[2].replace(",", "")) > 0
    assert re.search(r"gopark's poller, at the end: 20\d goroutines, ", done.stdout)


def test_no_compare_runs_gopark_alone_and_plain_lines_hold_no_escape() -> None:
    done = demo(*SHORT, "--no-compare", "--plain")
    assert (done.returncode, done.stderr) == (0, "")
    assert "asyncio" not in done.stdout and ESCAPE not in done.stdout
    titles = next(line for line in done.stdout.splitlines() if "phase" in line)
    for title in "connections", "messages/s", "goroutines", "netpoll calls/s", "events per call", "memory":
        assert title in titles


@pytest.mark.parametrize("plain", [False, True])
def test_terminal_gets_a_table_in_place_unless_plain(plain: bool) -> None:
    ours, theirs = pty.openpty()
    command = [*DEMO, *SHORT, "--no-compare", *(["--plain"] if plain else [])]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "60"}
    ) as process:
        os.close(theirs)
        out = b""
        try:
            while got := os.read(ours, 65536):
                out += got
        except OSError:  # EIO: nobody has the terminal open any more
            pass
        os.close(ours)
        assert process.wait(10) == 0
    text = out.decode()
    assert (f"{ESCAPE}[" in text) is not plain
    if not plain:
        drawn = text.split(f"{ESCAPE}[J")
        assert "measuring" in text and len(drawn) > 3
        assert (
            max(len(line) for line in drawn[2].splitlines()) < 60
        )  # a wrapped line would spoil the next update
        assert row("gopark", text.replace("\r", ""))[-1] == "yes"


def may_exceed_hard_limits() -> bool:
    effective = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return effective is not None and bool(int(effective[1], 16) >> 24 & 1)  # CAP_SYS_RESOURCE


def test_soft_limit_on_open_files_is_raised() -> None:
    def lower() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    done = demo(*SHORT, "--no-compare", limits=lower)
    assert done.returncode == 0
    assert row("gopark", done.stdout)[1] == "200"


@pytest.mark.skipif(may_exceed_hard_limits(), reason="this user may exceed hard limits")
def test_hard_limit_on_open_files_is_said_and_kept() -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))

    done = demo(*SHORT, "--no-compare", limits=lower)
    assert done.returncode == 0
    assert "RLIMIT_NOFILE" in done.stdout and "goes on with 50 connections" in done.stdout
    assert row("gopark", done.stdout)[1] == "50"


def test_refused_threads_are_said_and_do_not_fail_gopark() -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, 8 << 20))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    done = demo("--connections", "250", "--seconds", "0.3", limits=lower)
    assert done.returncode == 0
    assert row("gopark", done.stdout)[-1] == row("asyncio", done.stdout)[-1] == "yes"
    assert row("threads", done.stdout)[-1] == "NO"
    said = re.search(r"threads: only (\d+) of 250 connections: the system refused a thread", done.stdout)
    assert said and 0 < int(said[1]) < 250


@pytest.mark.parametrize(
    "wrong",
    ["--connections=0", "--connections=x", "--seconds=0", "--seconds=nan", "--size=0", "--size=65537"],
)
def test_senseless_numbers_are_usage_errors(wrong: str) -> None:
    done = demo(wrong)
    assert done.returncode == 2
    assert wrong.partition("=")[0] in done.stderr


def test_large_messages_come_back_whole() -> None:
    done = demo("--connections", "20", "--seconds", "0.3", "--size", "65536", "--no-compare")
    assert done.returncode == 0, done.stdout


def test_beyond_one_addresss_ports_connections_come_from_several_addresses() -> None:
    load = Load(port=1, wanted=50_000, size=64, patience=1.0)
    addresses = {load.local_address(number) for number in (0, 20_000, 40_000)}
    assert len(addresses) == 3
    for address in addresses:
        assert address is not None
        with socket.socket() as sock:
            sock.bind((address.removesuffix(":0"), 0))  # every 127.x.y.z is this machine's
    assert Load(port=1, wanted=10_000, size=64, patience=1.0).local_address(0) is None
