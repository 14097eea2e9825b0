"""Close wins over every blocked operation, at once; and the descriptor goes when the last one is gone."""

import os
import re

import pytest

import gopark
from gopark import net

BIG = b"x" * (64 << 20)
CLOSED = "use of closed network connection"


def closed_error(g: gopark.Goroutine, op: str) -> None:
    with pytest.raises(net.ClosedError, match=rf"^{op} .*{CLOSED}$"):
        g.result(timeout=10)


def test_close_wakes_a_blocked_read(tcp_pair, blocked) -> None:
    a, _ = tcp_pair()
    reader = blocked(a.read)
    a.close()
    closed_error(reader, "read tcp")


def test_close_wakes_a_blocked_read_into_and_read_exactly(tcp_pair, blocked) -> None:
    for call in (
        lambda c: c.read_into(bytearray(10)),
        lambda c: c.read_exactly(10),
        lambda c: c.wait_readable(),
    ):
        a, _ = tcp_pair()
        reader = blocked(call, a)
        a.close()
        closed_error(reader, "read tcp")


def test_close_wakes_a_write_that_waits_for_full_buffers(tcp_pair, blocked) -> None:
    a, _ = tcp_pair()
    writer = blocked(a.write, BIG)
    a.close()
    closed_error(writer, "write tcp")
    assert 0 < writer.exception.written < len(BIG)


def test_close_wakes_a_blocked_writev_and_send_file(tcp_pair, blocked, tmp_path) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    with open(path, "rb") as file:
        for call, op in (
            (lambda c: c.writev([BIG, BIG]), "write"),
            (lambda c: c.send_file(file), "sendfile"),
        ):
            a, _ = tcp_pair()
            writer = blocked(call, a)
            a.close()
            closed_error(writer, op)
            assert writer.exception.written > 0


def test_close_wakes_a_blocked_accept(blocked) -> None:
    listener = net.listen("tcp", "127.0.0.1:0")
    accepting = [blocked(listener.accept)] + [blocked(listener.accept, on="fd read lock") for _ in range(3)]
    listener.close()
    for g in accepting:
        closed_error(g, "accept tcp")


def test_close_ends_the_iteration_of_a_listener(blocked) -> None:
    listener = net.listen("tcp", "127.0.0.1:0")
    loop = blocked(lambda: list(listener))
    listener.close()
    assert loop.result(timeout=10) == []


def test_close_wakes_who_waits_for_the_fd_lock(tcp_pair, blocked) -> None:
    a, _ = tcp_pair()
    readers = [blocked(a.read)] + [blocked(a.read, on="fd read lock") for _ in range(5)]
    writers = [blocked(a.write, BIG)] + [blocked(a.write, b"y", on="fd write lock") for _ in range(5)]
    a.close()
    for g in readers:
        closed_error(g, "read tcp")
    for g in writers:
        closed_error(g, "write tcp")


def test_close_returns_when_the_last_operation_is_gone(tcp_pair, blocked) -> None:
    a, _ = tcp_pair()
    fd = a.fileno()
    blocked(a.read)
    blocked(a.write, BIG)
    a.close()
    with pytest.raises(OSError, match=r"Bad file"):
        os.fstat(fd)


def test_a_cancelled_waiter_for_the_lock_does_not_lose_the_wake_up(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    first = blocked(a.read)
    second = blocked(a.read, on="fd read lock")
    third = blocked(a.read, on="fd read lock")
    second.cancel()
    b.write(b"1")
    assert first.result(timeout=10) == b"1"
    b.write(b"2")
    assert third.result(timeout=10) == b"2"
    assert isinstance(second.exception, gopark.Cancelled)


def test_every_operation_on_a_closed_connection_is_a_closed_error(tcp_pair) -> None:
    a, _ = tcp_pair()
    a.set_timeout(5)
    a.close()
    operations = {
        "read": a.read,
        "read_into": lambda: a.read_into(bytearray(1)),
        "read_exactly": lambda: a.read_exactly(1),
        "write": lambda: a.write(b"x"),
        "writev": lambda: a.writev([b"x"]),
        "wait_readable": a.wait_readable,
        "raw_read": lambda: a.raw_read(lambda fd: True),
        "raw_write": lambda: a.raw_write(lambda fd: True),
        "close_read": a.close_read,
        "close_write": a.close_write,
        "set_deadline": lambda: a.set_deadline(None),
        "set_no_delay": lambda: a.set_no_delay(True),
        "fileno": a.fileno,
    }
    for name, call in operations.items():
        with pytest.raises(net.ClosedError, match=CLOSED) as e:
            call()
        assert re.search(r"127\.0\.0\.1:\d+->127\.0\.0\.1:\d+", str(e.value)), f"{name}: {e.value}"
    a.close()
    assert "closed" in repr(a)


def test_every_operation_on_a_closed_listener_is_a_closed_error() -> None:
    listener = net.listen("tcp", "127.0.0.1:0")
    host, port = listener.addr
    listener.close()
    listener.close()
    for call in (listener.accept, listener.fileno, lambda: listener.set_deadline(1)):
        with pytest.raises(net.ClosedError, match=f"{host}:{port}: {CLOSED}"):
            call()
    assert listener.addr == (host, port)
    assert "closed" in repr(listener)


def test_the_number_of_a_closed_descriptor_can_be_reused_at_once(tcp_pair, blocked) -> None:
    for _ in range(300):
        a, b = tcp_pair()
        reader = blocked(a.read)
        b.write(b"late")  # its edge belongs to the descriptor that is closed here
        a.close()
        b.close()
        c, d = tcp_pair()
        c.set_read_deadline(gopark.time.now() + 10)
        second = blocked(c.read)
        d.write(b"new")
        assert second.result(timeout=10) == b"new"
        reader.join()
        assert reader.exception is None or isinstance(reader.exception, net.ClosedError)
        c.close()
        d.close()
