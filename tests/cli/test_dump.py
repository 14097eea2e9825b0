"""`gopark dump PID`: looks into a running process from outside, whatever that process is doing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from running import WEDGED, environment, gopark_command, running

PREAMBLE = (
    """
import gopark
def worker():
    gopark.sleep(1e6)
def main():
    gopark.go(worker).name = "the worker"
    gopark.gosched()
    print("ready", flush=True)
    do()
"""
    + WEDGED
)
PARKED = PREAMBLE + "def do():\n    gopark.sleep(1e6)\ngopark.run(main)"
BUSY = PREAMBLE + "def do():\n    while True: pass\ngopark.run(main)"
IN_C = PREAMBLE + "def do():\n    wedged(ctypes.CDLL(None))\ngopark.run(main)"
IN_C_WITH_THE_GIL = PREAMBLE + "def do():\n    wedged(ctypes.PyDLL(None))\ngopark.run(main)"


@pytest.mark.parametrize(
    ("program", "state"),
    [(PARKED, "sleep"), (BUSY, "running"), (IN_C, "running")],
    ids=["parked", "in a Python loop", "stuck in C without the GIL"],
)
def test_prints_every_goroutine_and_leaves_the_process_running(
    program: str, state: str, tmp_path: Path
) -> None:
    with running(program, tmp_path) as process:
        for _ in range(2):
            done = gopark_command("dump", process.pid)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith(f"goroutine 1 [{state}]:\n    name: main\n")
            assert "__main__.do(...)\n\t<string>:" in done.stdout
            assert "\ngoroutine 2 [sleep]:\n    name: the worker\n__main__.worker(...)\n" in done.stdout
        assert process.poll() is None


def test_stuck_in_c_with_the_gil_it_says_so_and_prints_what_faulthandler_knows(tmp_path: Path) -> None:
    with running(IN_C_WITH_THE_GIL, tmp_path) as process:
        for _ in range(2):
            done = gopark_command("dump", process.pid)
            assert done.returncode == 3
            assert f"process {process.pid} has not answered for 2 s" in done.stderr and "GIL" in done.stderr
            assert "faulthandler's report" in done.stdout
            _, _, report = done.stdout.partition("the C functions.\n")
            assert "(most recent call first):" in report
            where = [line for line in report.splitlines() if " in " in line]
            assert any(line.endswith(" in wedged") for line in where), report
            assert any(line.endswith(" in do") for line in where), report
        assert process.poll() is None


def test_no_such_process() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert ended.wait(20) == 0
    done = gopark_command("dump", ended.pid)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"gopark dump: no process {ended.pid}\n"


def test_not_a_gopark_process(tmp_path: Path) -> None:
    with running("print('ready', flush=True); input()", tmp_path) as process:
        done = gopark_command("dump", process.pid)
    assert done.returncode == 1
    assert f"process {process.pid} has no debug socket: it is not a gopark process" in done.stderr


def test_a_stale_socket_of_another_process_is_not_taken_for_its_own(tmp_path: Path) -> None:
    with (
        running(PARKED, tmp_path) as process,
        running("print('ready', flush=True); input()", tmp_path) as other,
    ):
        directory = tmp_path / "gopark"
        os.link(directory / f"{process.pid}.sock", directory / f"{other.pid}.sock")
        done = gopark_command("dump", other.pid)
    assert done.returncode == 1
    assert "has no debug socket" in done.stderr


def test_a_stopped_process_is_said_to_be_stopped(tmp_path: Path) -> None:
    with running(PARKED, tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        done = gopark_command("dump", process.pid)
        assert done.returncode == 1
        assert f"process {process.pid} is stopped" in done.stderr
        process.send_signal(signal.SIGCONT)
        assert gopark_command("dump", process.pid).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process() -> None:
    program = """
import os, sys
from gopark import cli
# All that is imported late: the other user may not be allowed to read this Python's library.
try: cli.main(["dump", "--help"])
except SystemExit: pass
os.setuid(65534)
sys.exit(cli.main(["dump", sys.argv[1]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(os.getpid())],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"process {os.getpid()} is another user's" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into all processes")
def test_root_may_look_into_another_users_process(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    program = "import os; import gopark, ctypes; os.setuid(65534)\n" + PARKED
    with running(program, tmp_path) as process:
        done = gopark_command("dump", process.pid)
    if "has no debug socket" in done.stderr:
        pytest.skip("another user cannot reach the directory of this test")
    assert "name: the worker" in done.stdout


@pytest.mark.parametrize("pid", ["0", "-1", "x"])
def test_what_is_no_process_id_is_a_usage_error(pid: str) -> None:
    done = gopark_command("dump", "--", pid)
    assert done.returncode == 2
    assert "usage: gopark dump" in done.stderr
