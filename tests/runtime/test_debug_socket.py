"""The debug socket: where it is, who may use it, how it comes and goes."""

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import gopark
from gopark.cli import _attach
from gopark.runtime import debug_files, debug_server
from support import descriptors, eventually, goroutines, python


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "gopark"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_exists_while_the_runtime_runs_in_a_private_directory(runtime_dir: Path) -> None:
    def main() -> list[str]:
        assert stat.S_IMODE(runtime_dir.stat().st_mode) == 0o700
        return names(runtime_dir)

    pid = os.getpid()
    assert gopark.run(main) == [f"{pid}.sock", f"{pid}.trace"]
    assert names(runtime_dir) == []


def test_gopark_debug_socket_0_turns_it_off(monkeypatch: pytest.MonkeyPatch, runtime_dir: Path) -> None:
    monkeypatch.setenv("GOPARK_DEBUG_SOCKET", "0")
    gopark.run(lambda: None)
    assert not runtime_dir.exists()


def test_a_path_longer_than_a_sockets_address_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 150)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert f"{os.getpid()}.sock" in gopark.run(lambda: names(deep / "gopark"))


def test_descriptors_of_a_run_are_closed_after_it() -> None:
    gopark.run(lambda: None)
    before = len(descriptors())
    for _ in range(5):
        gopark.run(lambda: None)
    assert len(descriptors()) == before


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_can_enter_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(PermissionError):
        debug_files.open_directory(str(path), os.geteuid())


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    with pytest.raises(OSError):
        debug_files.open_directory(str(tmp_path / "link"), os.geteuid())


def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(0o700)
    with pytest.raises(PermissionError):
        debug_files.open_directory(str(tmp_path / "private"), os.geteuid() + 1)


def test_without_a_usable_directory_everything_else_works(
    monkeypatch: pytest.MonkeyPatch, runtime_dir: Path, tmp_path: Path
) -> None:
    runtime_dir.write_text("in the way")
    monkeypatch.setattr(debug_files, "candidates", lambda uid, where: [str(runtime_dir)])
    assert gopark.run(lambda: 7) == 7
    assert isinstance(debug_server.failure, OSError)


def test_files_of_processes_that_are_no_more_are_removed(runtime_dir: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert ended.wait(20) == 0
    runtime_dir.mkdir(0o700)
    for name in (f"{ended.pid}.sock", f"{ended.pid}.trace", f"{os.getppid()}.trace", "notes.txt"):
        (runtime_dir / name).touch()
    (runtime_dir / f"{os.getpid()}.sock").touch()  # of an earlier process with our number

    @goroutines
    def main() -> None:
        eventually(lambda: f"{ended.pid}.sock" not in names(runtime_dir))
        eventually(lambda: f"{ended.pid}.trace" not in names(runtime_dir))
        assert "goroutine 1 " in gopark.blocking(ask)

    main()
    assert names(runtime_dir) == sorted([f"{os.getppid()}.trace", "notes.txt"])


def ask(word: str = "dump") -> str:
    with _attach.Target(os.getpid()) as target:
        return target.ask(word)


@goroutines
def test_its_thread_is_nobody_to_the_threading_module() -> None:
    assert "goroutine 1 [blocking call]" in gopark.blocking(ask)
    known = {t.ident for t in threading.enumerate()}
    served = [ident for ident, frame in sys._current_frames().items() if debug_server.serves(frame)]
    assert served and not known & set(served)
    assert not any("Dummy" in type(t).__name__ for t in threading.enumerate())


@goroutines
def test_a_client_that_says_nothing_does_not_keep_others_out() -> None:
    with _attach.Target(os.getpid()) as target, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(debug_files.within(target.dirfd, f"{os.getpid()}.sock"))
        assert "goroutine 1 " in gopark.blocking(target.ask, "dump", 20)


@goroutines
def test_an_unknown_request_gets_an_answer() -> None:
    assert gopark.blocking(ask, "nonsense") == "unknown request: nonsense\n"


def test_a_default_timeout_of_sockets_does_not_end_it() -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.01)
    try:

        @goroutines
        def main() -> None:
            gopark.sleep(0.05)  # several of those timeouts
            assert "goroutine 1 " in gopark.blocking(ask)

        main()
    finally:
        socket.setdefaulttimeout(before)


def test_a_forked_child_has_its_own_and_leaves_its_parents_alone(runtime_dir: Path) -> None:
    @goroutines
    def main() -> None:
        parent = os.getpid()
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(w, " ".join(names(runtime_dir)).encode())
            debug_server.stop()
            os._exit(0)
        os.close(w)
        with open(r) as f:
            assert f.read().split() == sorted(
                f"{p}.{kind}" for p in (parent, pid) for kind in ("sock", "trace")
            )
        assert os.waitpid(pid, 0)[1] == 0
        assert names(runtime_dir) == [f"{parent}.sock", f"{parent}.trace"]
        assert "goroutine 1 " in gopark.blocking(ask)

    main()


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(0)",
        "gopark.go(gopark.sleep, 1e6)",
        "threading.Thread(target=time.sleep, args=(0.1,)).start()",
    ],
)
def test_it_never_keeps_a_program_from_ending(end: str, runtime_dir: Path) -> None:
    began = time.monotonic()
    python(f"import gopark, sys, threading, time\ngopark.gosched()\n{end}\n")
    assert time.monotonic() - began < 20
    assert names(runtime_dir) == []


def test_a_deadlock_is_seen_although_its_thread_exists(runtime_dir: Path) -> None:
    done = python(
        """
        import gopark
        from gopark.runtime.sema import WaitQ
        gopark.run(WaitQ().park, "nothing")
        """,
        check=False,
    )
    assert "all goroutines are asleep - deadlock!" in done.stderr
    assert "goroutine 1 [nothing]:\n" in done.stderr
    assert done.returncode != 0
