"""The documentation says what is: examples run, links lead somewhere, generated parts are up to date."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gopark.cli import COMMANDS
from gopark.runtime.pollstate import TRANSITIONS
from support import python

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
RUNNABLE = re.compile(r"^```python runnable\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks() -> list[Any]:
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in RUNNABLE.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{name(path)}:{line}"))
    return found


@pytest.mark.parametrize("program", blocks())
def test_runnable_examples_run_without_a_word_on_stderr(program: str) -> None:
    """A block that ends with a comment `# prints: ...` prints just that."""
    done = python(program)
    assert done.stderr == ""
    expected = re.findall(r"^# prints: (.*)$", program, re.MULTILINE)
    if expected:
        assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_generated_parts_are_up_to_date(path: Path, build: ModuleType) -> None:
    """`make docs` makes it so."""
    assert path.read_text() == build.filled(path.read_text()), "run `make docs`"


def test_readme_shows_the_echo_server_as_it_is() -> None:
    assert (ROOT / "examples" / "echo_server.py").read_text() in (ROOT / "README.md").read_text()


def test_readme_has_the_table_of_numbers_that_the_script_makes(build: ModuleType) -> None:
    assert f"<!-- numbers -->\n{build.numbers()}\n<!-- /numbers -->" in (ROOT / "README.md").read_text()


def test_the_table_of_numbers_names_what_was_measured_and_what_never_came(build: ModuleType) -> None:
    def peer(median: float | None, rounds: int = 1) -> dict[str, Any]:
        return {"median": median, "rounds": [{}] * rounds}

    results = {
        "machine": {"date": "D", "cpu": "C", "kernel": "K", "python": "P", "versions": {"Go": "1.19"}},
        "options": {"quick": False},
        "echo": {
            "echo_100": {
                "title": "Echo",
                "unit": "us/message",
                "peers": {"c": peer(6.512), "gopark": peer(7.13), "gevent": peer(None, 0)},
            }
        },
        "latency": {
            "beside_spinning": {
                "title": "beside a loop",
                "unit": "ms",
                "peers": {"gopark": peer(11.04), "asyncio": peer(None)},
            }
        },
    }
    assert build.numbers_of(results).splitlines() == [
        "| less is better | gopark | raw C | asyncio |",
        "| --- | ---: | ---: | ---: |",
        "| Echo, CPU us/message | 7.13 | 6.51 | - |",
        "| beside a loop, ms | 11.0 | - | never |",
        "",
        "Measured D on C, K, P; Go 1.19.",
    ]


def test_the_diagram_has_every_move_of_the_table(build: ModuleType) -> None:
    diagram = build.transition_diagram()
    for t in TRANSITIONS:
        if t.state != t.next:
            arrow = next(line for line in diagram.splitlines() if f"{t.state} --> {t.next}:" in line)
            assert t.event in arrow.partition(": ")[2].split(", ")


def test_readme_names_exactly_the_commands_that_there_are() -> None:
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"^\| `gopark (\w+)", text, re.MULTILINE)) == set(COMMANDS)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{name(path)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(path)}: {link}"
