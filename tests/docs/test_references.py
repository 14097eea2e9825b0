"""What the documentation names, exists: `file::name` in backquotes is a function, class, constant or test."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "gopark"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
REFERENCE = re.compile(r"`([\w./]+\.(?:py|pyx|pxi|h))::([\w.]+)`")
FILE = re.compile(r"`([\w./]+/[\w.]+\.(?:py|pyx|pxi|h|pxd))`")


def where(file: str) -> Path:
    """Tests and the like are named from the root, the package's files from the package."""
    return ROOT / file if (ROOT / file).exists() else PACKAGE / file


@functools.cache
def names(path: Path) -> frozenset[str]:
    """Every name that a file defines; what belongs to a class as Class.name, or Class.attribute."""
    text = path.read_text()
    if path.suffix != ".py":
        return frozenset(re.findall(r"[\w.]+", text)) | frozenset(re.findall(r"\w+", text))
    found: set[str] = set()

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + child.name)
                if isinstance(child, ast.ClassDef):
                    walk(child, f"{prefix}{child.name}.")
                elif child.name == "__init__":
                    walk(child, prefix)
            elif isinstance(child, ast.Assign | ast.AnnAssign):
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        found.add(prefix + target.id)
                    elif isinstance(target, ast.Attribute):
                        found.add(prefix + target.attr)

    walk(ast.parse(text), "")
    return frozenset(found)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_name_in_the_documentation_exists(path: Path) -> None:
    missing = [
        f"{file}::{name}"
        for file, name in REFERENCE.findall(path.read_text())
        if not where(file).is_file() or name not in names(where(file))
    ]
    missing += [file for file in FILE.findall(path.read_text()) if not where(file).is_file()]
    assert missing == []


def test_every_row_of_the_specification_says_where_it_lives_and_which_test_shows_it() -> None:
    text = (ROOT / "docs" / "netpoll.md").read_text()
    rows = {m[1]: m[0] for m in re.finditer(r"^\| ([SEKGL]\d+) \|.*$", text, re.MULTILINE)}
    counts = {"S": 4, "E": 7, "K": 5, "G": 17, "L": 6}
    assert list(rows) == [f"{letter}{n}" for letter, last in counts.items() for n in range(1, last + 1)]
    for row, line in rows.items():
        _, does, lives, shown = line.strip("| ").split(" | ")
        assert does
        assert REFERENCE.search(lives), f"{row}: where does it live?"
        assert "tests/" in shown or "not built yet" in does, f"{row}: which test shows it?"


def test_a_read_is_walked_through_functions_that_call_one_another() -> None:
    """Each function that the walk names is mentioned in the source of one that it names before it."""
    walk = (ROOT / "docs" / "netpoll.md").read_text().partition("## The walk of one")[2].partition("\n## ")[0]
    steps = REFERENCE.findall(walk)
    assert len(steps) > 10
    seen = ""
    for file, name in steps:
        last = name.rpartition(".")[2]
        assert not seen or re.search(rf"\b{last}\b", seen), f"nothing before {file}::{name} calls it"
        seen += source(where(file), name)


def source(path: Path, name: str) -> str:
    text = path.read_text()
    if path.suffix != ".py":
        return text
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        node = next(
            n
            for n in ast.iter_child_nodes(node)
            if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part
        )
    return ast.get_source_segment(text, node) or ""
