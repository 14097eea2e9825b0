"""WSGI servers with slow requests: `python benchmarks/servers.py`.

gunicorn with one worker process, 400 clients that keep their connections and ask for a page that takes 0.3 s.  Its thread
worker with its default of 4 threads and with as many as there are clients, unchanged under `gopark run`, gopark's worker
class, and gevent's.  What counts: requests answered, and CPU time of the server's processes for each.

Rounds are interleaved, and ratios are taken within a round; every answer is checked.  Needs gunicorn, and gevent for its row.
"""

import argparse
import dataclasses
import importlib.util
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import gopark
from gopark import net
from process import CLIENT_CORE, SERVER_CORE, Failed

APP = """
import time

def application(environ, start_response):
    time.sleep({seconds})
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
GUNICORN = ["-m", "gunicorn", "--bind", "fd://{fd}", "--worker-connections", "2000", "--keep-alive", "30"]
GUNICORN += ["--backlog", "2048", "--timeout", "60", "--log-level", "warning"]


@dataclasses.dataclass(frozen=True)
class Variant:
    key: str
    name: str
    options: tuple[str, ...]
    under_gopark: bool = False
    needs: str = "gunicorn"


VARIANTS = (
    Variant("threads4", "gthread, 4 threads (its default)", ("-k", "gthread", "--threads", "4")),
    Variant("threads", "gthread, a thread for each client", ("-k", "gthread", "--threads", "{clients}")),
    Variant("run", "gopark run, gthread unchanged", ("-k", "gthread", "--threads", "{clients}"), True),
    Variant("worker", "gopark.contrib.gunicorn.Worker", ("-k", "gopark.contrib.gunicorn.Worker")),
    Variant("gevent", "gevent's worker", ("-k", "gevent"), needs="gevent"),
)


@dataclasses.dataclass(frozen=True)
class Result:
    requests: int
    cpu: float  # s
    threads: int  # of the worker, while it serves


def measure(variant: Variant, clients: int, app_seconds: float, seconds: float) -> Result:
    """One round of one variant."""
    for package in {"gunicorn", variant.needs}:
        if importlib.util.find_spec(package) is None:
            raise Failed(f"{package} is not installed")
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0), backlog=2048) as listener,
    ):
        Path(folder, "app.py").write_text(APP.format(seconds=app_seconds))
        command = [
            *(("-m", "gopark", "run") if variant.under_gopark else ()),
            *GUNICORN,
            *variant.options,
            "app",
        ]
        command = [word.format(fd=listener.fileno(), clients=clients) for word in command]
        with open(Path(folder, "log"), "w+") as log:
            server = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
            )
            try:
                return gopark.run(load, listener.getsockname(), server.pid, clients, app_seconds, seconds)
            except OSError as e:
                log.seek(0)
                raise Failed(f"{e}; it said: {log.read()[-300:]}") from None
            finally:
                server.terminate()
                try:
                    server.wait(10)
                except subprocess.TimeoutExpired:
                    for pid in (*descendants(server.pid), server.pid):
                        os.kill(pid, 9)
                    server.wait()


def load(address: tuple[str, int], pid: int, clients: int, app_seconds: float, seconds: float) -> Result:
    """In a goroutine: *clients* that ask and ask, for *seconds* after a warm-up."""
    answered = 0

    def client() -> None:
        nonlocal answered
        with net.dial("tcp", "{}:{}".format(*address)) as conn:
            conn.set_timeout(60)
            while True:
                conn.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = conn.read()
                while answer and not answer.endswith(b"\r\n\r\nok"):
                    more = conn.read()
                    answer += more
                    if not more:
                        break
                if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"\r\n\r\nok"):
                    raise OSError(f"not an answer: {answer!r}")
                answered += 1

    asking = [gopark.go(client) for _ in range(clients)]
    warm = time.monotonic() + 10
    while answered < 8:
        gopark.sleep(0.01)
        for g in asking:
            if g.done:
                g.result()
        if time.monotonic() > warm:
            raise OSError("no answers within 10 s")
    gopark.sleep(2 * app_seconds)
    requests, cpu = answered, cpu_seconds(pid)
    gopark.sleep(seconds)
    requests, cpu = answered - requests, cpu_seconds(pid) - cpu
    threads = max(len(os.listdir(f"/proc/{p}/task")) for p in (pid, *descendants(pid)))
    for g in asking:
        g.cancel()
    for g in asking:
        g.join()
        if g.exception is not None and not isinstance(g.exception, gopark.Cancelled):
            raise g.exception
    return Result(requests, cpu, threads)


def descendants(pid: int) -> list[int]:
    """The processes that *pid* has started, and those that these have."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    children = [int(word) for word in text.split()]
    return children + [p for child in children for p in descendants(child)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a server's processes, from the scheduler's clock: /proc/PID/schedstat is in ns."""
    total = 0
    for process in (pid, *descendants(pid)):
        for task in Path(f"/proc/{process}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--app", type=float, default=0.3, metavar="SECONDS", help="that a request takes")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round, after the warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", default="", help=f"which of {', '.join(v.key for v in VARIANTS)} (default: all)"
    )
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {CLIENT_CORE})
    chosen = [v for v in VARIANTS if not options.only or v.key in options.only.split(",")]
    results: dict[str, list[Result]] = {v.key: [] for v in chosen}
    for number in range(options.rounds):
        for variant in chosen:
            try:
                result = measure(variant, options.clients, options.app, options.seconds)
            except Failed as e:
                print(f"{variant.name}: {e}", file=sys.stderr)
                continue
            results[variant.key].append(result)
            print(f"round {number + 1}: {variant.name}: {result}", file=sys.stderr)
    print(table(chosen, results, options.seconds))
    return 0


def table(chosen: Sequence[Variant], results: dict[str, list[Result]], seconds: float) -> str:
    """Medians, and the medians of the rounds' ratios to the first variant and to gevent."""
    lines = ["| gunicorn, one worker | requests/s | x 4 threads | CPU us/request | x gevent | OS threads |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for variant in chosen:
        mine = results[variant.key]
        if not mine:
            lines.append(f"| {variant.name} | - | - | - | - | - |")
            continue
        rate = statistics.median(r.requests / seconds for r in mine)
        cpu = statistics.median(r.cpu / r.requests * 1e6 for r in mine)
        first, gevent = results.get("threads4", []), results.get("gevent", [])
        more = ratio([a.requests / b.requests for a, b in zip(mine, first, strict=False)])
        less = ratio([a.cpu / a.requests / (b.cpu / b.requests) for a, b in zip(mine, gevent, strict=False)])
        lines.append(f"| {variant.name} | {rate:,.0f} | {more} | {cpu:,.0f} | {less} | {mine[-1].threads} |")
    return "\n".join(lines)


def ratio(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else "-"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
