"""``gopark run`` does with a program what ``python`` does: each is run by both, and what can be seen is the same."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from running import environment

PROBE = """
import sys, __main__
print(sys.argv, sys.path[0], sys.warnoptions, sys._xoptions, sys.flags, sep="\\n")
for name in sorted(vars(__main__)):
    if name not in ("__builtins__", "__main__", "sys", "__spec__", "__loader__"):
        print(name, repr(vars(__main__)[name]))
print(__main__ is sys.modules["__main__"], type(__loader__), __spec__ and __spec__.name, type(__builtins__))
if len(sys.argv) > 1 and sys.argv[1] == "raise":
    def fail():
        raise ValueError("failed")
    try:
        fail()
    except ValueError as e:
        raise KeyError("then") from e
"""

ENDING = """
import atexit, sys
def fail():
    raise ValueError("failed")
atexit.register(print, "at exit")
how = sys.argv[1]
if how == "hook":
    def hook(kind, value, traceback):
        print(kind, value, traceback.tb_frame.f_code.co_name, sys.last_traceback is traceback, sys.excepthook is hook)
    sys.excepthook = hook
    fail()
elif how == "bad hook":
    sys.excepthook = lambda *_: 1 / 0
    fail()
elif how == "interrupt":
    raise KeyboardInterrupt
elif how == "exit":
    sys.exit(eval(sys.argv[2]))
elif how == "thread":
    import threading
    threading.Thread(target=print, args=("thread",)).start()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("programs")
    (at / "probe.py").write_text(PROBE)
    (at / "ending.py").write_text(ENDING)
    (at / "wrong.py").write_text("x = (\n")
    (at / "latin.py").write_bytes("# coding: latin-1\nprint(ascii('ä'))\n".encode("latin-1"))
    (at / "link.py").symlink_to(at / "package" / "module.py")
    (at / "package").mkdir()
    (at / "package" / "__init__.py").write_text("")
    (at / "package" / "__main__.py").write_text(PROBE)
    (at / "package" / "module.py").write_text(PROBE)
    (at / "empty").mkdir()
    with zipfile.ZipFile(at / "program.zip", "w") as z:
        z.writestr("__main__.py", PROBE)
    return at


def both(folder: Path, *arguments: str, stdin: str = "") -> list["subprocess.CompletedProcess[str]"]:
    env = environment() | {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return [
        subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
        )
        for command in ([sys.executable], [os.path.join(os.path.dirname(sys.executable), "gopark"), "run"])
    ]


# Python leaves its own functions in the traceback of a module, or of a __main__.py; see below.
@pytest.mark.parametrize(
    "arguments",
    [
        "probe.py a -b",
        "link.py",
        "package",
        "program.zip a",
        "-m package",
        "-m package.module a -b",
        "-W error -X dev -OO -B -q probe.py",
        "-I probe.py",
        "-IS probe.py",
        "-Es -m package",
        "-P package",
        "latin.py",
        "probe.py raise",
        "wrong.py",
    ],
)
def test_program_finds_what_python_would_show_it(folder: Path, arguments: str) -> None:
    python, gopark = both(folder, *arguments.split())
    assert (gopark.returncode, gopark.stdout, gopark.stderr) == (
        python.returncode,
        python.stdout,
        python.stderr,
    )


def test_code_of_the_command_line(folder: Path) -> None:
    python, gopark = both(folder, "-c", PROBE, "raise", "-m")
    assert (gopark.returncode, gopark.stdout, gopark.stderr) == (
        python.returncode,
        python.stdout,
        python.stderr,
    )


def test_standard_input(folder: Path) -> None:
    python, gopark = both(folder, "-", "raise", "-m", stdin=PROBE)
    assert (gopark.returncode, gopark.stdout, gopark.stderr) == (
        python.returncode,
        python.stdout,
        python.stderr,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["hook"],
        ["interrupt"],
        ["exit", "3"],
        ["exit", "'farewell'"],
        ["exit", "None"],
        ["exit", "True"],
        ["thread"],
    ],
    ids=" ".join,
)
def test_program_ends_as_under_python(folder: Path, arguments: list[str]) -> None:
    """The exit status (an interrupt's is the signal), what is printed, and in which order."""
    python, gopark = both(folder, "ending.py", *arguments)
    assert (gopark.returncode, gopark.stdout, gopark.stderr) == (
        python.returncode,
        python.stdout,
        python.stderr,
    )


def test_error_in_an_excepthook_is_shown_with_the_programs_own(folder: Path) -> None:
    python, gopark = both(folder, "ending.py", "bad hook")
    assert gopark.returncode == python.returncode == 1
    assert set(python.stderr.splitlines()) <= set(gopark.stderr.splitlines())


def test_traceback_of_a_module_begins_in_it(folder: Path) -> None:
    _, gopark = both(folder, "-m", "package.module", "raise")
    beginnings = gopark.stderr.split("Traceback (most recent call last):\n")[1:]
    assert [text.split(",")[0] for text in beginnings] == [f'  File "{folder}/package/module.py"'] * 2
    assert "runpy" not in gopark.stderr and "gopark" not in gopark.stderr


@pytest.mark.parametrize(
    "arguments", [["absent.py"], ["-m", "absent"], ["-m", "package.absent"], ["empty"], ["-m", "empty"]]
)
def test_what_is_not_there_is_said_in_pythons_words(folder: Path, arguments: list[str]) -> None:
    python, gopark = both(folder, *arguments)
    assert gopark.returncode == python.returncode != 0
    assert gopark.stderr.partition(": ")[2] == python.stderr.partition(": ")[2]


@pytest.mark.parametrize("program", ["ending.py", "probe.py"])
@pytest.mark.parametrize("how", ["raise", "interrupt", "exit"])
def test_inspect_goes_on_with_a_prompt(folder: Path, program: str, how: str) -> None:
    """`python -i`: after the program's end, however it came, its names can be looked at."""
    look = "print(sorted(globals().keys() - {'__file__', '__cached__'}), sys.argv)\n"  # those two are kept
    python, gopark = both(folder, "-i", program, how, "4", stdin=look)
    assert (gopark.returncode, gopark.stdout, gopark.stderr) == (
        python.returncode,
        python.stdout,
        python.stderr,
    )
