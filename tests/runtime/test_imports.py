"""A module that one goroutine is half-way through importing: the others wait for it."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gopark
from gopark import go
from support import goroutines, parked


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules that can be imported during the test."""
    before = set(sys.modules)
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported(name: str) -> Any:
    return importlib.import_module(name)


def imported_by_statement(name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(f"import {name}\nfrom {name} import VALUE", namespace)
    return namespace[name]


@goroutines
@pytest.mark.parametrize("how", [imported, imported_by_statement])
def test_module_whose_body_parks_is_waited_for(modules: Path, how: Any) -> None:
    (modules / "parks.py").write_text("import gopark\ngopark.sleep(0.02)\nVALUE = 1\n")
    importers = [go(how, "parks") for _ in range(5)]
    assert [g.result().VALUE for g in importers] == [1] * 5


@goroutines
def test_failed_import_is_tried_again_by_the_next(modules: Path) -> None:
    (modules / "fails.py").write_text(
        "import gopark, sys\ngopark.gosched()\n"
        "sys.tries = getattr(sys, 'tries', 0) + 1\nif sys.tries == 1: raise OSError\nVALUE = sys.tries\n"
    )
    importers = [go(imported, "fails") for _ in range(3)]
    outcomes: list[Any] = []
    for g in importers:
        try:
            outcomes.append(g.result().VALUE)
        except OSError as e:
            outcomes.append(type(e))
    del sys.tries  # type: ignore[attr-defined]
    assert outcomes == [OSError, 2, 2]


@goroutines
def test_circle_of_imports_by_two_goroutines_does_not_hang(modules: Path) -> None:
    (modules / "chicken.py").write_text("import gopark\ngopark.sleep(0.01)\nimport egg\nVALUE = 1\n")
    (modules / "egg.py").write_text("import gopark\ngopark.sleep(0.01)\nimport chicken\nVALUE = 2\n")
    both = [go(imported, "chicken"), go(imported, "egg")]
    assert [g.result(20).VALUE for g in both] == [1, 2]


@goroutines
def test_cancelled_while_it_waits_for_anothers_import(modules: Path) -> None:
    (modules / "slow.py").write_text(
        "import gopark, sys\nsys.gate = gopark.Chan()\nsys.gate.recv()\nVALUE = 1\n"
    )
    first = parked(go(imported, "slow"))
    second = parked(go(imported, "slow"), "import")
    third = parked(go(imported, "slow"), "import")
    second.cancel()
    assert second.join(10)
    assert isinstance(second.exception, gopark.Cancelled)
    sys.gate.send(None)  # type: ignore[attr-defined]
    assert first.result(10).VALUE == third.result(10).VALUE == 1
    del sys.gate  # type: ignore[attr-defined]


@goroutines
def test_thread_waits_for_a_goroutines_import(modules: Path) -> None:
    (modules / "shared.py").write_text("import gopark\ngopark.sleep(0.02)\nVALUE = 1\n")
    first = parked(go(imported, "shared"))
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(imported("shared").VALUE))
    thread.start()
    assert first.result().VALUE == 1
    gopark.blocking(thread.join)
    assert seen == [1]


def test_module_that_runs_the_program_can_be_imported_by_it(modules: Path) -> None:
    # As threads cannot: they would wait for a module that waits for them.
    (modules / "runs.py").write_text(
        "import gopark\nVALUE = 1\n"
        "def main():\n    import runs\n    return gopark.go(lambda: __import__('runs').VALUE).result(20)\n"
        "SEEN = gopark.run(main)\n"
    )
    assert imported("runs").SEEN == 1


def test_after_a_run_the_locks_are_importlibs_own(modules: Path) -> None:
    lock: Any = importlib._bootstrap._ModuleLock  # type: ignore[attr-defined]
    gopark.run(lambda: None)
    assert lock.acquire.__module__ == lock.release.__module__ == "_frozen_importlib"
