"""``pytest -p gopark``: each run is a pytest of its own, in a process of its own."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gopark.hook
from running import environment

WHY = gopark.hook.refusal()
patchable = pytest.mark.skipif(WHY is not None, reason=f"cannot be patched here: {WHY}")


def run(
    folder: Path,
    tests: str,
    *arguments: str,
    plugin: bool = True,
    how: tuple[str, ...] = ("-m", "pytest"),
    **env: str,
) -> "subprocess.CompletedProcess[str]":
    (folder / "pytest.ini").touch()
    (folder / "test_it.py").write_text(textwrap.dedent(tests))
    return subprocess.run(
        [sys.executable, *how, *(["-p", "gopark"] if plugin else []), "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=50,
    )


def outcomes(done: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    last = done.stdout.splitlines()[-1]
    return {what.rstrip("s"): int(n) for n, what in re.findall(r"(\d+) (\w+)", last.partition(" in ")[0])}


@patchable
def test_each_test_is_a_goroutine_of_its_own(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import gopark, unittest
        seen = set()
        def test_one(tmp_path):
            seen.add(gopark.current().id)
            assert gopark.is_patched() and gopark.current().name == "test_one"
        class Test(unittest.TestCase):
            def test_two(self):
                seen.add(gopark.current().id)
        def test_three():
            assert len(seen) == 2 and 1 not in seen
        """,
    )
    assert outcomes(done) == {"passed": 3}, done.stdout + done.stderr
    assert "warning" not in done.stdout


@patchable
def test_outcomes_are_the_tests_own(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import contextvars, pytest, sys
        var = contextvars.ContextVar("var")
        @pytest.fixture
        def fixture():
            var.set("fixture")
            yield
            assert var.get() == "test"
        def test_context(fixture):
            assert var.get() == "fixture"
            var.set("test")
        def test_fails():
            value = 1
            assert value == 2
        def test_skips():
            pytest.skip("because")
        @pytest.mark.xfail
        def test_is_expected_to_fail():
            raise ValueError
        def test_exits():
            sys.exit(3)
        """,
        "-rs",
    )
    assert outcomes(done) == {"passed": 1, "failed": 2, "skipped": 1, "xfailed": 1}, done.stdout + done.stderr
    assert "E       assert 1 == 2" in done.stdout  # asserts are explained
    assert "because" in done.stdout
    assert "contrib/pytest.py" not in done.stdout  # and nothing of ours is in the traceback


@patchable
def test_goroutines_left_behind_fail_the_test_and_are_named_with_their_stacks(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import gopark, pytest, threading
        left = []
        def forgotten():
            try:
                gopark.Chan().recv()
            finally:
                left.append("cancelled")
        def test_leaks():
            gopark.go(forgotten).name = "the forgotten one"
        def test_it_has_been_cancelled():
            assert left == ["cancelled"]
        def test_one_that_ends_by_itself():
            gopark.go(gopark.sleep, 0.05)
        @pytest.fixture
        def worker():
            event = threading.Event()
            goroutine = gopark.go(event.wait)
            yield
            event.set()
            goroutine.join()
        def test_one_that_its_fixture_ends(worker):
            pass
        def test_loop_of_the_runtimes_own():
            async def answer():
                return 42
            import gopark.aio
            assert gopark.aio.wait(answer()) == 42
        @pytest.mark.gopark(leaks=True)
        def test_that_may(request):
            gopark.go(forgotten)
        @pytest.fixture(scope="module")
        def server():
            chan = gopark.Chan()
            goroutine = gopark.go(chan.recv)
            yield
            chan.close()
            goroutine.join()
        def test_one_of_the_modules(server):
            pass
        """,
    )
    assert outcomes(done) == {"passed": 7, "error": 1}, done.stdout + done.stderr
    assert "ERROR at teardown of test_leaks" in done.stdout
    assert "1 goroutine(s) left behind" in done.stdout
    assert "the forgotten one" in done.stdout
    assert "test_it.forgotten" in done.stdout and "created by test_it.test_leaks" in done.stdout


HANGS = """
import gopark, socket, time
def waits(): time.sleep(1000)
def test_hangs():
    helper = gopark.go(waits)
    a, b = socket.socketpair()
    try:
        a.recv(1)
    finally:
        helper.cancel()
def test_next():
    pass
"""


@patchable
@pytest.mark.parametrize("how", ["ini", "marker", "pytest-timeout"])
def test_timeout_shows_every_goroutine_and_the_run_goes_on(tmp_path: Path, how: str) -> None:
    marker = (
        "import pytest\n@pytest.mark.gopark(timeout=0.3)\ndef test_hangs"
        if how == "marker"
        else "def test_hangs"
    )
    arguments = {
        "ini": ["-o", "gopark_timeout=0.3"],
        "marker": [],
        "pytest-timeout": ["--timeout=0.3", "--timeout-method=signal"],
    }[how]
    done = run(tmp_path, HANGS.replace("def test_hangs", marker), *arguments)
    assert outcomes(done) == {"passed": 1, "failed": 1}, done.stdout + done.stderr
    assert "Timeout" in done.stdout
    assert (
        "goroutine 1 " in done.stdout
        and "test_it.waits" in done.stdout
        and "test_it.test_hangs" in done.stdout
    )


@patchable
def test_pytest_timeout_that_ends_the_process_shows_every_goroutine(tmp_path: Path) -> None:
    done = run(tmp_path, HANGS, "--timeout=1", "--timeout-method=thread")
    assert done.returncode == 1
    assert "test_it.waits" in done.stdout and "test_it.test_hangs" in done.stdout


@patchable
def test_under_gopark_run(tmp_path: Path) -> None:
    done = run(tmp_path, "def test(): pass", how=("-m", "gopark", "run", "-m", "pytest"))
    assert outcomes(done) == {"passed": 1}, done.stdout + done.stderr


@patchable
def test_without_it_nothing_changes(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "import sys\ndef test(): assert not [name for name in sys.modules if name.startswith('gopark')]",
        plugin=False,
    )
    assert outcomes(done) == {"passed": 1}, done.stdout + done.stderr


def test_interpreted_core_is_refused_with_a_reason(tmp_path: Path) -> None:
    done = run(tmp_path, "def test(): pass", GOPARK_PURE="1")
    assert done.returncode == 4
    assert "ERROR: -p gopark: the interpreted core has no hooks" in done.stderr
