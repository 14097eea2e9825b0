"""``gopark run``: what is its own, beside python's conventions."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gopark.hook
from gopark.cli import run
from running import environment, gopark_command


def test_program_is_patched() -> None:
    done = gopark_command("run", "-c", "import gopark; print(gopark.is_patched())")
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_interpreted_core_is_refused_with_a_reason() -> None:
    done = gopark_command("run", "-c", "print('never')", GOPARK_PURE="1")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("gopark run: the interpreted core has no hooks")


def test_hooks_lists_what_is_hooked_where() -> None:
    done = gopark_command("run", "--hooks")
    assert done.returncode == 0
    objects = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert any("_socket." in name for name in objects)
    assert " recv" in done.stdout


def test_hooks_of_a_program_are_listed_at_its_end() -> None:
    done = gopark_command("run", "--hooks", "-c", "import _multiprocessing, sys; print(sys.argv)", "--hooks")
    assert done.stdout == "['-c', '--hooks']\n"
    assert "_socket." in done.stderr


def test_gopark_hooks_leaves_out_an_object() -> None:
    listing = gopark_command("run", "--hooks", GOPARK_HOOKS="-_socket.").stdout
    assert "libpython" in listing or "(the program)" in listing
    assert "_socket." not in listing


@pytest.mark.skipif(gopark.hook.refusal() is not None, reason="cannot be patched here, which is said first")
def test_gopark_hooks_that_is_neither_plus_nor_minus_is_refused() -> None:
    done = gopark_command("run", "--hooks", GOPARK_HOOKS="libpq")
    assert done.returncode == 1
    assert done.stderr == "gopark run: GOPARK_HOOKS: 'libpq' is neither +name nor -name\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which program?"),
        (["-X"], "argument expected for -X"),
        (["-m"], "argument expected for the -m option"),
        (["-BZ"], "unknown option -Z"),
        (["--hook"], "unknown option --hook"),
        (["--check-hash-based-pycs"], "argument expected for --check-hash-based-pycs"),
    ],
)
def test_wrong_command_line_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run.parse(words)


@pytest.mark.parametrize(
    ("line", "options", "kind", "program", "arguments"),
    [
        ("a.py -c x", "", "FILE", "a.py", "-c x"),
        ("-- -a.py x", "", "FILE", "-a.py", "x"),
        ("-X dev -Wd -bBc code -W x", "-X dev -Wd -b -B", "-c", "code", "-W x"),
        ("-mmodule --hooks", "", "-m", "module", "--hooks"),
        ("-uu --check-hash-based-pycs never - x", "-u -u --check-hash-based-pycs never", "-", "-", "x"),
    ],
)
def test_command_line_is_read_as_python_reads_it(
    line: str, options: str, kind: str, program: str, arguments: str
) -> None:
    parsed = run.parse(line.split())
    assert parsed is not None and not parsed.hooks
    assert (parsed.options, parsed.kind, parsed.program) == (options.split(), kind, program)
    assert parsed.arguments == arguments.split()


def test_help_and_version_are_printed() -> None:
    assert "GOPARK_HOOKS" in gopark_command("run", "--help").stdout
    assert gopark_command("run", "-V").stdout.startswith("gopark ")


def test_ctrl_c_ends_it_with_the_signal(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time\nprint('ready', flush=True)\ntime.sleep(30)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "gopark", "run", program],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{program}", line ')
    assert lines[-1] == "KeyboardInterrupt"


def test_program_of_the_standard_library_alone_can_be_interrupted_and_dumped() -> None:
    """Its frames are like those of the runtime's own calls, and below them are the command's."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gopark", "run", "-m", "http.server", "--bind", "127.0.0.1", "0"],
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline().startswith("Serving HTTP")
        dump = gopark_command("dump", process.pid).stdout
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert "Keyboard interrupt received, exiting." in out, out + err
    assert process.returncode == 0
    assert "__main__.<module>" in dump and "gopark.cli" not in dump and "runpy" not in dump


def test_program_of_the_standard_library_alone_is_interrupted_while_it_computes() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gopark",
            "run",
            "-m",
            "timeit",
            "-n",
            "1",
            "-r",
            "1",
            "-s",
            "print('ready', flush=True)",
            "while True: pass",
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    assert process.returncode in (1, -signal.SIGINT)  # timeit prints it and returns 1


def test_orig_argv_starts_it_again(tmp_path: Path) -> None:
    """Reloaders start a program anew with [sys.executable, *sys.orig_argv[1:]]: it is patched again."""
    program = tmp_path / "program.py"
    program.write_text(
        "import gopark, os, sys\n"
        "print(gopark.is_patched(), sys.flags.optimize, sys.argv[1:], flush=True)\n"
        "if os.environ.pop('AGAIN', None):\n"
        "    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])\n"
    )
    done = gopark_command("run", "-O", program, "x", AGAIN="1")
    assert done.stdout == "True 1 ['x']\n" * 2, done.stderr


def test_subprocesses_are_plain() -> None:
    done = gopark_command(
        "run",
        "-c",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys; print(\"gopark\" in sys.modules)'])",
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("how", ["file", "module"])
def test_children_of_multiprocessing_are_patched_and_find_main(tmp_path: Path, method: str, how: str) -> None:
    (tmp_path / "program.py").write_text(f"""
import gopark, multiprocessing, sys
def patched(n):
    return n, gopark.is_patched(), sys.argv[1:], sys.flags.optimize
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(pool.map(patched, [1]))
    import multiprocessing.spawn
    gopark.unpatch()
    assert multiprocessing.spawn.get_preparation_data.__module__ == "multiprocessing.spawn"
""")
    program = ["-m", "program"] if how == "module" else [tmp_path / "program.py"]
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "gopark"), "run", "-O", *program, "x"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.returncode) == ("[(1, True, ['x'], 1)]\n", 0), done.stderr
