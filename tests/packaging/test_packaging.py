"""What gets built, what gets installed, and which core then runs."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = tuple(EXTENSION_SUFFIXES)

ECHO = """
import sys
import gopark
from gopark import net

def serve(listener):
    with listener.accept() as conn:
        while data := conn.read():
            conn.write(data)

def main():
    with net.listen("tcp", "127.0.0.1:0") as listener:
        gopark.go(serve, listener)
        host, port = listener.addr
        with net.dial("tcp", f"{host}:{port}") as conn:
            conn.write(b"hello")
            return conn.read_exactly(5)

print(gopark.run(main).decode())
"""

MODULES = """
import sys
import gopark
for name, module in sorted(sys.modules.items()):
    if name.startswith("gopark."):
        print(module.__file__)
"""

builds = pytest.mark.skipif(
    os.environ.get("GOPARK_PURE", "") not in ("", "0"), reason="tested by the compiled run"
)


def run(*command: object, **environment: str) -> str:
    """The command's output, both streams; AssertionError with that output when it fails."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("GOPARK_", "PYTHONPATH"))}
    done = subprocess.run(
        [str(word) for word in command],
        env=variables | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=115,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def loaded_modules() -> list[Path]:
    import gopark  # noqa: F401

    names = [name for name in sys.modules if name.startswith("gopark.")]
    return [Path(file) for name in names if (file := getattr(sys.modules[name], "__file__", None))]


def copy_source(to: Path) -> Path:
    to.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "CHANGES.md", "README.md"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, to)
    not_source = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so")
    shutil.copytree(ROOT / "src", to / "src", ignore=not_source)
    return to


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, in which builds need not download anything."""
    if not all(importlib.util.find_spec(name) for name in ("build", "setuptools", "Cython")):
        pytest.skip("needs build, setuptools and Cython in this environment (`make test` installs them)")
    return copy_source(tmp_path_factory.mktemp("packaging") / "gopark")


def build_wheel(source: Path, to: Path, **environment: str) -> tuple[Path, str]:
    output = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", to, source, **environment)
    return next(to.glob("*.whl")), output


def assert_interpreted_and_works(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(EXTENSION)]
        archive.extractall(wheel.parent / "unpacked")
    installed = str(wheel.parent / "unpacked")
    files = run(sys.executable, "-c", MODULES, PYTHONPATH=installed).split()
    assert files and all(file.startswith(installed) for file in files)
    assert "hello" in run(sys.executable, "-c", ECHO, PYTHONPATH=installed)


def test_this_run_has_the_core_that_it_was_meant_to_test() -> None:
    expected = os.environ.get("GOPARK_EXPECT_CORE")
    if not expected:
        pytest.skip("GOPARK_EXPECT_CORE is not set (`make test` does)")
    extensions = [path for path in loaded_modules() if path.name.endswith(EXTENSION)]
    sources = [path for path in loaded_modules() if path.suffix == ".py" and path.name != "__init__.py"]
    # (poll/quiet.pxd is all that the compiled core needs of that one: its function is inline.)
    interpreted = [path for path in sources if path.with_suffix(".pxd").exists() and path.name != "quiet.py"]
    if expected == "compiled":
        assert extensions and not interpreted
    else:
        assert interpreted and not extensions


def test_gopark_pure_imports_no_extension_module() -> None:
    modules = run(sys.executable, "-c", MODULES, GOPARK_PURE="1").split()
    assert modules
    assert all(module.endswith(".py") for module in modules)


@pytest.mark.parametrize("value", ["", "0"])
def test_gopark_pure_empty_or_0_means_no(value: str) -> None:
    assert run(sys.executable, "-c", MODULES, GOPARK_PURE=value) == run(sys.executable, "-c", MODULES)


@builds
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_compiler_installs_the_interpreted_core_and_says_so(source: Path, tmp_path: Path) -> None:
    wheel, output = build_wheel(source, tmp_path, CC="/nonexistent/cc")
    assert "gopark will run INTERPRETED" in output
    assert_interpreted_and_works(wheel)


@builds
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_extension_that_fails_leaves_none(source: Path, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"  # pretends to compile all but one
    compiler.write_text('#!/bin/sh\ncase "$*" in *_sys.c*) exit 1;; esac\n'
                        'while [ $# -gt 2 ] && [ "$1" != -o ]; do shift; done\n: > "$2"\n')  # fmt: skip
    compiler.chmod(0o755)
    wheel, output = build_wheel(source, tmp_path / "dist", CC=str(compiler))
    assert "gopark will run INTERPRETED" in output
    assert_interpreted_and_works(wheel)


@builds
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_require_ext_makes_a_failed_build_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="GOPARK_REQUIRE_EXT is set, and the compiled"):
        build_wheel(source, tmp_path, CC="/nonexistent/cc", GOPARK_REQUIRE_EXT="1")


@builds
def test_gopark_pure_builds_no_extension(source: Path, tmp_path: Path) -> None:
    wheel, _ = build_wheel(source, tmp_path, GOPARK_PURE="1")
    assert_interpreted_and_works(wheel)


def free_threaded_setup(source: Path, to: Path) -> list[str]:
    """The command that builds a wheel as a free-threaded Python would."""
    program = (
        "import os, runpy, sys, sysconfig\n"
        f"os.chdir({str(source)!r})\n"
        "sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1\n"
        f"sys.argv = ['setup.py', '-q', 'bdist_wheel', '-d', {str(to)!r}]\n"
        "runpy.run_path('setup.py', run_name='__main__')\n"
    )
    return [sys.executable, "-c", program]


@builds
def test_a_free_threaded_python_gets_the_interpreted_core_and_is_told(source: Path, tmp_path: Path) -> None:
    output = run(*free_threaded_setup(source, tmp_path))
    assert "PYTHON_GIL=1" in output
    assert_interpreted_and_works(next(tmp_path.glob("*.whl")))


@builds
def test_a_free_threaded_python_cannot_have_the_extensions_required(source: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a free-threaded Python has no compiled core"):
        run(*free_threaded_setup(source, tmp_path), GOPARK_REQUIRE_EXT="1")


@builds
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sdist_and_wheel_install_into_a_fresh_environment(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0", "--timeout", "15"]
    try:
        run(*pip, "download", "--no-deps", "--dest", tmp_path / "probe", "setuptools")
    except (AssertionError, subprocess.TimeoutExpired):
        pytest.skip("no access to a package index, which isolated builds need")
    tree, dist, fresh = copy_source(tmp_path / "gopark"), tmp_path / "dist", tmp_path / "fresh"
    # GOPARK_DEBUG, because -O0 is much faster to build
    run(sys.executable, "-m", "build", "-o", dist, tree, GOPARK_REQUIRE_EXT="1", GOPARK_DEBUG="1")

    sources = {path.relative_to(tree / "src").as_posix() for path in (tree / "src" / "gopark").rglob("*.p*")}
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in sources} | {"LICENSE", "CHANGES.md"} <= shipped
    assert not [name for name in shipped if name.endswith((".c", ".so"))]

    wheel = next(dist.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    assert sources <= shipped
    assert [name for name in shipped if name.endswith(EXTENSION)]
    assert not [name for name in shipped if name.endswith(".c")]

    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    run(*pip, "--python", fresh, "install", wheel)
    python = fresh / "bin" / "python"
    assert "compiled core" in run(fresh / "bin" / "gopark", "--version")
    assert "hello" in run(python, "-c", ECHO)
    assert "interpreted core" in run(python, "-m", "gopark", "--version", GOPARK_PURE="1")
    assert "hello" in run(python, "-c", ECHO, GOPARK_PURE="1")
