"""The echo servers of `gopark demo`: the same echo three times, each as its own users write it.

    python -P _demo_server.py gopark|asyncio|threads PARENT

Started as a file rather than as a module of the package, so that the memory of the asyncio and the thread
server is not charged with an import of gopark.  What a server prints, one line each: "LISTENING port", then
what it has to tell the demo, as JSON: gopark's statistics, or a note.  Each ends with the process PARENT.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

HOST = "127.0.0.1"
BACKLOG = 4096
READ_SIZE = 65536
REPORT_SECONDS = 0.2
SWITCH_INTERVAL = 1.0
_PR_SET_PDEATHSIG = 1


def serve_gopark() -> None:
    """A goroutine for each connection; read and write park it."""
    import gopark
    from gopark import go, net

    def handle(conn: net.Conn) -> None:
        with conn:
            try:
                while data := conn.read(READ_SIZE):
                    conn.write(data)
            except ConnectionError:
                pass

    def report() -> None:
        while True:
            s = gopark.statistics()
            say(
                at=time.monotonic(),
                goroutines=s.goroutines,
                waiters=s.netpoll_waiters,
                polls=s.polls,
                events=s.events,
            )
            gopark.sleep(REPORT_SECONDS)

    def main() -> None:
        with net.listen("tcp", f"{HOST}:0") as listener:
            print("LISTENING", listener.addr[1], flush=True)
            go(report)
            for conn in listener:
                go(handle, conn)

    gopark.run(main)


def serve_asyncio() -> None:
    """asyncio streams: a task for each connection."""
    import asyncio

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(READ_SIZE):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handle, HOST, 0, backlog=BACKLOG)
        print("LISTENING", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


def serve_threads() -> None:
    """Blocking sockets: an OS thread for each connection."""
    # Every thread that waits for the GIL wakes up once in a switch interval.  At the usual 5 ms thousands of
    # them keep all cores busy with nothing but that, and so the machine.  These threads give up the GIL
    # by themselves in every recv and send, so it costs them nothing to be asked for it less often.
    sys.setswitchinterval(SWITCH_INTERVAL)

    def handle(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(READ_SIZE):
                    sock.sendall(data)
            except ConnectionError:
                pass

    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    print("LISTENING", listener.getsockname()[1], flush=True)
    started = 0
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the other two do by themselves
        try:
            threading.Thread(target=handle, args=(sock,), daemon=True).start()
        except (RuntimeError, MemoryError) as refused:
            # The connections that have a thread go on, and the client learns that there will be no others.
            sock.close()
            listener.close()
            say(note=f"the system refused a thread after {started:,}: {refused}")
            signal.pause()
        started += 1


def say(**what: Any) -> None:
    """One line of JSON for the parent."""
    print(json.dumps(what), flush=True)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had died before
        sys.exit("the demo is gone")


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    {"gopark": serve_gopark, "asyncio": serve_asyncio, "threads": serve_threads}[sys.argv[1]]()
