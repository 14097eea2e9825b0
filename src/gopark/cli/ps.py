"""list the goroutines of a running process

One line for each: its id, its state, why it waits and for how long, where its code stands, and its name.
"""

import argparse
import json
import sys
from typing import Any

from gopark.cli import _attach
from gopark.runtime.output import printable

_HEAD = ("ID", "STATE", "WAITS FOR", "SINCE", "WHERE", "NAME")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", type=_attach.pid, help="the process")
    parser.add_argument("--stats", action="store_true", help="what its gopark.statistics() counts, instead")


def main(args: argparse.Namespace) -> int:
    """0: printed; 1: it cannot be looked into; 3: it is stuck."""
    try:
        with _attach.Target(args.pid) as target:
            if args.stats:
                text = counters(_json(target, target.ask("stats")))
            else:
                text = table(_rows(target, target.ask("ps")))
    except _attach.Stuck as e:
        print(f"gopark ps: {e}: `gopark dump {args.pid}` can say more", file=sys.stderr)
        return 3
    except _attach.AttachError as e:
        print(f"gopark ps: {e}", file=sys.stderr)
        return 1
    _attach.show(text)
    return 0


_TYPES = {"id": int, "name": str, "status": str, "reason": str, "waited": (int, float), "frames": list}
_FRAME_TYPES = {"function": str, "file": str, "line": int}


def _rows(target: _attach.Target, answer: str) -> list[dict[str, Any]]:
    """The goroutines in an answer.  AttachError if that is not what is in it."""
    rows = _json(target, answer)
    if not isinstance(rows, list) or not all(_fits(row, _TYPES) for row in rows):
        raise target.garbled()
    if not all(_fits(frame, _FRAME_TYPES) for row in rows for frame in row["frames"]):
        raise target.garbled()
    return rows


def _json(target: _attach.Target, answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        raise target.garbled() from None


def counters(seen: Any) -> str:
    """A line for each number; tables and stacks below their names."""
    if not isinstance(seen, dict):
        seen = {"answer": seen}
    out = []
    for name, value in seen.items():
        if isinstance(value, dict):
            out.append(f"{name}:\n" + "".join(f"    {key}: {number}\n" for key, number in value.items()))
        elif isinstance(value, str) and "\n" in value:
            out.append(f"{name}:\n" + "".join(f"    {line}\n" for line in value.splitlines()))
        else:
            out.append(f"{name}: {value}\n")
    return "".join(out)


def _fits(item: Any, types: dict[str, Any]) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(name), kind) for name, kind in types.items())


def table(rows: list[dict[str, Any]]) -> str:
    """The rows under their heads, each column as wide as it must be."""
    cells = [_HEAD, *(tuple(map(printable, _cells(row))) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]
    lines = ("  ".join(f"{text:{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    where = ""
    if row["frames"]:
        # Where the program is, not how gopark waits for it.
        own = (frame for frame in row["frames"] if not frame["function"].startswith("gopark."))
        frame = next(own, row["frames"][0])
        where = frame["function"]
        if frame["line"]:
            where += f" ({frame['file'].rpartition('/')[2]}:{frame['line']})"
    waits = row["status"] == "waiting"
    since = duration(row["waited"]) if waits else ""
    return str(row["id"]), row["status"], row["reason"], since, where, row["name"]


def duration(seconds: float) -> str:
    """About how long: 0.5s, 12s, 3m10s, 2h05m."""
    if not 0 <= seconds < 1e12:
        return "?"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
