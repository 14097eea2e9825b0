"""This build beside another one: `python benchmarks/former.py /path/to/the/others/bin/python`.

The two take turns, case by case and round by round, and what is reported is the median of the rounds' ratios: a machine's
speed drifts by half, and moves both. A ratio above 1 is a regression. For what the peers do, see run.py.
"""

import argparse
import datetime
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import echo
import micro
from process import Failed
from roster import HERE, PEERS, Builder

GOPARK = next(peer for peer in PEERS if peer.key == "gopark")
RAW_C = next(peer for peer in PEERS if peer.key == "c")


class Other(Builder):
    """Runs the peers' programs with another interpreter: the one that the other build is installed in."""

    def __init__(self, folder: Path, python: str) -> None:
        super().__init__(folder)
        self._python = python

    def command(self, source: str) -> list[str]:
        first, *rest = super().command(source)
        return [self._python if first == sys.executable else first, *rest]


Measure = Callable[[Builder], dict[str, Any]]


def cases(seconds: float, known: set[str]) -> dict[str, tuple[str, Measure]]:
    """What can be compared: title (with the unit) and how one round of it is measured.

    *known*: the operations that gopark's program has; some are only the standard library's."""
    table: dict[str, tuple[str, Measure]] = {}
    for n in (100, 10_000):
        table[f"echo{n}"] = (
            f"echo 64 B, {n:,} connections, us",
            partial(lambda n, builder: echo.throughput(builder, GOPARK, n, seconds, 64), n),
        )
    for case in (case for case in micro.CASES if case.key in known):
        title = f"{case.title}, {case.unit}"
        table[case.key] = (
            title,
            partial(lambda case, builder: micro.measure(builder, GOPARK, case, 0.5), case),
        )
    table["parked_memory"] = (
        "a parked goroutine, KB",
        lambda builder: micro.measure(builder, GOPARK, micro.PARKED, 100_000),
    )
    table["idle_memory"] = (
        "an idle connection, KB",
        lambda builder: echo.idle_memory(builder, GOPARK, 10_000),
    )
    return table


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def compare(title: str, measure: Measure, mine: Builder, other: Builder, rounds: int, c: int) -> str:
    """One row of the table."""
    pairs: list[tuple[float, float]] = []
    raw: list[float] = []
    for number in range(rounds):
        order = (mine, other) if number % 2 == 0 else (other, mine)  # who is second has a warmer machine
        found = {id(builder): measure(builder)["value"] for builder in order}
        pairs.append((found[id(mine)], found[id(other)]))
        if c:
            raw.append(found[id(mine)] / echo.throughput(mine, RAW_C, c, 1.5, 64)["value"])
    low, middle, high = quartiles([a / b for a, b in pairs])
    this, that = (statistics.median(side) for side in zip(*pairs, strict=True))
    row = f"| {title} | {this:.4g} | {that:.4g} | {middle:.3f} | {low:.3f} to {high:.3f} |"
    return row + (f" {quartiles(raw)[1]:.3f} |" if c else " |")


def describe(python: str) -> str:
    done = subprocess.run([python, "-m", "gopark", "--version"], capture_output=True, text=True)
    return done.stdout.strip() or f"{python}: gopark is not installed there"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/former.py", description=__doc__.splitlines()[0])
    parser.add_argument("python", help="the interpreter that has the other build")
    parser.add_argument("--only", default="", help="which cases, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of an echo round")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "former.md", metavar="FILE")
    options = parser.parse_args()
    table = cases(options.seconds, micro.cases_of(Builder(HERE), GOPARK))
    chosen = options.only.split(",") if options.only else list(table)
    if unknown := set(chosen) - set(table):
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(table)}")
    lines = [
        f"This build: {describe(sys.executable)}. The other: {describe(options.python)}.",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; {options.rounds} rounds, the two in turns; the ratio is "
        "the median of the rounds' ratios, with its quartiles. Command: `python benchmarks/former.py OTHER_PYTHON`.",
        "",
        "| case | this | the other | this / other | quartiles | this / raw C |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(prefix="gopark-bench-") as folder:
        mine, other = Builder(Path(folder)), Other(Path(folder), options.python)
        for key in chosen:
            title, measure = table[key]
            rounds = min(options.rounds, 3) if key.endswith("_memory") else options.rounds
            try:
                raw = int(key.removeprefix("echo")) if key.startswith("echo") else 0
                row = compare(title, measure, mine, other, rounds, raw)
            except (Failed, OSError) as reason:
                row = f"| {title} | failed: {reason} | | | | |"
            lines.append(row)
            print(row, flush=True)
    options.out.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
