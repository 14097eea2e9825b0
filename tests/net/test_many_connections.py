"""Connections that come and go leave nothing: no descriptor, PollDesc, goroutine, timer or memory."""

import gc
import os
import socket
import struct

import pytest

import gopark
from gopark import go, net
from support import descriptors

LINGER = struct.pack("ii", 1, 0)  # close resets: no port waits in TIME_WAIT
AT_ONCE = 100


def open_and_close(listener: net.Listener, times: int) -> None:
    """*times* connections, AT_ONCE at a time; each carries a message under a deadline, half are blocked when
    closed."""
    target = f"127.0.0.1:{listener.addr[1]}"

    def client(rounds: int) -> None:
        for i in range(rounds):
            with net.dial("tcp", target) as conn:
                conn.set_option(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                if i % 2:
                    conn.set_deadline(gopark.time.now() + 60)
                    conn.write(b"x")
                    conn.read()

    def serve(conn: net.Conn) -> None:
        with conn:
            try:
                while data := conn.read():
                    conn.write(data)
            except ConnectionResetError:
                pass

    def accept() -> None:
        for _ in range(times):
            go(serve, listener.accept())

    accepting = go(accept)
    clients = [go(client, times // AT_ONCE) for _ in range(AT_ONCE)]
    for g in clients:
        g.result(timeout=100)
    accepting.result(timeout=100)


def held() -> tuple[int, int, int, int]:
    """(descriptors, PollDescs, free PollDescs, timers)"""
    s = gopark.statistics()
    return len(descriptors()), s.polldescs, s.free_polldescs, s.timers


def resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_hundred_thousand_connections_leave_nothing_behind(eventually) -> None:
    total = 50_000 if gopark.IS_COMPILED else 5_000  # each has two ends here
    with net.listen("tcp", "127.0.0.1:0") as listener:
        open_and_close(listener, total // 10)
        eventually(lambda: gopark.num_goroutine() == 1)
        gc.collect()
        before = held()
        memory = resident()
        open_and_close(listener, total * 9 // 10)
        eventually(lambda: gopark.num_goroutine() == 1)
        gc.collect()
        assert held() == before
        assert resident() - memory < 8 << 20


def test_failed_dials_leave_nothing_behind() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{nobody.getsockname()[1]}"

        def fail(times: int) -> None:
            for _ in range(times):
                with pytest.raises(ConnectionRefusedError):
                    net.dial("tcp", target, timeout=5)

        fail(10)
        before = held()
        fail(300)
        assert held() == before


def test_a_thousand_idle_connections_cost_no_poll(eventually) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        target = f"127.0.0.1:{listener.addr[1]}"
        pairs = [(net.dial("tcp", target), listener.accept()) for _ in range(500)]
        readers = [go(b.read) for _, b in pairs]
        eventually(lambda: gopark.statistics().netpoll_waiters == len(readers))
        for a, _ in reversed(pairs):
            a.write(b"wake")
        assert [g.result(timeout=10) for g in readers] == [b"wake"] * len(pairs)
        for a, b in pairs:
            a.close()
            b.close()
