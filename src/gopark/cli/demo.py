"""ten thousand connections on the netpoller, shown live, beside asyncio and threads

Starts an echo server on gopark and a client in another process, which opens real connections over loopback,
keeps one message under way on each and compares every byte that comes back.  Then the same work with asyncio
streams and with a thread for each connection, and one table of the three.

Exit status: 0 if every byte came back right from gopark, 1 if not, 130 after Ctrl-C.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import resource
import shlex
import time
from dataclasses import dataclass, field

import gopark
from gopark import _pure, go, net
from gopark.cli import _demo_client, _demo_server
from gopark.cli._demo_child import Child, Failed, python
from gopark.cli._demo_display import Cells, Live, duration, megabytes, paragraph, percent, table
from gopark.cli._demo_proc import status
from gopark.cli._demo_view import View

SPARE_FILES = 100  # descriptors that a process needs beside its connections
START_SECONDS = 20.0  # for a process to come up
SILENCE = 15.0  # s without a word from the client, after which it is given up
# How long connecting may take, and how long an answer once the load has stopped.  gopark must do it all, on a
# machine that may be busy; the others go on with what they have, so that the whole takes less than a minute.
CONNECT_SECONDS, PATIENCE = 30.0, 20.0
CONNECT_SECONDS_OTHERS, PATIENCE_OTHERS = 10.0, 5.0
THREADS = (
    f"blocking sockets, an OS thread for each connection (switch interval {_demo_server.SWITCH_INTERVAL:g} s)"
)
MAX_SIZE = 65536  # bytes that the socket buffers take: the client writes a whole message before it reads


@dataclass(frozen=True)
class System:
    """What is measured."""

    name: str
    how: str
    command: list[str]
    poller: bool = False  # it reports gopark's statistics
    connect_seconds: float = CONNECT_SECONDS_OTHERS
    patience: float = PATIENCE_OTHERS


@dataclass
class Run:
    """What came of one system."""

    system: System
    connections: int = 0
    messages: int = 0  # in the measured time
    checked: int = 0  # in all
    seconds: float = 0.0  # measured
    cpu: float = 0.0  # seconds, of the server, in the measured time
    p50: float = math.nan  # seconds
    p99: float = math.nan
    memory: int = 0  # bytes, the server's peak
    poller: Cells = field(default_factory=dict)  # gopark's numbers in the measured time
    problems: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connections", type=count, default=10_000, metavar="N", help="default: 10,000")
    parser.add_argument(
        "--seconds", type=span, default=4.0, metavar="S", help="how long each is measured; default: 4"
    )
    parser.add_argument("--size", type=size, default=64, metavar="B", help="bytes in a message; default: 64")
    parser.add_argument("--plain", action="store_true", help="lines instead of a table updated in place")
    parser.add_argument("--no-compare", action="store_true", help="gopark only")
    parser.add_argument(
        "--server",
        metavar="COMMAND",
        help="an echo server of yours in gopark's place; its first line must be 'LISTENING port' (127.0.0.1)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    try:
        return gopark.run(demo, args)
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        return 130


def demo(args: argparse.Namespace) -> int:
    """The main goroutine."""
    print(
        f"gopark {gopark.__version__} ({_pure.core()} core), CPython {platform.python_version()}, "
        f"Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs"
    )
    connections = allowed(args.connections)
    print(
        f"{connections:,} TCP connections over loopback, one {args.size:,}-byte message at a time on each.\n"
        "The client is a process of its own and compares every byte that comes back.\n",
        flush=True,
    )
    live = Live(args.plain)
    runs = []
    for system in systems(args):
        live.begin(f"{system.name}: {system.how}")
        run = Run(system)
        try:
            measure(run, connections, args, live)
        except Failed as failure:
            run.problems.append(str(failure))
        live.end(outcome(run))
        runs.append(run)
    print(f"\n{summary(runs)}", flush=True)
    return 1 if runs[0].problems else 0


def systems(args: argparse.Namespace) -> list[System]:
    def server(name: str) -> list[str]:
        return python(_demo_server.__file__, name, str(os.getpid()))

    how = "blocking read and write, a goroutine for each connection"
    first = System("gopark", how, server("gopark"), True, CONNECT_SECONDS, PATIENCE)
    if args.server:
        first = System("yours", args.server, shlex.split(args.server), False, CONNECT_SECONDS, PATIENCE)
    if args.no_compare:
        return [first]
    return [
        first,
        System("asyncio", "streams, a task for each connection", server("asyncio")),
        System("threads", THREADS, server("threads")),
    ]


def allowed(wanted: int) -> int:
    """As many connections as one process may have, once the limit on open files is raised."""
    need = wanted + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= need:
        return wanted
    beyond = hard != resource.RLIM_INFINITY and hard < need  # which root may go
    for limits in ((need, need) if beyond else (need, hard)), (hard, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= need:
        return wanted
    possible = max(1, soft - SPARE_FILES)
    print(
        f"{wanted:,} connections need {need:,} open files in one process; the limit here (RLIMIT_NOFILE,\n"
        f"`ulimit -n`) is {soft:,} and cannot be raised. The demo goes on with {possible:,} connections."
    )
    return possible


def measure(run: Run, connections: int, args: argparse.Namespace, live: Live) -> None:
    """Start the server and its load, show what they report, fill *run*."""
    who = f"the server ({run.system.name})"
    with Child(who, run.system.command) as server:
        word, _, port = server.read_line(START_SECONDS).partition(" ")
        if word != "LISTENING" or not port.isdigit():
            raise Failed(f"{who} did not begin with the line 'LISTENING port'")
        options = {
            "parent": os.getpid(),
            "port": port,
            "server": server.pid,
            "connections": connections,
            "size": args.size,
            "seconds": args.seconds,
            "connect-seconds": run.system.connect_seconds,
            "patience": run.system.patience,
        }
        load = python("-m", _demo_client.__name__, *(f"--{name}={value}" for name, value in options.items()))
        view = View(server.pid, run.system.poller)
        go(follow, server, view)
        # The client keeps limits of its own, but a server may take all of the machine.
        limit = run.system.connect_seconds + args.seconds + 2 * run.system.patience + SILENCE
        give_up = time.monotonic() + limit
        with Child("the client", load) as client:
            try:
                while "done" not in (told := client.read_json(min(SILENCE, give_up - time.monotonic()))):
                    run.connections, run.checked = told["connections"], told["messages"]
                    live.show(time.monotonic(), view.cells(told))
            except BaseException:
                server.kill()  # now: the client ends sooner without a server that answers its end
                raise
        for name in ("connections", "messages", "checked", "seconds", "cpu", "p50", "p99"):
            setattr(run, name, told[name])
        run.memory = status(server.pid, "VmHWM")
        run.poller = view.measured
        if run.connections < connections:
            why = view.note or told["refused"]
            run.problems.append(f"only {run.connections:,} of {connections:,} connections: {why}")
        if told["errors"]:
            run.problems.append(f"{told['errors']:,} connections failed; the first: {told['first_error']}")
        if server.died():
            run.problems.append(server.last_words())


def follow(server: Child, view: View) -> None:
    """A goroutine: read all that the server says."""
    with contextlib.suppress(net.ClosedError):
        while (line := server.next_line()) is not None:
            with contextlib.suppress(ValueError):  # a server of the user's own may say what it likes
                told = json.loads(line)
                if isinstance(told, dict):
                    view.heard(told)


# -- what came of it -----------------------------------------------------------------------------------------


def outcome(run: Run) -> str:
    """One line, when a run is over."""
    line = f"{run.system.name}: {run.checked:,} messages came back right on {run.connections:,} connections"
    return line + ("; NOT ALL WENT WELL, see below" if run.problems else "")


def summary(runs: list[Run]) -> str:
    """The table, what must be known to read it, and what went wrong."""
    rows: list[tuple[str, ...]] = [
        ("", "conns", "messages/s", "p50", "p99", "CPU/msg", "busy", "memory", "right")
    ]
    for run in runs:
        numbers: tuple[str, ...] = ("-",) * 6
        if run.messages:
            numbers = (
                f"{run.messages / run.seconds:,.0f}",
                duration(run.p50),
                duration(run.p99),
                duration(run.cpu / run.messages),
                percent(run.cpu / run.seconds),
                megabytes(run.memory),
            )
        right = "NO" if run.problems else "yes"
        rows.append((run.system.name, f"{run.connections:,}", *numbers, right))

    notes = []
    first, *others = runs
    if first.poller:
        shown = ", ".join(f"{n} {name}" for name, n in first.poller.items())
        notes.append(f"gopark's poller, at the end: {shown}.")
    ratios = [
        f"{run.system.name} {(run.cpu / run.messages) / (first.cpu / first.messages):.1f} times"
        for run in others
        if run.messages and first.messages and first.cpu
    ]
    if ratios:
        notes.append(f"CPU/msg of the server: {' and '.join(ratios)} that of {first.system.name}.")
    notes += [
        "busy: the server's share of one core. Well below 100%, messages/s is not the server's limit "
        "but that of the client, which costs about as much.",
        "p50, p99: latency, with a message under way on every connection all the time, so about conns / "
        "(messages/s). memory: the server's peak (RSS).",
    ]
    problems = [f"{run.system.name}: {problem}" for run in runs for problem in run.problems]
    return "\n\n".join([table(rows), "\n".join(map(paragraph, notes)), *problems])


# -- arguments -----------------------------------------------------------------------------------------------


def count(text: str) -> int:
    """Of connections."""
    n = int(text.replace(",", ""))
    if not 1 <= n <= 1_000_000:
        raise argparse.ArgumentTypeError("must be from 1 to 1,000,000")
    return n


def size(text: str) -> int:
    """Of a message."""
    n = int(text)
    if not 1 <= n <= MAX_SIZE:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_SIZE} bytes")
    return n


def span(text: str) -> float:
    """Of time, in seconds."""
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 3600 seconds")
    return seconds
