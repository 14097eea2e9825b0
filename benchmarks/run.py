"""gopark beside its peers: `python benchmarks/run.py --help`.

What is measured, how, and what is not claimed: README.md beside this file.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import echo
import micro
import report
import targets
from process import CLIENT_CORE, SERVER_CORE, Failed
from roster import HERE, PEERS, Builder, NotAvailable, Peer, check, version
from rows import Entry, Measure, Row, run

SECTIONS = ("echo", "micro", "memory", "latency")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Measures gopark and its peers in one run. All of it takes about a quarter of an hour.",
    )
    results = HERE / "results"
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="one short round of everything, in a minute or two: a smoke test",
    )
    add("--only", default=",".join(SECTIONS), help=f"which of {', '.join(SECTIONS)} (default: all)")
    add("--peers", default="", help=f"which of {', '.join(peer.key for peer in PEERS)} (default: all)")
    add("--connections", default="100,10000", help="for echo (default: %(default)s)")
    add("--size", type=int, default=64, help="bytes of an echo message (default: %(default)s)")
    add("--rounds", type=int, help="how often each peer is measured (default: 5, quick: 1)")
    add("--seconds", type=float, help="of each echo round after the warm-up (default: 3, quick: 0.5)")
    add(
        "--json", type=Path, default=results / "latest.json", metavar="FILE", help="also FILE's name with .md"
    )
    add("--plot", type=Path, default=results / "latest.svg", metavar="FILE", help="an SVG (needs matplotlib)")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 3.0)
    options.only = options.only.split(",")
    options.peers = options.peers.split(",") if options.peers else [peer.key for peer in PEERS]
    options.connections = [int(n) for n in options.connections.split(",")]
    for name, chosen, known in (
        ("--only", options.only, SECTIONS),
        ("--peers", options.peers, [peer.key for peer in PEERS]),
    ):
        if unknown := set(chosen) - set(known):
            parser.error(f"{name}: no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


class Plan:
    """The rows of this run: which peers take part in what, and how one round of it is measured."""

    def __init__(self, options: argparse.Namespace, builder: Builder) -> None:
        self._options = options
        self._builder = builder
        self._peers = [peer for peer in PEERS if peer.key in options.peers]
        self._missing: dict[str, str] = {}  # peer -> why it cannot run here
        self.rows: list[Row] = []
        for peer in self._peers:
            try:
                check(peer)
            except NotAvailable as reason:
                self._missing[peer.key] = f"not available: {reason}"

    def fill(self) -> None:
        options, builder = self._options, self._builder
        servers = [peer for peer in self._peers if peer.echo]
        busy = [peer for peer in servers if peer.busy]
        if "echo" in options.only:
            for n in options.connections:
                title = f"Echo {options.size} B, {n:,} connections"
                self._add("echo", str(n), title, "us", options.rounds, servers, self._throughput(n))
        if "micro" in options.only:
            self._add_micro("micro", micro.CASES, options.rounds, 0.2 if options.quick else 0.5)
        if "memory" in options.only:  # does not vary from round to round
            self._add_micro("memory", (micro.PARKED,), 1, 20_000 if options.quick else 100_000)
            n = 2_000 if options.quick else 10_000
            title = f"an idle connection ({n:,}), blocked in read"
            self._add(
                "memory", "idle_memory", title, "KB", 1, servers, lambda p: echo.idle_memory(builder, p, n)
            )
        if "latency" in options.only:
            for key, title, flag, count in (
                ("beside_yielding", "beside two loops that yield on each turn", "--yielding", 2),
                ("beside_spinning", "beside a CPU-bound loop that never yields", "--spinning", 1),
                ("beside_three", "beside three CPU-bound loops that never yield", "--spinning", 3),
            ):
                rounds = min(options.rounds, 3)
                self._add("latency", key, title, "ms", rounds, busy, self._latency(flag, count))

    def _add(
        self,
        section: str,
        key: str,
        title: str,
        unit: str,
        rounds: int,
        peers: Sequence[Peer],
        measure: Measure,
    ) -> None:
        entries = {peer.key: Entry(problem=self._missing.get(peer.key, "")) for peer in peers}
        self.rows.append(Row(section, key, title, unit, rounds, measure, entries))

    def _add_micro(self, section: str, cases: Sequence[micro.Case], rounds: int, amount: float) -> None:
        has: dict[str, set[str]] = {}
        for peer in self._peers:
            if peer.micro and peer.key not in self._missing:
                try:
                    has[peer.key] = micro.cases_of(self._builder, peer)
                except (Failed, NotAvailable) as reason:
                    kind = "failed" if isinstance(reason, Failed) else "not available"
                    self._missing[peer.key] = f"{kind}: {reason}"
        everyone = [peer for peer in self._peers if peer.micro]
        for case in cases:
            # A peer that is missing altogether stays in the row, so that the report says why.
            peers = [p for p in everyone if p.key in self._missing or case.key in has[p.key]]
            self._add(section, case.key, case.title, case.unit, rounds, peers, self._case(case, amount))

    def _throughput(self, connections: int) -> Measure:
        options = self._options
        return lambda peer: echo.throughput(self._builder, peer, connections, options.seconds, options.size)

    def _case(self, case: micro.Case, amount: float) -> Measure:
        return lambda peer: micro.measure(self._builder, peer, case, amount)

    def _latency(self, flag: str, count: int) -> Measure:
        seconds = min(self._options.seconds, 2.0)
        return lambda peer: echo.busy_latency(self._builder, peer, flag, count, seconds)


def machine() -> dict[str, Any]:
    """What a reader has to know about the machine to make sense of the numbers."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "server on core": SERVER_CORE,
        "client on core": CLIENT_CORE,
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "versions": {peer.name: version(peer) for peer in PEERS if not peer.key.startswith("gopark-")},
    }


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    facts = machine()
    if SERVER_CORE == CLIENT_CORE:
        print(
            "only one core: client and server share it, throughput and latency mean little", file=sys.stderr
        )
    with tempfile.TemporaryDirectory(prefix="gopark-bench-") as folder:
        plan = Plan(options, Builder(Path(folder)))
        plan.fill()
        run(plan.rows, PEERS)
    verdicts = targets.judge(plan.rows)
    text = report.markdown(facts, plan.rows, verdicts)
    print(text)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    chosen = {
        name: getattr(options, name) for name in ("quick", "only", "connections", "size", "rounds", "seconds")
    }
    document = report.as_json(facts, chosen, plan.rows, verdicts)
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    options.json.with_suffix(".md").write_text(text)
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    print(f"results: {options.json} and {options.json.with_suffix('.md')}")
    print(report.plot(options.plot, plan.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
