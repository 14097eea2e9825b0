"""The numbers that gopark is built to reach, beside the numbers that it reached."""

import dataclasses
import math
from collections.abc import Sequence

from rows import Row

GOPARK = "gopark"


@dataclasses.dataclass(frozen=True)
class Target:
    row: str  # the row's key
    limit: float  # in the row's unit, or a ratio if `against` names a peer
    against: str = ""
    of: str = GOPARK  # the peer that is to reach it


@dataclasses.dataclass(frozen=True)
class Verdict:
    title: str
    reach: str
    measured: str
    verdict: str  # yes, no, or "not measured"


RUN = "gopark-run"
ECHO = (("c", 1.15), ("go", 1.0), ("uvloop-protocol", 1.0))  # for every number of connections
ECHO_RUN = (("gopark", 1.25), ("gevent-patched", 1.0), ("threads", 1.0))  # of unmodified threads
NAMES = {
    "c": "raw C",
    "go": "Go",
    "uvloop-protocol": "uvloop Protocol",
    "gopark": "gopark",
    "gevent-patched": "gevent's patch",
    "threads": "threads",
}

TARGETS = (
    Target("go_join", 1.0),
    Target("gosched", 0.45),
    Target("channel_unbuffered", 1.2),
    Target("channel_buffered", 0.15),
    Target("select", 0.6),
    Target("wake", 0.8),
    Target("lock", 0.12),
    Target("set_deadline", 0.25),
    Target("timers", 1.0),
    Target("sleep_overshoot", 150),
    Target("parked_memory", 6.8),
    Target("idle_memory", 7.5),
    Target("beside_yielding", 1.0),
    Target("beside_spinning", 15.0),
    Target("beside_three", 15.0),
    Target("go_join", 5.0, of=RUN),
    Target("lock", 1.2, "threads", RUN),
    Target("pipe", 1.3, "threads", RUN),
    Target("parked_memory", 15.0, of=RUN),
)


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Compare every row that was asked for with its targets."""
    verdicts = []
    for row in rows:
        if row.section == "echo":
            targets = [Target(row.key, limit, against) for against, limit in ECHO]
            targets += [Target(row.key, limit, against, RUN) for against, limit in ECHO_RUN]
        else:
            targets = [target for target in TARGETS if target.row == row.key]
        verdicts += [_judge(row, target) for target in targets]
    return verdicts


def _judge(row: Row, target: Target) -> Verdict:
    if target.against:
        measured = row.ratio(target.of, target.against)
        text = f"{measured:.2f} x {NAMES[target.against]}"
        reach = (
            f"<= {target.limit:g} x {NAMES[target.against]}"
            if target.limit != 1
            else f"< {NAMES[target.against]}"
        )
    else:
        measured = row.entries[target.of].median() if target.of in row.entries else math.nan
        text = f"{measured:.3g} {row.unit}"
        reach = f"<= {target.limit:g} {row.unit}"
    title = row.title if target.of == GOPARK else f"{row.title}: unmodified threads under `gopark run`"
    if math.isnan(measured):
        return Verdict(title, reach, "", "not measured")
    return Verdict(title, reach, text, "yes" if measured <= target.limit else "no")
