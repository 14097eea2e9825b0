"""Writes the generated parts of the documentation: `make docs`, or `python docs/build.py`.

A generated part stands between `<!-- NAME -->` and `<!-- /NAME -->`; PARTS says which function makes it.
The last column of docs/netpoll.md's specification comes from the docstrings of the tests.
Everything else in the files is written by hand.  `--check` writes nothing, and fails if a file would change.
"""

import argparse
import ast
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "latest.json"

# README's table: the peers' keys and columns, and the rows (section, key, title; the unit is the report's).
PEERS = {
    "gopark": "gopark",
    "go": "Go",
    "c": "raw C",
    "uvloop-protocol": "uvloop Protocol",
    "uvloop-streams": "uvloop streams",
    "asyncio": "asyncio",
    "gevent": "gevent",
}
ROWS = {
    "micro": ("go_join", "gosched", "channel_unbuffered", "lock", "set_deadline", "sleep_overshoot"),
    "memory": None,  # None: all of the section
    "latency": None,
}


def number(value: float | None) -> str:
    """Two or three significant digits, as the benchmarks' own report."""
    if value is None or math.isnan(value):
        return "never"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def table(head: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def numbers() -> str:
    """README's table, from the last benchmark run."""
    if not RESULTS.exists():
        return (
            "No results have been recorded yet: `make bench` measures gopark and its peers on your machine\n"
            "and writes `benchmarks/results/latest.md`."
        )
    return numbers_of(json.loads(RESULTS.read_text()))


def numbers_of(results: dict[str, Any]) -> str:
    """The table for the content of one latest.json."""
    rows: list[tuple[str, dict[str, Any]]] = [
        (f"{row['title']}, CPU {row['unit']}", row["peers"]) for row in results.get("echo", {}).values()
    ]
    for section, chosen in ROWS.items():
        for key, row in results.get(section, {}).items():
            if chosen is None or key in chosen:
                rows.append((f"{row['title']}, {row['unit']}", row["peers"]))
    keys = [key for key in PEERS if any(key in peers and peers[key]["rounds"] for _, peers in rows)]
    body = [[title, *(cell(peers.get(key)) for key in keys)] for title, peers in rows]
    machine = results["machine"]
    others = {
        name: said.removeprefix("go version go").split()[0] for name, said in machine["versions"].items()
    }
    measured = ", ".join(f"{name} {said}" for name, said in others.items() if said[0].isdigit())
    quick = (
        " **A single short round: a smoke test, not a result.**" if results["options"].get("quick") else ""
    )
    return (
        table(["less is better", *(PEERS[key] for key in keys)], body)
        + f"\n\nMeasured {machine['date']} on {machine['cpu']}, {machine['kernel']}, {machine['python']}"
        + (f"; {measured}" if measured else "")
        + f".{quick}"
    )


def cell(peer: dict[str, Any] | None) -> str:
    if peer is None or not peer["rounds"]:
        return "-"
    return number(peer["median"])


def echo_server() -> str:
    """README's example: the file itself."""
    return f"```python\n{(ROOT / 'examples' / 'echo_server.py').read_text()}```"


def transition_diagram() -> str:
    """The states of rg and wg and the moves between them.  What moves nothing stands in the table only."""
    from gopark.runtime.pollstate import TRANSITIONS

    moves: dict[tuple[str, str], list[str]] = {}
    for t in TRANSITIONS:
        if t.state != t.next:
            moves.setdefault((t.state, t.next), []).append(t.event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in moves.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> nil", *lines, "```"])


def transition_table() -> str:
    """The same as a table, complete."""
    from gopark.runtime.pollstate import TRANSITIONS

    rows = [f"| {t.state} | {t.event} | {t.next} | {t.effect} |" for t in TRANSITIONS]
    return "\n".join(["| state | event | next state | effect |", "| --- | --- | --- | --- |", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "numbers": numbers,
    "echo server": echo_server,
    "transition diagram": transition_diagram,
    "transition table": transition_table,
}


ROW = re.compile(r"^\| ([SEKGL]\d+) \| (.*) \| .*? \|$", re.MULTILINE)
NAMED = re.compile(r"((?:[SEKGL]\d+(?:, | and )?)+): ")
SHOWN = 3  # tests for each row: the first ones by name


def tests_of_rows() -> dict[str, list[str]]:
    """For each row of the specification the tests whose docstrings begin with it ("G8: ...")."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                rows = NAMED.match(ast.get_docstring(node) or "")
                for row in re.findall(r"\w\d+", rows[1]) if rows else ():
                    found.setdefault(row, []).append(f"`{path.relative_to(ROOT)}::{node.name}`")
    return found


def with_tests(text: str) -> str:
    """*text* with the specification's last column filled; a row that no docstring names stays as it is."""
    tests = tests_of_rows()

    def row(match: re.Match[str]) -> str:
        shown = tests.get(match[1])
        return f"| {match[1]} | {match[2]} | {'<br>'.join(shown[:SHOWN])} |" if shown else match[0]

    return ROW.sub(row, text)


def filled(text: str) -> str:
    """*text* with every generated part made anew."""
    text = with_tests(text)
    for name, make in PARTS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin in text:
            content = make()
            part = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
            text = part.sub(lambda _, c=content, b=begin, e=end: f"{b}{c}\n{e}", text)
    return text


def documents() -> list[Path]:
    """Every file of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="fail if a file would change")
    options = parser.parse_args(arguments)
    stale = [path for path in documents() if filled(path.read_text()) != path.read_text()]
    for path in stale:
        if not options.check:
            path.write_text(filled(path.read_text()))
        print(f"{'stale' if options.check else 'written'}: {path.relative_to(ROOT)}")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
