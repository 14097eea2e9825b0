"""`gopark ps PID`: the goroutines of a running process as a table."""

from pathlib import Path

import pytest

from gopark.cli import ps
from running import WEDGED, gopark_command, running

PROGRAM = (
    """
import gopark
from gopark import net
def handler(conn):
    conn.read()
def main():
    listener = net.listen("tcp", "127.0.0.1:0")
    conn = net.dial("tcp", f"127.0.0.1:{listener.addr[1]}")
    peer = listener.accept()
    gopark.go(handler, conn).name = "the handler"
    gopark.go(handler, conn)
    gopark.go(gopark.sleep, 1e6)
    gopark.gosched()
    print("ready", flush=True)
    do()
"""
    + WEDGED
)


def test_one_line_for_each_goroutine(tmp_path: Path) -> None:
    with running(PROGRAM + "def do():\n    while True: pass\ngopark.run(main)", tmp_path) as process:
        done = gopark_command("ps", process.pid)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "WAITS", "FOR", "SINCE", "WHERE", "NAME"]
    cells = [
        [row[head.index(name) :].split("  ")[0].strip() for name in ("ID", "STATE", "WAITS", "WHERE", "NAME")]
        for row in rows
    ]
    assert [row[:3] for row in cells] == [
        ["1", "running", ""],
        ["2", "waiting", "IO wait"],
        ["3", "waiting", "fd read lock"],
        ["4", "waiting", "sleep"],
    ]
    assert cells[0][3].startswith("__main__.do (<string>:")
    assert cells[1][3:] == ["__main__.handler (<string>:5)", "the handler"]
    assert cells[2][3:] == ["__main__.handler (<string>:5)", ""]


def test_stats_prints_what_the_program_counts(tmp_path: Path) -> None:
    with running(PROGRAM + "def do():\n    while True: pass\ngopark.run(main)", tmp_path) as process:
        done = gopark_command("ps", "--stats", process.pid)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "goroutines: 4" in lines and "    waiting: 3" in lines and "    fd read lock: 1" in lines
    assert f"debug_socket: {tmp_path}/gopark/{process.pid}.sock" in lines


def test_stuck_with_the_gil_it_points_to_dump(tmp_path: Path) -> None:
    with running(
        PROGRAM + "def do():\n    wedged(ctypes.PyDLL(None))\ngopark.run(main)", tmp_path
    ) as process:
        done = gopark_command("ps", process.pid)
    assert done.returncode == 3
    assert "GIL" in done.stderr and f"gopark dump {process.pid}" in done.stderr


def test_a_process_that_cannot_be_looked_into(tmp_path: Path) -> None:
    with running("print('ready', flush=True); input()", tmp_path) as process:
        done = gopark_command("ps", process.pid)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"gopark ps: process {process.pid} has no debug socket")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.96, "10.0s"), (12.9, "12s"), (190, "3m10s"), (7505, "2h05m")],
)
def test_how_long_is_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert ps.duration(seconds) == text
