"""``gopark``: help, version, and the way to a command's module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gopark import cli
from gopark.cli import bench


def test_version_names_core_python_and_greenlet(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--version"])
    assert leaving.value.code == 0
    line = capsys.readouterr().out
    assert line.startswith("gopark ")
    assert " core, CPython " in line and "greenlet" in line


def test_help_lists_each_command_with_the_first_line_of_its_docstring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main([])
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)
    assert (bench.__doc__ or "?").splitlines()[0] in out


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["no-such-command"])
    assert leaving.value.code == 2
    assert "no-such-command" in capsys.readouterr().err


def test_command_without_its_module_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "absent", "gopark.cli.no_such_module")
    assert cli.main(["absent"]) == 2
    assert "'absent' is not part of this installation" in capsys.readouterr().err


def test_python_m_gopark_is_the_same_command() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "gopark", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert out.startswith("gopark ")


def test_bench_runs_the_source_trees_benchmarks_with_all_arguments(tmp_path: Path) -> None:
    (tmp_path / "src" / "gopark").mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "run.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    done = subprocess.run(
        [sys.executable, "-m", "gopark", "bench", "--quick", "--help", "echo"],
        env=os.environ | {"GOPARK_SOURCE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "['--quick', '--help', 'echo']\n")


def test_bench_without_a_source_tree_says_where_the_benchmarks_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOPARK_SOURCE", str(tmp_path))
    assert cli.main(["bench"]) == 2
    assert "GOPARK_SOURCE" in capsys.readouterr().err
