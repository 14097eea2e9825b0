"""The load of `gopark demo`: N real connections, one outstanding message on each, every byte compared.

Written on gopark too, a goroutine for each connection: it must work from a wheel, without a compiler, and of
the ways to drive ten thousand sockets from one Python process this is the cheapest that still reads like the
story of one connection.  It costs about as much CPU as the server that it loads.

A connection sends its next message when the echo of the last one is complete.  The content differs for each
connection and each message, so an answer that is wrong, lost, cut, doubled or somebody else's is an error,
not a number.  Every wait has a limit.  It prints lines of JSON: reports, then one with "done" and the result.
"""

import argparse
import contextlib
import math
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator

import gopark
from gopark import go, net
from gopark.cli._demo_proc import cpu_seconds
from gopark.cli._demo_server import HOST, die_with, say

AT_A_TIME = 64  # connections that are being made, or closed: more would overrun the server's accept queue
WARM_UP = 0.5  # s of load before the measurement
REPORT_SECONDS = 0.2
PER_ADDRESS = 20_000  # connections from one local address, which has some 28,000 ports
SAMPLES = 1_000_000  # latencies kept, the latest
NOISE = random.Random(0).randbytes(1 << 17)
_PLACES = 65521  # in NOISE where a message may begin; a prime, so that all of number and sequence counts


class WrongBytes(Exception):
    """What came back is not what was sent."""


def content(number: int, seq: int, size: int) -> bytes:
    """Message *seq* of connection *number*: both as 8 bytes, then noise from a place that depends on both."""
    head = number << 32 | seq
    at = head % _PLACES
    return (head.to_bytes(8, "little") + NOISE[at : at + size])[:size]


def exchange(conn: net.Conn, number: int, seq: int, size: int) -> None:
    """One message there and back, compared."""
    message = content(number, seq, size)
    conn.write(message)
    answer = conn.read_exactly(size)
    if answer != message:
        at = next(i for i in range(size) if answer[i] != message[i])
        raise WrongBytes(f"message {seq:,} came back wrong, from byte {at:,} of {size:,} on")


class Load:
    """All connections, and what came of them.  The goroutines share one thread, so it needs no lock."""

    def __init__(self, port: int, wanted: int, size: int, patience: float) -> None:
        self.port = port
        self.wanted = wanted
        self.size = size
        self.patience = patience  # seconds for an echo once the load has stopped, before it counts as lost
        self.phase = "connecting"
        self.conns: dict[int, net.Conn] = {}  # by number: connected, and had their first echo
        self.refused = ""  # why there are not more
        self.messages = 0  # echoes that were right
        self.latencies: deque[int] = deque(maxlen=SAMPLES)  # ns
        self.stopping = False
        self.errors = 0  # connections that failed
        self.first_error = ""

    def report(self) -> None:
        """A goroutine: tell the demo how far we are."""
        while True:
            say(phase=self.phase, at=time.monotonic(), connections=len(self.conns), messages=self.messages)
            gopark.sleep(REPORT_SECONDS)

    def connect(self, number: int, until: float) -> None:
        """Dial, one echo.  Once one has failed no others are begun."""
        if self.refused:
            return
        try:
            dialer = net.Dialer(deadline=until, local_addr=self.local_address(number))
            conn = dialer.dial("tcp", f"{HOST}:{self.port}")
            try:
                conn.set_deadline(until)
                exchange(conn, number, 0, self.size)
                conn.set_deadline(None)
            except BaseException:
                conn.close()
                raise
            self.conns[number] = conn
            self.messages += 1
        except (OSError, EOFError) as error:
            self.refused = self.refused or str(error)
        except WrongBytes as error:
            self.refused = "a first message came back wrong"
            self.failed(number, error)

    def local_address(self, number: int) -> str | None:
        """None for the usual one.  Beyond PER_ADDRESS connections several, unlikely to be in use."""
        if self.wanted <= PER_ADDRESS:
            return None
        pid = os.getpid()
        return f"127.{1 + pid // 254 % 254}.{1 + pid % 254}.{1 + number // PER_ADDRESS}:0"

    def converse(self, number: int, conn: net.Conn) -> None:
        """A goroutine: the life of one connection, message after message until the load stops."""
        clock = time.monotonic_ns
        seq = 1
        try:
            while not self.stopping:
                sent = clock()
                exchange(conn, number, seq, self.size)
                self.latencies.append(clock() - sent)
                self.messages += 1
                seq += 1
        except (OSError, EOFError, WrongBytes) as error:
            self.failed(number, error)
            conn.close()

    def finish(self, number: int, until: float) -> None:
        """The orderly end of a connection that has not failed: the server has nothing more to say."""
        with self.conns[number] as conn:
            try:
                conn.set_deadline(until)
                conn.close_write()
                if rest := conn.read():
                    raise WrongBytes(f"{len(rest):,} bytes more came back than were sent")
            except net.ClosedError:
                pass
            except (OSError, WrongBytes) as error:
                self.failed(number, error)

    def failed(self, number: int, error: Exception) -> None:
        self.errors += 1
        if not self.first_error:
            late = isinstance(error, net.DeadlineExceeded)
            what = f"no answer within {self.patience:g} s of the end" if late else error
            self.first_error = f"connection {number:,}: {what}"


