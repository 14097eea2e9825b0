"""What all micro-benchmarks in Python share: the clock, the statistics, the command line.

A peer's file has a table of cases: name -> function(amount) -> result. Its command line is `CASE AMOUNT`,
which prints the result as one JSON line, or `--list`, which prints the names. AMOUNT is a number of seconds,
in the memory case a number of tasks. To add a case: one function a peer, one row in ../micro.py.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

BATCH = 1_000  # tasks started together in go_join
CHUNK = 10_000  # operations between two looks at the clock
TIMERS = 1_000_000  # armed at once
SLEEP = 100e-6  # seconds, in sleep_overshoot

Result = dict[str, Any]


def cpu(chunk: Callable[[], object], operations: int, seconds: float) -> Result:
    """Repeat chunk() for about `seconds`; the median CPU time of one of its operations, in microseconds."""
    samples = []
    chunk()  # warm
    end = time.monotonic() + seconds
    while not samples or time.monotonic() < end:
        start = time.process_time_ns()
        chunk()
        samples.append(time.process_time_ns() - start)
    return {"value": statistics.median(samples) / operations / 1e3}


async def cpu_async(chunk: Callable[[], Awaitable[object]], operations: int, seconds: float) -> Result:
    """The same for a chunk that must be awaited."""
    samples = []
    await chunk()
    end = time.monotonic() + seconds
    while not samples or time.monotonic() < end:
        start = time.process_time_ns()
        await chunk()
        samples.append(time.process_time_ns() - start)
    return {"value": statistics.median(samples) / operations / 1e3}


def overshoot(sleep: Callable[[float], object], seconds: float) -> Result:
    """How much later than asked a sleep of 100 us ends, in microseconds of wall time."""
    late = []
    end = time.monotonic() + seconds
    while not late or time.monotonic() < end:
        start = time.perf_counter()
        sleep(SLEEP)
        late.append(time.perf_counter() - start - SLEEP)
    return quantiles(late)


async def overshoot_async(sleep: Callable[[float], Awaitable[object]], seconds: float) -> Result:
    late = []
    end = time.monotonic() + seconds
    while not late or time.monotonic() < end:
        start = time.perf_counter()
        await sleep(SLEEP)
        late.append(time.perf_counter() - start - SLEEP)
    return quantiles(late)


def quantiles(late: Sequence[float]) -> Result:
    ordered = sorted(late)
    return {"value": ordered[len(ordered) // 2] * 1e6, "p99": ordered[int(len(ordered) * 0.99)] * 1e6}


def anonymous_bytes() -> int:
    """The anonymous memory of this process, after a collection."""
    gc.collect()
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def main(cases: dict[str, Callable[[float], Result]]) -> None:
    if sys.argv[1:] == ["--list"]:
        print(json.dumps({"cases": list(cases)}))
        return
    case, amount = sys.argv[1:]
    print(json.dumps(cases[case](float(amount))), flush=True)
