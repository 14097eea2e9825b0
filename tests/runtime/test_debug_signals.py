"""Dumps on a signal: SIGQUIT prints and ends with status 2, SIGUSR1 (or another) prints and goes on."""

import os
import select
import signal
import subprocess
import threading
from pathlib import Path

import pytest

import gopark
from running import running
from support import eventually

PARKED = """
    import gopark
    def worker():
        gopark.sleep(1e6)
    def main():
        gopark.go(worker).name = "the worker"
        gopark.gosched()
        print("ready", flush=True)
        gopark.sleep(1e6)
    gopark.run(main)
"""
BUSY = """
    import gopark
    def main():
        gopark.go(gopark.sleep, 1e6).name = "the worker"
        gopark.gosched()
        print("ready", flush=True)
        while True:
            pass
    gopark.run(main)
"""


def dumps(process: "subprocess.Popen[str]", how_many: int = 1, seconds: float = 20) -> str:
    """What it has written to stderr once that holds so many complete dumps."""
    assert process.stderr is not None
    fd, out = process.stderr.fileno(), b""
    while out.count(b"all goroutines") < how_many or not out.endswith(b"\n\n"):
        assert select.select([fd], [], [], seconds)[0], out
        more = os.read(fd, 65536)
        assert more, out
        out += more
    return out.decode()


@pytest.mark.parametrize("program", [PARKED, BUSY], ids=["parked", "busy"])
def test_sigquit_prints_every_goroutine_and_ends_with_status_2(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path) as process:
        process.send_signal(signal.SIGQUIT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith("SIGQUIT: all goroutines\n\ngoroutine 1 [")
    assert "    name: the worker\n" in err
    assert list((tmp_path / "gopark").iterdir()) == []  # the socket is removed


@pytest.mark.parametrize("program", [PARKED, BUSY], ids=["parked", "busy"])
def test_sigusr1_prints_and_the_program_goes_on(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path) as process:
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            err = dumps(process)
            assert err.startswith("SIGUSR1: all goroutines\n\ngoroutine 1 [") and "the worker" in err
        assert process.poll() is None


def test_gopark_dump_signal_names_another_signal(tmp_path: Path) -> None:
    with running(PARKED, tmp_path, GOPARK_DUMP_SIGNAL="SIGUSR2") as process:
        process.send_signal(signal.SIGUSR2)
        assert dumps(process).startswith("SIGUSR2: all goroutines\n")
        process.send_signal(signal.SIGUSR1)  # not ours any more: its default is to end the process
        assert process.wait(20) == -signal.SIGUSR1


def test_gopark_dump_signal_none_leaves_sigusr1_alone(tmp_path: Path) -> None:
    with running(PARKED, tmp_path, GOPARK_DUMP_SIGNAL="none") as process:
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == -signal.SIGUSR1


def test_a_wrong_gopark_dump_signal_is_said_and_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOPARK_DUMP_SIGNAL", "SIGNONSENSE")
    gopark.run(gopark.gosched)
    assert "GOPARK_DUMP_SIGNAL=SIGNONSENSE is not a signal" in capfd.readouterr().err


def test_a_dump_into_a_full_nonblocking_stderr_comes_out_whole(tmp_path: Path) -> None:
    program = PARKED.replace("gopark.gosched()", "[gopark.go(worker) for _ in range(3000)]; gopark.gosched()")
    program = program.replace("import gopark", "import gopark, os; os.set_blocking(2, False)", 1)
    with running(program, tmp_path) as process:
        process.send_signal(signal.SIGQUIT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err.count("\ngoroutine ") == 3002
    assert err.rstrip().splitlines()[-1].startswith("\t")


def test_handlers_are_installed_for_the_run_only() -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(s) for s in (signal.SIGQUIT, signal.SIGUSR1)]

    assert handlers() == [signal.SIG_DFL, signal.SIG_DFL]
    assert all(map(callable, gopark.run(handlers)))
    assert handlers() == [signal.SIG_DFL, signal.SIG_DFL]


def test_the_programs_own_handler_is_left_alone() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: got.append(signum))
    try:

        def main() -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            eventually(lambda: got)

        gopark.run(main)
        assert got == [signal.SIGUSR1]
        assert callable(signal.getsignal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.filterwarnings("ignore:gopark runs on a thread:RuntimeWarning")
def test_on_another_thread_no_handler_is_installed() -> None:
    seen: list[object] = []
    thread = threading.Thread(
        target=gopark.run, args=(lambda: seen.append(signal.getsignal(signal.SIGQUIT)),)
    )
    thread.start()
    thread.join(20)
    assert seen == [signal.SIG_DFL]
