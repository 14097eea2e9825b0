"""A measurement over all peers, its rounds, and the statistics over them.

Rounds are interleaved: every peer once, then every peer again. A machine's speed drifts from second to
second, so ratios are taken within a round, between neighbours in time, and then the median over the rounds.
"""

import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Iterable
from typing import Any

from process import Failed
from roster import NotAvailable, Peer

Measure = Callable[[Peer], dict[str, Any]]


@dataclasses.dataclass
class Entry:
    """What one peer reached in one row."""

    rounds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    problem: str = ""  # why there are no (more) rounds

    def median(self, field: str = "value") -> float:
        """Return the median over the rounds, nan if there is none."""
        values = [r[field] for r in self.rounds if field in r]
        return statistics.median(values) if values else math.nan


@dataclasses.dataclass
class Row:
    """One thing that is measured, and every peer that takes part."""

    section: str  # echo, micro, memory, latency
    key: str
    title: str
    unit: str
    rounds: int
    measure: Measure
    entries: dict[str, Entry]  # by the peer's key, in the order of the roster

    def ratio(self, peer: str, against: str) -> float:
        """Return the median of the ratios that two peers had in the same rounds, nan if one is missing."""
        if peer not in self.entries or against not in self.entries:
            return math.nan
        pairs = zip(self.entries[peer].rounds, self.entries[against].rounds, strict=False)
        ratios = [a["value"] / b["value"] for a, b in pairs if b["value"]]
        return statistics.median(ratios) if ratios else math.nan


def run(rows: Iterable[Row], peers: Iterable[Peer]) -> None:
    """Measure every row, round by round; what fails is noted in its entry and does not stop the others."""
    by_key = {peer.key: peer for peer in peers}
    for row in rows:
        for number in range(row.rounds):
            for key, entry in row.entries.items():
                if not entry.problem:
                    _one(row, number, by_key[key], entry)


def _one(row: Row, number: int, peer: Peer, entry: Entry) -> None:
    try:
        entry.rounds.append(row.measure(peer))
        text = f"{entry.rounds[-1]['value']:.3f} {row.unit}"
    except NotAvailable as reason:
        entry.problem = text = f"not available: {reason}"
    except (Failed, OSError) as reason:  # OSError: it died while we talked to it or looked at its memory
        entry.problem = text = f"failed: {reason}"
    print(f"{row.title}, round {number + 1}/{row.rounds}, {peer.name}: {text}", file=sys.stderr, flush=True)
