"""What is measured with an echo server and the load generator.

CPU per message, memory of an idle connection, latency beside busy tasks. Each function is one round: it
starts a fresh server, measures, ends the server, and returns a dictionary whose "value" is what counts.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from process import CLIENT_CORE, SERVER_CORE, Child, Failed, anonymous_bytes, run_json
from roster import Builder, NotAvailable, Peer

LOAD = "native/load.c"
START_TIMEOUT = 30.0
CONNECT_TIMEOUT = 60.0  # for 10,000 connections to a slow server
PATIENCE = 3.0


@contextlib.contextmanager
def server(builder: Builder, peer: Peer, *extra: str) -> Iterator[tuple[Child, str]]:
    """Start the peer's echo server; yields the process and its port."""
    command = [*peer.command(builder.command(peer.echo)), "--port", "0", *extra]
    with Child(command, SERVER_CORE, dict(peer.env)) as child:
        word, _, port = child.read_line(START_TIMEOUT).partition(" ")
        if word != "LISTENING":
            raise Failed(f"expected 'LISTENING <port>', got {word!r}")
        yield child, port


def load(builder: Builder, port: str, connections: int, seconds: float, *extra: str) -> list[str]:
    try:
        program = builder.command(LOAD)
    except NotAvailable as reason:
        raise NotAvailable(f"the load generator cannot be built: {reason}") from None
    command = [*program, "--port", port, "--connections", str(connections)]
    return [*command, "--seconds", str(seconds), "--timeout", str(seconds + CONNECT_TIMEOUT), *extra]


def checked(result: dict[str, Any], child: Child) -> dict[str, Any]:
    """Return the client's result; raise Failed if it has errors, with the server's words if that died."""
    if result["errors"] == 0:
        return result
    time.sleep(0.1)  # a server that just crashed needs a moment to be seen as gone
    reason = child.died()
    raise Failed(
        f"server: {reason}" if reason else f"{result['errors']} errors, first: {result['error_text']}"
    )


def throughput(builder: Builder, peer: Peer, connections: int, seconds: float, size: int) -> dict[str, Any]:
    """One round of the echo comparison: a fresh server under steady load."""
    with server(builder, peer) as (child, port):
        command = load(builder, port, connections, seconds, "--pid", str(child.pid), "--size", str(size))
        result = checked(run_json(command, CLIENT_CORE, seconds + CONNECT_TIMEOUT + 5), child)
        return {"value": result["server_cpu_us"], **result}


def idle_memory(builder: Builder, peer: Peer, connections: int) -> dict[str, Any]:
    """KB (1,000 bytes) of anonymous memory for a connection that exchanged one message and now waits."""
    with server(builder, peer) as (child, port):
        # The first connection pays for what a server sets up once; it is not part of the difference.
        checked(run_json(load(builder, port, 1, 0.1, "--warmup", "0"), CLIENT_CORE, CONNECT_TIMEOUT), child)
        before = anonymous_bytes(child.pid)
        with Child(load(builder, port, connections, 0, "--idle"), CLIENT_CORE) as client:
            first = client.read_json(CONNECT_TIMEOUT + 5)
            if "idle" not in first:
                checked(first, child)
            time.sleep(
                0.3
            )  # for garbage that the server frees, or a buffer that it gives back, once it is idle
            after = anonymous_bytes(child.pid)
            client.tell("go on")
            checked(client.read_json(CONNECT_TIMEOUT + 5), child)
    return {"value": (after - before) / connections / 1e3}


def busy_latency(builder: Builder, peer: Peer, flag: str, count: int, seconds: float) -> dict[str, Any]:
    """The median round trip of one byte, in ms, beside `count` busy tasks of the kind `flag` in the server.

    Infinite if PATIENCE seconds pass without an answer: a task that never yields may starve the rest.
    """
    with server(builder, peer, flag, str(count)) as (child, port):
        command = load(
            builder, port, 1, seconds, "--size", "1", "--warmup", "0.2", "--timeout", str(seconds + PATIENCE)
        )
        result = run_json(command, CLIENT_CORE, seconds + PATIENCE + 5)
        if result["errors"] and child.died() is None:
            return {"value": math.inf, "note": result["error_text"]}
        checked(result, child)
        return {"value": result["p50_us"] / 1e3, "p99": result["p99_us"] / 1e3}
