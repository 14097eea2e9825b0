"""The debug socket: where it is, who may use it, how it comes and goes."""

import contextlib
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


@goroutines
def test_a_client_that_says_nothing_does_not_keep_others_out() -> None:
    with _attach.Target(os.getpid()) as target, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(debug_files.within(target.dirfd, f"{os.getpid()}.sock"))
        assert "goroutine 1 " in gopark.blocking(target.ask, "dump", 20)


@goroutines
def test_clients_that_say_nothing_delay_nobody() -> None:
    with _attach.Target(os.getpid()) as target, contextlib.ExitStack() as stack:
        for _ in range(10):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(debug_files.within(target.dirfd, f"{os.getpid()}.sock"))
        assert "goroutine 1 " in gopark.blocking(target.ask, "dump", 1.0)


@goroutines
def test_a_client_that_reads_nothing_delays_nobody() -> None:
    for _ in range(3000):  # more than a socket's buffers hold
        gopark.go(gopark.sleep, 1e6)
    gopark.gosched()
    with _attach.Target(os.getpid()) as target, target.connect(1.0) as deaf:
        deaf.sendall(b"dump\n")
        assert gopark.blocking(target.ask, "dump", 2.0).count("[sleep]:") == 3000


# Two children that ask when they are told to: a program without descriptors cannot start one.
EXHAUSTED = """
import os, resource, subprocess, sys, gopark
from gopark.runtime import debug_server
def ps():
    return subprocess.Popen(
        [sys.executable, "-c", "import os, sys; sys.stdin.read(1); from gopark import cli;"
         f"sys.exit(cli.main(['ps', '{os.getpid()}']))"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
def ask(child):
    child.stdin.write("x")
    child.stdin.flush()
    return child.stdout.read(), child.wait()
def main():
    during, after = ps(), ps()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken = []
    prepare()
    try:
        while True:
            taken.append(os.dup(1))
    except OSError:
        pass
    print(gopark.blocking(ask, during))
    for fd in taken:
        os.close(fd)
    print(gopark.blocking(ask, after))
"""


def test_it_answers_while_the_program_has_no_descriptor_left() -> None:
    done = python(EXHAUSTED + "def prepare(): pass\ngopark.run(main)\n")
    during, after = done.stdout.splitlines()
    for line in (during, after):
        assert "blocking call" in line and line.endswith(", 0)")


def test_without_any_descriptor_that_is_said_and_it_goes_on_when_there_is_one() -> None:
    nothing_held_back = """
def prepare():
    os.close(debug_server._server.spare)
    debug_server._server.spare = -1
"""
    done = python(EXHAUSTED + nothing_held_back + "gopark.run(main)\n")
    during, after = done.stdout.splitlines()
    assert "has used up the file descriptors" in during and during.endswith(", 1)")
    assert "blocking call" in after and after.endswith(", 0)")


@pytest.mark.parametrize("error", ['RuntimeError("can\'t start new thread")', 'MemoryError("none left")'])
def test_a_socket_that_cannot_be_had_ends_nothing_and_is_remembered(error: str, runtime_dir: Path) -> None:
    done = python(f"""
        import _thread, gopark
        start = _thread.start_new_thread
        def fails(*arguments):
            if getattr(arguments[0], "__name__", "") == "serve":
                raise {error}
            return start(*arguments)
        _thread.start_new_thread = fails
        for _ in range(2):
            gopark.run(lambda: print(gopark.statistics().debug_socket))
            _thread.start_new_thread = start
    """)
    failed, again = done.stdout.splitlines()
    assert failed in ("none: can't start new thread", "none: none left")
    assert again.startswith(str(runtime_dir)) and again.endswith(".sock")
    assert done.stderr == ""
    assert names(runtime_dir) == []