def in_turn(do: Callable[[int, float], None], numbers: Iterator[int], until: float) -> None:
    """do(number, until) for each number, AT_A_TIME of them at once; return when all have been done."""

    def worker() -> None:
        for number in numbers:
            do(number, until)

    for goroutine in [go(worker) for _ in range(AT_A_TIME)]:
        goroutine.result()


def let_run(goroutines: list[gopark.Goroutine], seconds: float) -> None:
    """Wait, but not for what has no one left to do it."""
    until = gopark.time.now() + seconds
    for goroutine in goroutines:
        if not goroutine.join(until - gopark.time.now()):
            return


def percentile(ordered: list[int], fraction: float) -> float:
    """The smallest value that so many are not above."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)] if ordered else math.nan


def run(
    port: int,
    server: int,
    connections: int,
    size: int,
    seconds: float,
    connect_seconds: float,
    patience: float,
) -> None:
    """Connect, load for *seconds* after a warm-up, wait for every answer, say what came of it.

    *server* is its process, whose CPU time is taken between the same two moments as the messages."""
    load = Load(port, connections, size, patience)
    go(load.report)
    in_turn(load.connect, iter(range(connections)), gopark.time.now() + connect_seconds)

    load.phase = "warming up"
    talking = [go(load.converse, number, conn) for number, conn in load.conns.items()]
    let_run(talking, WARM_UP)

    load.phase = "measuring"
    load.latencies.clear()
    messages, began, cpu = load.messages, time.monotonic(), cpu_seconds(server)
    let_run(talking, seconds)
    messages, elapsed, cpu = load.messages - messages, time.monotonic() - began, cpu_seconds(server) - cpu
    latencies = sorted(load.latencies)

    load.phase = "finishing"
    load.stopping = True
    until = gopark.time.now() + patience
    for conn in load.conns.values():
        with contextlib.suppress(net.ClosedError):  # it has failed
            conn.set_deadline(until)
    for goroutine in talking:
        goroutine.result()
    in_turn(load.finish, iter(load.conns), gopark.time.now() + patience)

    say(
        done=True,
        connections=len(load.conns),
        refused=load.refused,
        checked=load.messages,
        errors=load.errors,
        first_error=load.first_error,
        seconds=elapsed,
        messages=messages,
        cpu=cpu,
        p50=percentile(latencies, 0.50) / 1e9,
        p99=percentile(latencies, 0.99) / 1e9,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in "parent", "port", "server", "connections", "size":
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in "seconds", "connect-seconds", "patience":
        parser.add_argument(f"--{name}", type=float, required=True)
    options = vars(parser.parse_args())
    die_with(options.pop("parent"))
    gopark.run(run, **options)


if __name__ == "__main__":
    main()
