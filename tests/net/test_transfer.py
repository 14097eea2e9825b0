"""Everything that is written arrives, in order: partial writes, thousands of vectors, both directions,
files."""

import hashlib
import io
import os
import random
import threading

import pytest

import gopark
from gopark import go, net
from gopark.poll import sendfile
from gopark.time import now

SEED = random.randrange(1 << 30)


def digest(conn: net.Conn, n: int = 65536) -> tuple[int, str]:
    h, total = hashlib.sha256(), 0
    while data := conn.read(n):
        h.update(data)
        total += len(data)
    return total, h.hexdigest()


def of(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("pieces", [1000, 65536, 65537, 1 << 20, 1 << 30])
def test_many_megabytes_in_both_directions_at_once(pieces: int, tcp_pair) -> None:
    print(f"seed {SEED}")
    data = random.Random(SEED).randbytes(8 << 20)
    a, b = tcp_pair()

    def send(conn: net.Conn) -> None:
        assert conn.write(memoryview(data)) == len(data)
        conn.close_write()

    senders = [go(send, a), go(send, b)]
    readers = [go(digest, a, pieces), go(digest, b, pieces)]
    assert [g.result(timeout=30) for g in readers] == [of(data)] * 2
    for g in senders:
        g.result()


def test_writev_of_thousands_of_vectors_with_partial_writes(tcp_pair) -> None:
    print(f"seed {SEED}")
    rnd = random.Random(SEED)
    buffers = [rnd.randbytes(rnd.choice((0, 1, 10, 1000, 3000))) for _ in range(5000)]
    buffers += [bytearray(rnd.randbytes(3 << 20)), memoryview(rnd.randbytes(1000)), b""]
    a, b = tcp_pair()
    reader = go(digest, b)
    assert a.writev(buffers) == sum(map(len, buffers))
    assert a.writev(iter([b"and ", b"an iterator"])) == 15
    a.close_write()
    assert reader.result(timeout=30) == of(b"".join(buffers) + b"and an iterator")


def test_several_writers_take_turns_and_each_write_stays_whole(tcp_pair) -> None:
    a, b = tcp_pair()
    size = 1 << 20
    writers = [go(a.write, bytes([i]) * size) for i in range(8)]
    seen = [set(b.read_exactly(size)) for _ in range(8)]
    assert sorted(seen, key=min) == [{i} for i in range(8)]
    for g in writers:
        assert g.result() == size


def test_several_readers_share_what_comes_and_lose_nothing(tcp_pair) -> None:
    a, b = tcp_pair()
    got: list[bytes] = []

    def read() -> None:
        while data := b.read(3):
            got.append(data)

    readers = [go(read) for _ in range(5)]
    data = bytes(range(256)) * 20
    for i in range(0, len(data), 7):
        a.write(data[i : i + 7])
        gopark.gosched()
    a.close_write()
    for g in readers:
        g.result(timeout=10)
    assert sorted(b"".join(got)) == sorted(data)


def test_read_exactly_of_more_than_comes_says_what_came(tcp_pair) -> None:
    a, b = tcp_pair()
    a.write(b"only this")
    a.close()
    with pytest.raises(
        EOFError, match=r"^read tcp .*->.*: unexpected EOF: got 9 of 1099511627776 bytes"
    ) as e:
        b.read_exactly(1 << 40)  # a length that nobody should believe
    assert e.value.partial == b"only this"
    with pytest.raises(EOFError, match=r"got 0 of 4 bytes"):
        b.read_exactly(4)


def test_read_into_fills_no_more_than_the_buffer(tcp_pair) -> None:
    a, b = tcp_pair()
    a.write(b"abcdefgh")
    buf = bytearray(b"........")
    assert b.read_into(memoryview(buf)[2:5]) == 3
    assert buf == b"..abc..."
    assert b.read_exactly(5) == b"defgh"


def test_raw_read_and_raw_write_wait_in_between(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    left = memoryview(b"z" * (32 << 20))

    def write(fd: int) -> bool:
        nonlocal left
        while left:
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                return False
        return True

    writer = blocked(a.raw_write, write)
    total = 0

    def read(fd: int) -> bool:
        nonlocal total
        while total < 32 << 20:
            try:
                total += len(os.read(fd, 1 << 20))
            except BlockingIOError:
                return False
        return True

    b.raw_read(read)
    writer.result(timeout=10)
    assert total == 32 << 20


def test_what_raw_read_raises_gives_the_lock_back(tcp_pair) -> None:
    a, b = tcp_pair()
    for call in (b.raw_read, b.raw_write):
        with pytest.raises(ZeroDivisionError):
            call(lambda fd: 1 // 0)
    a.write(b"x")
    assert b.read() == b"x"
    assert b.write(b"y") == 1


def test_half_close_lets_the_other_direction_go_on(tcp_pair) -> None:
    a, b = tcp_pair()
    a.close_write()
    assert b.read() == b""
    b.write(b"answer")
    assert a.read() == b"answer"
    with pytest.raises(BrokenPipeError, match=r"^.Errno 32. write tcp .*->.*: broken pipe"):
        a.write(b"x")


def test_close_read_ends_a_blocked_read(tcp_pair, blocked) -> None:
    a, b = tcp_pair()
    b.write(b"before")
    assert a.read() == b"before"
    reader = blocked(a.read)
    a.close_read()
    assert reader.result(timeout=10) == b""
    assert a.read() == b""


@pytest.fixture
def big_file(tmp_path):
    data = random.Random(SEED).randbytes(9 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, "rb") as file:
        yield file, data


@pytest.mark.parametrize("kind", ["file", "descriptor", "BytesIO", "unbuffered"])
@pytest.mark.parametrize(
    ("offset", "count"),
    [
        (0, None),
        (5, None),
        (1000, 5 << 20),
        (0, 0),
        ((9 << 20) - 3, None),
        ((9 << 20) - 3, 100),
        (10 << 20, None),
    ],
)
def test_send_file(kind: str, offset: int, count: int | None, tcp_pair, big_file) -> None:
    file, data = big_file
    file.seek(77)
    source = {"file": file, "descriptor": file.fileno(), "BytesIO": io.BytesIO(data), "unbuffered": file.raw}[
        kind
    ]
    expected = data[offset:] if count is None else data[offset : offset + count]
    a, b = tcp_pair()
    reader = go(digest, b)
    assert a.send_file(source, offset, count) == len(expected)
    a.close_write()
    assert reader.result(timeout=20) == of(expected)
    assert os.lseek(file.fileno(), 0, os.SEEK_CUR) in (77, 77 + (128 << 10)) or file.tell() == 77


def test_send_file_waits_for_the_disk_on_another_thread(tcp_pair, big_file, monkeypatch) -> None:
    """What is not in the page cache is read in by the pool; in memory already, it is not."""
    file, data = big_file
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if sendfile._cached(file.fileno(), 8 << 20):  # (asking makes the kernel read ahead, but only there)
        pytest.skip("this file system keeps the file in memory, or does not tell")
    read_in: list[tuple[int, int, bool]] = []
    before = sendfile._read_in

    def watched(source: int, start: int, end: int) -> None:
        read_in.append((start, end, threading.current_thread() is threading.main_thread()))
        before(source, start, end)

    monkeypatch.setattr(sendfile, "_read_in", watched)
    a, b = tcp_pair()
    reader = go(digest, b)
    for _ in range(2):
        assert a.send_file(file) == len(data)
    a.close_write()
    assert reader.result(timeout=20) == of(data + data)
    assert read_in[0][:2] == (0, 4 << 20)
    assert not any(on_main for _, _, on_main in read_in)
    assert len(read_in) <= -(-len(data) // (4 << 20))  # the second time it is all there


def test_send_file_of_what_sendfile_refuses_is_copied(tcp_pair) -> None:
    a, b = tcp_pair()
    with open("/proc/self/limits", "rb") as file:
        expected = file.read()
        assert a.send_file(file) == len(expected)
    assert b.read_exactly(len(expected)) == expected


def test_send_file_of_a_pipe_says_that_it_cannot(tcp_pair) -> None:
    a, _ = tcp_pair()
    r, w = os.pipe()
    with (
        open(r, "rb") as pipe,
        open(w, "wb"),
        pytest.raises(ValueError, match=r"send_file: file must be a regular file"),
    ):
        a.send_file(pipe)


def test_send_file_to_a_peer_that_is_gone(tcp_pair, blocked, big_file) -> None:
    file, _ = big_file
    for source in (file, io.BytesIO(file.read() * 8)):
        a, b = tcp_pair()
        sender = go(lambda a=a, s=source: [a.send_file(s) for _ in range(20)])
        b.read(1000)
        b.close()
        with pytest.raises(
            (BrokenPipeError, ConnectionResetError), match=r"(sendfile|write) tcp .*->.*: "
        ) as e:
            sender.result(timeout=20)
        assert e.value.written >= 0


def test_send_file_and_deadline(tcp_pair, big_file) -> None:
    file, _ = big_file
    a, _ = tcp_pair()
    a.set_write_deadline(now() + 0.05)
    with pytest.raises(net.DeadlineExceeded, match=r"^sendfile tcp .*: i/o timeout") as e:
        for _ in range(20):
            a.send_file(file)
    assert e.value.written >= 0
    with pytest.raises(net.DeadlineExceeded, match=r"^write tcp "):
        a.send_file(io.BytesIO(b"x"))


def test_a_plain_blocking_peer_on_a_thread(tcp_pair) -> None:
    import socket

    with net.listen("tcp", "127.0.0.1:0") as listener:
        echoed: list[bytes] = []

        def peer() -> None:
            with socket.create_connection(listener.addr, timeout=10) as s:
                s.sendall(b"q" * 3_000_000)
                s.shutdown(socket.SHUT_WR)
                while data := s.recv(65536):
                    echoed.append(data)

        thread = threading.Thread(target=peer)
        thread.start()
        with listener.accept() as conn:
            data = conn.read_exactly(3_000_000)
            assert conn.read() == b""
            conn.write(data)
        gopark.blocking(thread.join)
        assert b"".join(echoed) == b"q" * 3_000_000