def test_a_directory_that_somebody_else_has_made_is_said(runtime_dir: Path) -> None:
    runtime_dir.mkdir(0o755)
    program = """
        import os, gopark
        from gopark.cli import _attach
        from gopark.runtime import debug_files
        debug_files.candidates = lambda uid, where: [os.path.join(where, "gopark")] if where else []
        def main():
            try:
                _attach.Target(os.getpid())
            except _attach.AttachError as e:
                print(e)
        for _ in range(2):
            gopark.run(main)
    """
    done = python(program)
    assert f"{runtime_dir} can be entered by others: its mode is 755, not 700" in done.stderr
    assert done.stderr.count("\n") == 1  # once is enough
    assert "can be entered by others: its mode is 755, not 700, so it makes none there" in done.stdout
    if os.geteuid() == 0:
        runtime_dir.chmod(0o700)
        os.chown(runtime_dir, 65534, 65534)
        done = python(program)
        assert f"{runtime_dir} belongs to user 65534, not to user 0" in done.stderr
        assert "belongs to user 65534" in done.stdout


@goroutines
def test_a_name_that_a_living_process_of_another_namespace_has_is_left_to_it(runtime_dir: Path) -> None:
    debug_server.stop()
    theirs = str(runtime_dir / f"{os.getpid()}.sock")
    program = "import socket, sys; s = socket.socket(1); s.bind(sys.argv[1]); s.listen(8); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, theirs], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        debug_server.start()
        mine = f"{os.getpid()}-{debug_files.namespace()}"
        assert gopark.statistics().debug_socket == str(runtime_dir / f"{mine}.sock")
        assert "goroutine 1 " in gopark.blocking(ask)
        debug_server.stop()
        assert names(runtime_dir) == [f"{os.getpid()}.sock"]
    os.unlink(theirs)


def test_files_of_a_living_process_of_another_namespace_are_left_alone(runtime_dir: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert ended.wait(20) == 0
    runtime_dir.mkdir(0o700)
    left = [f"{ended.pid}{space}.{kind}" for space in ("", "-1234") for kind in ("sock", "trace")]
    with contextlib.ExitStack() as stack:
        for name in left:
            if name.endswith(".sock"):
                listening = stack.enter_context(socket.socket(socket.AF_UNIX))
                listening.bind(str(runtime_dir / name))
                listening.listen(8)
            else:
                (runtime_dir / name).touch()
        gopark.run(lambda: None)
        assert names(runtime_dir) == sorted(left)
    gopark.run(lambda: None)
    assert names(runtime_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("uid", [2**31, 2**32 - 2])
def test_user_ids_beyond_31_bits(uid: int) -> None:
    done = python(
        f"""
        import os, gopark
        from gopark.cli import _attach
        def ask():
            with _attach.Target(os.getpid()) as target:
                return target.ask("dump")
        gopark.run(gopark.blocking, ask)  # all that is imported late: that user may not be allowed to read the library
        os.setuid({uid})
        print(gopark.run(gopark.blocking, ask))
        os.rmdir("/tmp/gopark-{uid}")
        """,
        XDG_RUNTIME_DIR="",
    )
    assert "goroutine 1 [blocking call]" in done.stdout


@pytest.mark.parametrize("closed", ["0", "0, 1", "0, 1, 2"])
def test_it_takes_no_standard_streams_number(closed: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = f"""
import os, gopark
from gopark.runtime import debug_server
def main():
    server = debug_server._server
    with open({str(seen)!r}, "w") as f:
        f.write(f"{{server.sock.fileno()}} {{server.dirfd}} {{server.trace}} {{server.spare}}")
gopark.run(main)
"""
    python(f"""
        import os, subprocess, sys
        def close():
            for fd in ({closed},):
                os.close(fd)
        sys.exit(subprocess.call([sys.executable, "-c", {program!r}], preexec_fn=close))
    """)
    assert min(map(int, seen.read_text().split())) > 2


def test_a_child_that_is_about_to_be_another_program_leaves_no_files(runtime_dir: Path) -> None:
    @goroutines
    def main() -> None:
        before = names(runtime_dir)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, preexec_fn=os.setsid) as child:
            # preexec_fn has run, and exec: Popen returns after that.
            assert names(runtime_dir) == before
        assert child.returncode == 0

    main()


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
            gopark.gosched()  # the child's is made at its first scheduling decision
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


def test_a_program_that_closes_its_descriptor_ends_without_delay(runtime_dir: Path) -> None:
    python(
        """
        import os, time, gopark
        from gopark.runtime import debug_server
        def main():
            gopark.sleep(0.001)
            os.close(debug_server._server.sock.fileno())
        began = time.monotonic()
        gopark.run(main)
        assert time.monotonic() - began < debug_server._PATIENCE / 2
        """
    )
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
