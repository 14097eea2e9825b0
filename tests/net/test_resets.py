"""A peer that resets or goes away: the system's errors, with both addresses, for whoever is blocked and
whoever comes later."""

import socket
import struct

import pytest

from gopark import net

BIG = b"x" * (64 << 20)
BOTH = r"tcp 127\.0\.0\.1:\d+->127\.0\.0\.1:\d+: "


def reset(conn: net.Conn) -> None:
    conn.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def test_reset_wakes_a_blocked_read_with_an_error_that_names_both_addresses(tcp_pair, blocked) -> None:
    for side in (0, 1):
        pair = tcp_pair()
        mine, peer = pair[side], pair[1 - side]
        if side == 0:
            assert mine.remote_addr == peer.local_addr
        reader = blocked(mine.read)
        reset(peer)
        with pytest.raises(
            ConnectionResetError, match=r"^.Errno 104. read " + BOTH + "connection reset by peer$"
        ):
            reader.result(timeout=10)


def test_reset_wakes_a_blocked_write_whose_error_says_how_much_went(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    writer = blocked(a.write, BIG)
    reset(b)
    with pytest.raises((ConnectionResetError, BrokenPipeError), match=r"write " + BOTH) as e:
        writer.result(timeout=10)
    assert 0 < e.value.written < len(BIG)


def test_reset_wakes_reader_and_writer_together(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    reader, writer = blocked(a.read), blocked(a.write, BIG)
    reset(b)
    for g in (reader, writer):
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            g.result(timeout=10)


def test_reset_wakes_wait_readable_and_the_read_reports_it(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    waiting = blocked(a.wait_readable)
    reset(b)
    waiting.result(timeout=10)
    with pytest.raises(ConnectionResetError):
        a.read()


def test_write_to_a_closed_peer_is_a_broken_pipe_and_no_signal(tcp_pair) -> None:
    a, b = tcp_pair()
    b.close()
    assert a.read() == b""
    with pytest.raises((BrokenPipeError, ConnectionResetError), match=r"write " + BOTH) as e:
        for _ in range(1000):
            a.write(b"x" * 10_000)
    assert e.value.written >= 0
    with pytest.raises(BrokenPipeError, match=r"write " + BOTH + "broken pipe$") as e:
        a.write(b"once more")
    assert e.value.written == 0
    with pytest.raises(BrokenPipeError) as e:
        a.writev([b"once", b"more"])
    assert e.value.written == 0


def test_data_before_a_reset_is_an_error_not_garbage(tcp_pair) -> None:
    for _ in range(50):
        a, b = tcp_pair()
        b.write(b"some data")
        reset(b)
        try:
            assert a.read() == b"some data"
            assert a.read() is None, "the reset was lost"
        except ConnectionResetError:
            pass


def test_a_connection_reset_in_the_accept_queue_does_not_end_accept(blocked) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        for _ in range(20):
            reset(net.dial("tcp", f"127.0.0.1:{listener.addr[1]}"))
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as a:
            a.write(b"alive")
            for _ in range(21):
                with listener.accept() as conn:
                    try:
                        if conn.read() == b"alive":
                            return
                    except ConnectionResetError as e:
                        assert "->" in str(e) or conn.remote_addr is None
    raise AssertionError("the living connection was not accepted")


def test_unclosed_connection_and_listener_warn(tcp_pair) -> None:
    import errno
    import gc
    import os
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        listener = net.listen("tcp", "127.0.0.1:0")
        conn = net.dial("tcp", f"127.0.0.1:{listener.addr[1]}")
        accepted = listener.accept()
        numbers = [listener.fileno(), conn.fileno(), accepted.fileno()]
        inodes = [os.fstat(fd).st_ino for fd in numbers]  # another thread may take a number at once
        del listener, conn, accepted
        gc.collect()
    messages = [str(w.message) for w in caught if w.category is ResourceWarning]
    assert len(messages) == 3
    assert all(m.startswith("unclosed <fd=") and "tcp 127.0.0.1:" in m for m in messages)
    for fd, inode in zip(numbers, inodes, strict=True):
        try:
            assert os.fstat(fd).st_ino != inode
        except OSError as e:
            assert e.errno == errno.EBADF
