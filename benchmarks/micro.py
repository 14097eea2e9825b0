"""The micro-benchmarks: which there are, and one round of one of them.

The measuring itself is in peers/micro_*.py and peers/micro.go: a function for each case and peer. To add a
case, add a row here and a function to the peers that have such a thing; a peer without one shows "-".
"""

import dataclasses
from typing import Any

from process import SERVER_CORE, run_json
from roster import Builder, Peer

TIMEOUT = 120.0


@dataclasses.dataclass(frozen=True)
class Case:
    key: str  # its name in the peers' tables
    title: str
    unit: str


CASES = (
    Case("go_join", "go + join, batches of 1,000", "us"),
    Case("gosched", "gosched, a switch", "us"),
    Case("channel_unbuffered", "unbuffered channel, a round trip", "us"),
    Case("channel_buffered", "buffered channel, send + recv, no switch", "us"),
    Case("select", "select over two channels that are ready", "us"),
    Case("wake", "wake of a waiter (semaphore), switch included", "us"),
    Case("lock", "uncontended lock + unlock", "us"),
    Case("pipe", "a byte through a pipe: write + read, ready", "us"),
    Case("set_deadline", "set_read_deadline to a new time", "us"),
    Case("timers", "a timer armed and stopped, 1,000,000 at once", "us"),
    Case("sleep_overshoot", "overshoot of sleep(100 us), wall time", "us"),
)
PARKED = Case("parked_memory", "a parked goroutine or task", "KB")


def cases_of(builder: Builder, peer: Peer) -> set[str]:
    """Ask the peer's program which cases it has."""
    answer = run_json(
        [*peer.command(builder.command(peer.micro)), "--list"], SERVER_CORE, TIMEOUT, dict(peer.env)
    )
    return set(answer["cases"])


def measure(builder: Builder, peer: Peer, case: Case, amount: float) -> dict[str, Any]:
    """One round of one case, in a process of its own; `amount` is in seconds, for memory in goroutines."""
    result = run_json(
        [*peer.command(builder.command(peer.micro)), case.key, str(amount)],
        SERVER_CORE,
        TIMEOUT,
        dict(peer.env),
    )
    if case.unit == "KB":
        result["value"] /= 1e3
    return result
