"""After a short read the next one waits without trying: that must never lose data, the end, or an error."""

import os
import random
import socket
import struct

import pytest

import gopark
from gopark import go, net

BIG = 64 << 20


def test_data_behind_an_urgent_byte_is_read(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    first = blocked(b.read)
    with socket.socket(fileno=os.dup(a.fileno())) as raw:
        raw.send(b"abc")
        raw.send(b"!", socket.MSG_OOB)
        raw.send(b"def")
    assert first.result() == b"abc"
    b.set_read_deadline(gopark.time.now() + 10)
    assert b.read() == b"def"


def test_two_urgent_bytes_one_after_the_other_lose_nothing(tcp_pair) -> None:
    a, b = tcp_pair()
    with socket.socket(fileno=os.dup(a.fileno())) as raw:
        for _ in range(2):
            raw.send(b"abc")
            raw.send(b"!", socket.MSG_OOB)
            raw.send(b"def")
            b.set_read_deadline(gopark.time.now() + 10)
            assert b.read_exactly(6) == b"abcdef"


def test_data_and_end_that_arrive_together(tcp_pair, blocked) -> None:
    for _ in range(200):
        a, b = tcp_pair()
        reader = blocked(b.read)
        a.write(b"last words")
        a.close()
        assert reader.result() == b"last words"
        assert b.read() == b""
        b.close()


def test_end_after_the_data_was_read(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    a.write(b"data")
    assert b.read() == b"data"
    reader = blocked(b.read)
    a.close_write()
    assert reader.result() == b""


def test_end_that_comes_between_two_reads(tcp_pair, eventually) -> None:
    a, b = tcp_pair()
    a.write(b"data")
    assert b.read() == b"data"
    a.close_write()
    assert b.read() == b""
    assert b.read() == b"", "the end stays"


def test_reset_after_a_short_read_is_reported(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    a.write(b"data")
    assert b.read() == b"data"
    reader = blocked(b.read)
    a.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()
    with pytest.raises(ConnectionResetError):
        reader.result()


def test_reset_that_comes_between_two_reads_is_reported(tcp_pair) -> None:
    a, b = tcp_pair()
    a.write(b"data")
    assert b.read() == b"data"
    a.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()
    with pytest.raises(ConnectionResetError):
        b.read()


def test_data_that_comes_between_two_reads(tcp_pair) -> None:
    a, b = tcp_pair()
    for i in range(300):
        a.write(b"%d" % i)
        assert b.read() == b"%d" % i


def test_a_deadline_that_expired_leaves_the_shortcut_sound(tcp_pair) -> None:
    a, b = tcp_pair()
    a.write(b"1")
    assert b.read() == b"1"
    b.set_read_deadline(gopark.time.now() - 1)
    a.write(b"2")
    with pytest.raises(net.DeadlineExceeded):
        b.read()
    b.set_read_deadline(None)
    assert b.read() == b"2"


def test_a_cancelled_read_leaves_the_shortcut_sound(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    a.write(b"1")
    assert b.read() == b"1"
    reader = blocked(b.read)
    reader.cancel()
    a.write(b"2")
    reader.join()
    assert isinstance(reader.exception, gopark.Cancelled)
    assert b.read() == b"2"


def test_wait_readable_and_raw_read_in_between(tcp_pair) -> None:
    a, b = tcp_pair()
    a.write(b"one")
    assert b.read() == b"one"
    a.write(b"two")
    b.wait_readable()
    assert b.read(1) == b"t"
    b.wait_readable()
    assert b.read() == b"wo"
    a.write(b"three")
    got = []
    b.raw_read(lambda fd: got.append(os.read(fd, 2)) or True)
    assert got == [b"th"]
    assert b.read() == b"ree"


def test_unix_sockets_do_not_use_it() -> None:
    a, b = net.pipe()
    with a, b:
        # A read on a Unix socket stops where the ancillary data changes.
        with socket.socket(fileno=os.dup(a.fileno())) as raw:
            raw.send(b"one")
            socket.send_fds(raw, [b"two"], [raw.fileno()])
            raw.send(b"three")
        got = b""
        b.set_read_deadline(gopark.time.now() + 10)
        while len(got) < 11:
            got += b.read()
        assert got == b"onetwothree"


@pytest.mark.parametrize("how", ["read", "read_into", "read_exactly", "one byte"])
def test_random_sizes_timing_and_ends(how: str, tcp_pair) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rnd = random.Random(seed)
    with net.listen("tcp", "127.0.0.1:0") as listener:
        target = "{}:{}".format(*listener.addr)

        def sender(size: int, seed: int, reset: bool) -> None:
            rnd = random.Random(seed)
            data = random.Random(seed).randbytes(size)
            with net.dial("tcp", target) as conn:
                conn.write(struct.pack("!QI?", size, seed, reset))
                at = 0
                while at < size:
                    n = rnd.choice((1, 7, 64, 1448, 5000, 65536, 200_000))
                    at += conn.write(data[at : at + n])
                    what = rnd.randrange(6)
                    if what == 0:
                        gopark.sleep(rnd.random() * 0.001)
                    elif what < 4:
                        gopark.gosched()
                if reset:
                    conn.read()  # until all has been read
                    conn.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def receiver(conn: net.Conn, rnd: random.Random) -> None:
            with conn:
                size, seed, reset = struct.unpack("!QI?", conn.read_exactly(13))
                got = bytearray()
                while len(got) < size:
                    left = size - len(got)
                    if how == "read":
                        piece = conn.read(rnd.choice((1, 64, 1448, left, left + 1, 65536)))
                    elif how == "one byte":
                        piece = conn.read(1)
                    elif how == "read_exactly":
                        piece = conn.read_exactly(min(left, rnd.choice((1, 64, 3000, 150_000))))
                    else:
                        buf = bytearray(rnd.choice((1, 64, 1448, left, 65536)))
                        piece = bytes(buf[: conn.read_into(memoryview(buf))])
                        piece = bytes(buf[: len(piece)])
                    assert piece, "the end came early"
                    got += piece
                assert got == random.Random(seed).randbytes(size)
                if reset:
                    conn.write(b"!")
                    with pytest.raises(ConnectionResetError):
                        conn.read()
                else:
                    assert conn.read() == b""

        all_of_them = []
        for _ in range(120):
            size = (
                rnd.choice((0, 1, 100, 1448, 20_000))
                if how == "one byte"
                else rnd.choice((0, 1, 3000, 400_000))
            )
            all_of_them.append(go(sender, size, rnd.randrange(1 << 32), rnd.random() < 0.3))
        for _ in range(120):
            listener.set_deadline(gopark.time.now() + 10)
            conn = listener.accept()
            conn.set_deadline(gopark.time.now() + 30)
            all_of_them.append(go(receiver, conn, random.Random(rnd.random())))
        for g in all_of_them:
            g.result(timeout=40)
