"""Turns the rows into a report: Markdown that also reads well on a terminal, JSON, and a bar chart."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roster import PEERS
from rows import Entry, Row
from targets import Verdict

NAMES = {peer.key: peer.name for peer in PEERS}
MICRO_NAMES = {**NAMES, "asyncio": "asyncio"}  # where no stream takes part
HEADINGS = {
    "micro": "Operations (CPU time, median over rounds; the overshoot is wall time)",
    "memory": "Memory (anonymous memory of the process, KB = 1,000 bytes)",
    "latency": "Round trip of one byte beside busy tasks in the same process (median)",
}


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Markdown, the columns aligned; all but the first to the right."""
    lines = [list(head), *map(list, body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def text(cells: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * w) if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [text(head), text(rule), *map(text, body)]


def markdown(machine: dict[str, Any], rows: Sequence[Row], verdicts: Sequence[Verdict]) -> str:
    """The whole report."""
    lines = ["# Benchmark results", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items() if name != "versions"]
    lines += [f"- {name}: {value}" for name, value in machine["versions"].items()]
    for row in rows:
        if row.section == "echo":
            lines += ["", f"## {row.title}", "", *_echo(row), *_problems([row])]
    for section, heading in HEADINGS.items():
        chosen = [row for row in rows if row.section == section]
        if chosen:
            lines += ["", f"## {heading}", "", *_matrix(chosen), *_problems(chosen)]
    lines += ["", "## What gopark is to reach", "", *_targets(verdicts)]
    return "\n".join(lines) + "\n"


def _echo(row: Row) -> list[str]:
    head = ["server", "CPU us/message", "x raw C", "messages/s", "p50 us", "p99 us", "p99.9 us", "max us"]
    head += ["server busy", "client CPU us"]
    fields = ["messages_per_s", "p50_us", "p99_us", "p999_us", "max_us"]
    body = []
    for key, entry in row.entries.items():
        if entry.rounds:
            cells = [NAMES[key], number(entry.median()), number(row.ratio(key, "c"))]
            cells += [number(entry.median(field)) for field in fields]
            cells += [f"{entry.median('server_cpu_share'):.0%}", number(entry.median("load_cpu_us"))]
            body.append(cells)
    return table(head, body) if body else ["nothing could be measured"]


def _matrix(rows: Sequence[Row]) -> list[str]:
    keys = [peer.key for peer in PEERS if any(peer.key in row.entries for row in rows)]
    keys = [key for key in keys if any(row.entries[key].rounds for row in rows if key in row.entries)]
    head = ["", "unit", *(MICRO_NAMES[key] for key in keys)]
    body = [[row.title, row.unit, *(_cell(row.entries.get(key)) for key in keys)] for row in rows]
    for row in rows:
        if any("p99" in r for entry in row.entries.values() for r in entry.rounds):
            tail = [_cell(row.entries.get(key), "p99") for key in keys]
            body.insert(_position(body, row.title) + 1, [f"{row.title}: p99", row.unit, *tail])
    return table(head, body) if keys else ["nothing could be measured"]


def _position(body: Sequence[Sequence[str]], title: str) -> int:
    return next(i for i, cells in enumerate(body) if cells[0] == title)


def _cell(entry: Entry | None, field: str = "value") -> str:
    return number(entry.median(field)) if entry else "-"


def _problems(rows: Sequence[Row]) -> list[str]:
    # The same reason for all rows is said once.
    seen = dict.fromkeys((k, e.problem) for row in rows for k, e in row.entries.items() if e.problem)
    return ["", *(f"- {NAMES[key]}: {problem}" for key, problem in seen)] if seen else []


def _targets(verdicts: Sequence[Verdict]) -> list[str]:
    body = [[v.title, v.reach, v.measured, v.verdict] for v in verdicts]
    return (
        table(["work", "reach", "gopark", "reached"], body)
        if body
        else ["no target belongs to what was measured"]
    )


def as_json(
    machine: dict[str, Any], options: dict[str, Any], rows: Sequence[Row], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Everything, every round included. A round that never ended has the value null."""
    sections: dict[str, Any] = {}
    for row in rows:
        peers = {
            key: {
                "name": NAMES[key],
                "median": _finite(entry.median()),
                "ratio_to_raw_c": _finite(row.ratio(key, "c")),
                "problem": entry.problem or None,
                "rounds": [{k: _finite(v) for k, v in r.items()} for r in entry.rounds],
            }
            for key, entry in row.entries.items()
        }
        sections.setdefault(row.section, {})[row.key] = {"title": row.title, "unit": row.unit, "peers": peers}
    targets = [dataclasses.asdict(verdict) for verdict in verdicts]
    return {"machine": machine, "options": options, **sections, "targets": targets}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot(path: Path, rows: Sequence[Row]) -> str:
    """Draw CPU per message of every server as SVG; returns a sentence about what was done."""
    echo = [row for row in rows if row.section == "echo"]
    if not any(entry.rounds for row in echo for entry in row.entries.values()):
        return "no plot: no echo server was measured"
    try:
        import matplotlib
    except ImportError:
        return "no plot: the Python package 'matplotlib' is not installed"
    matplotlib.use("svg")
    from matplotlib import pyplot

    keys = [key for key in echo[0].entries if any(row.entries[key].rounds for row in echo)]
    height = 0.8 / len(echo)
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.55 * len(keys)), layout="constrained")
    for i, row in enumerate(echo):
        places = [y + (i - (len(echo) - 1) / 2) * height for y in range(len(keys))]
        bars = axes.barh(places, [row.entries[key].median() for key in keys], height, label=row.title)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_yticks(range(len(keys)), [NAMES[key] for key in keys])
    axes.invert_yaxis()
    axes.set_xlabel("CPU time of the server, microseconds per message (less is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return f"plot: {path}"
