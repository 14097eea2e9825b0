"""ARCHITECTURE.md leaves no room out, its table is whole, and the order of work is the code's."""

import re
from pathlib import Path

from tidy.rules import FLOORS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "gopark"
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def test_every_file_of_the_package_has_its_line() -> None:
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]):
        file = path.relative_to(PACKAGE).as_posix()
        if path.name in ("__init__.py", "__main__.py") or file.startswith("cli/"):
            continue
        assert f"`{file}`" in TEXT, f"ARCHITECTURE.md: say in the rooms' tables what lives in `{file}`"


def test_every_floor_that_exists_is_in_the_table() -> None:
    table = TEXT.partition("| floor |")[2].partition("\n\n")[0]
    for module in FLOORS:
        name = module.rpartition(".")[2]
        if name.startswith("_") or module == "gopark":
            continue
        for file in (f"{name}/", f"{name}.py"):
            if (PACKAGE / file).exists():
                assert f"`{file}`" in table, f"ARCHITECTURE.md: on which floor is `{file}`?"


def test_every_row_of_who_may_do_what_answers_every_question() -> None:
    table = TEXT.partition("## Who may do what")[2]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 6, row
        assert all(cells), row
        assert re.fullmatch(r"(?:`[\w/]+\.pyx?::[\w.]+`(?:, )?)+", cells[0]), row


def test_the_order_of_work_is_that_of_the_code() -> None:
    source = (PACKAGE / "runtime" / "p.py").read_text()
    loop = source.partition("def findrunnable")[2].partition("\n    def ")[0]
    steps = [
        "attend()",
        "runtimers(",
        "% _FAIR",
        "self.runnext",
        "runq.pop()",
        "globq.size",
        "self.pollnow()",
        "self.block()",
    ]
    places = [loop.index(step) for step in steps]
    assert places == sorted(places)
    drawing = TEXT.partition("## The order of work")[2].partition("## ")[0]
    drawn = ["attend ", "runtimers ", "─ every 61st", "─ runnext ", "─ runq ", "─ globq ", "pollnow"]
    places = [drawing.index(word) for word in drawn]
    assert places == sorted(places)
