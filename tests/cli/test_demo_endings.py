"""``gopark demo`` leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gopark
from gopark.cli._demo_child import Child, Failed

DEMO = [sys.executable, "-m", "gopark", "demo", "--connections", "200", "--seconds", "50", "--no-compare"]


def children(pid: int) -> set[int]:
    """Processes whose parent is *pid* and that have not ended."""
    found = set()
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                state, parent = (directory / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it has just ended
                continue
            if int(parent) == pid and state != "Z":
                found.add(int(directory.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def running(*until: str) -> Iterator[tuple["subprocess.Popen[str]", set[int]]]:
    """The demo once it has printed all of *until*, and its children at that moment."""
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for word in until:
                assert any(word in line for line in process.stdout), f"ended without {word!r}"
            yield process, children(process.pid)
        finally:
            process.kill()


@pytest.mark.parametrize("moment", ["TCP connections", "connecting", "measuring"])
def test_ctrl_c_ends_the_demo_and_its_children(moment: str) -> None:
    with running(moment) as (process, found):
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        assert out.endswith("\ninterrupted\n") and "Traceback" not in out
        assert len(found) == 2 or moment != "measuring"
        # At once, except for one whose start was interrupted: that one finds by itself that the demo is gone.
        wait_until(lambda: not any(map(alive, found)))


def test_demo_that_is_killed_takes_its_children_along() -> None:
    with running("measuring") as (process, found):
        process.kill()
        process.wait(20)
        assert len(found) == 2
        wait_until(lambda: not any(map(alive, found)))


@pytest.mark.parametrize("victim", ["client", "server"])
def test_process_that_dies_is_reported_and_fails_the_demo(victim: str) -> None:
    with running("measuring") as (process, found):
        program = f"_demo_{victim}".encode()
        (pid,) = (pid for pid in found if program in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(pid, signal.SIGKILL)
        out, _ = process.communicate(timeout=50)
        assert process.returncode == 1
        assert f"the {victim}" in out and "was killed by SIGKILL" in out
        assert not any(map(alive, found))


def test_child_that_dies_is_reported_with_its_stderr() -> None:
    def main() -> None:
        with Child("the child", [sys.executable, "-c", "import sys; sys.exit('its last words')"]) as child:
            child.read_line(20)

    with pytest.raises(Failed, match=r"(?s)the child ended with exit status 1.*its last words"):
        gopark.run(main)


def test_child_that_says_nothing_is_given_up() -> None:
    def main() -> None:
        with Child("the child", [sys.executable, "-c", "import time; time.sleep(50)"]) as child:
            child.read_line(0.05)

    with pytest.raises(Failed, match=r"the child said nothing for 0.05 s"):
        gopark.run(main)


def test_command_that_cannot_be_started_is_reported() -> None:
    def main() -> None:
        with Child("the child", ["/no/such/program"]):
            pass

    with pytest.raises(Failed, match=r"the child: .*No such file"):
        gopark.run(main)
