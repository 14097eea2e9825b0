"""C drivers under unmodified threads: `python benchmarks/drivers.py`.

50 threads that ask a PostgreSQL or MariaDB of one's own, each on its connection, for a text of 10 to 60,000 characters: OS
threads, the same program patched by gopark, and by gevent.  What counts: CPU time of the client's process for each query,
connecting and warming up left out.

Rounds are interleaved, and ratios are taken within a round; every answer is checked.  Needs the drivers (`pip install --group
drivers --group drivers-built`), the servers, and gevent for its column.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from process import CLIENT_CORE, SERVER_CORE, Failed

PROGRAM = Path(__file__).with_name("peers") / "driver_threads.py"
TESTS = Path(__file__).resolve().parents[1] / "tests"
DRIVERS = {"psycopg2": "postgres", "psycopg": "postgres", "MySQLdb": "mariadb"}
MODES = ("threads", "gopark", "gevent")


def measure(driver: str, mode: str, address: dict[str, Any], threads: int, queries: int) -> float:
    """One round: CPU us a query."""
    for module in (driver, *(["gevent"] if mode == "gevent" else [])):
        if importlib.util.find_spec(module) is None:
            raise Failed(f"{module} is not installed")
    command = [sys.executable, str(PROGRAM), mode, driver, json.dumps(address), str(threads), str(queries)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT_CORE}),
    )
    if done.returncode != 0:
        raise Failed(done.stderr[-2000:] or f"exit status {done.returncode}")
    return float(done.stdout)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--queries", type=int, default=200, help="of each thread")
    parser.add_argument("--only", default=",".join(DRIVERS), help="drivers")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(TESTS))
    from hook.drivers.servers import STARTERS

    os.sched_setaffinity(0, {SERVER_CORE})  # the servers inherit it
    results: dict[tuple[str, str], list[float]] = {}
    chosen = options.only.split(",")
    with contextlib.ExitStack() as stack:
        names = sorted({DRIVERS[driver] for driver in chosen})
        servers = {name: stack.enter_context(STARTERS[name]()) for name in names}
        for number in range(options.rounds):
            for driver in chosen:
                for mode in MODES:
                    address = servers[DRIVERS[driver]]
                    try:
                        us = measure(driver, mode, address, options.threads, options.queries)
                    except Failed as e:
                        print(f"{driver}, {mode}: {e}", file=sys.stderr)
                        continue
                    results.setdefault((driver, mode), []).append(us)
                    print(f"round {number + 1}: {driver}, {mode}: {us:.0f} us", file=sys.stderr)
    print(table(chosen, results))
    return 0


def table(chosen: list[str], results: dict[tuple[str, str], list[float]]) -> str:
    """Medians, and the medians of the rounds' ratios: gopark to the others."""
    lines = ["| CPU us/query | threads | gopark | gevent | x threads | x gevent |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for driver in chosen:
        row = [results.get((driver, mode), []) for mode in MODES]
        cells = [f"{statistics.median(values):.0f}" if values else "-" for values in row]
        for other in (row[0], row[2]):
            ratios = [a / b for a, b in zip(row[1], other, strict=False)]
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "-")
        lines.append(f"| {driver} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
