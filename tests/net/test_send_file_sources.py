"""send_file sends the bytes of the object that it was given, and no others: packed, wrapped, buffered, changed, closed."""

import bz2
import gzip
import io
import lzma
import mmap
import os
import pathlib
import socket
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import files, go, net
from support import python

DATA = bytes(range(256)) * 3000


def gz(path: pathlib.Path) -> Any:
    path.write_bytes(gzip.compress(DATA, 1))
    return gzip.open(path)


def bz(path: pathlib.Path) -> Any:
    path.write_bytes(bz2.compress(DATA))
    return bz2.open(path)


def xz(path: pathlib.Path) -> Any:
    path.write_bytes(lzma.compress(DATA, preset=0))
    return lzma.open(path)


def member(path: pathlib.Path) -> Any:
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("member", DATA)
    return zipfile.ZipFile(path).open("member")


def plain(path: pathlib.Path, mode: str = "rb", **kwargs: Any) -> Any:
    path.write_bytes(DATA)
    return open(path, mode, **kwargs)


def unflushed(path: pathlib.Path) -> Any:
    path.write_bytes(DATA[:-5])
    file = open(path, "ab+")
    file.write(DATA[-5:])
    return file


def temporary(make: Callable[..., Any], **kwargs: Any) -> Callable[[pathlib.Path], Any]:
    def made(path: pathlib.Path) -> Any:
        file = make(**kwargs)
        file.write(DATA)
        return file

    return made


def mapped(path: pathlib.Path) -> Any:
    m = mmap.mmap(-1, len(DATA))
    m.write(DATA)
    return m


class Shouting(io.FileIO):
    """A raw file whose bytes are not those of its descriptor."""

    def readinto(self, buffer: Any) -> int:
        n = super().readinto(buffer)
        buffer[:n] = bytes(buffer[:n]).translate(bytes(255 - i for i in range(256)))
        return n or 0


def translated(path: pathlib.Path) -> Any:
    path.write_bytes(DATA.translate(bytes(255 - i for i in range(256))))
    return io.BufferedReader(Shouting(path))


class OnlyAFileno:
    def __init__(self, path: pathlib.Path) -> None:
        self.file = plain(path)
        self.fileno = self.file.fileno
        self.close = self.file.close


SOURCES: dict[str, Callable[[pathlib.Path], Any]] = {
    "gzip": gz,
    "bz2": bz,
    "lzma": xz,
    "zip member": member,
    "buffered": plain,
    "unbuffered": lambda path: plain(path, buffering=0),
    "read and write": lambda path: plain(path, "rb+"),
    "append": lambda path: plain(path, "ab+"),
    "unflushed": unflushed,
    "text": lambda path: plain(path, "r", encoding="latin-1"),
    "gopark.files": lambda path: files.wrap(plain(path)),
    "unflushed gopark.files": lambda path: files.wrap(unflushed(path)),
    "NamedTemporaryFile": temporary(tempfile.NamedTemporaryFile),
    "TemporaryFile": temporary(tempfile.TemporaryFile),
    "SpooledTemporaryFile in memory": temporary(tempfile.SpooledTemporaryFile, max_size=1 << 30),
    "SpooledTemporaryFile on disk": temporary(tempfile.SpooledTemporaryFile, max_size=1),
    "BytesIO": temporary(io.BytesIO),
    "buffered BytesIO": lambda path: io.BufferedReader(io.BytesIO(DATA)),  # type: ignore[arg-type]
    "mmap": mapped,
    "a raw file of the program's": translated,
    "an object with no more than fileno": OnlyAFileno,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_bytes_are_the_objects_and_its_position_stays(kind: str, tmp_path, tcp_pair) -> None:
    a, b = tcp_pair()
    file = SOURCES[kind](tmp_path / "file")
    if hasattr(file, "seek"):
        file.seek(77)
        if kind == "buffered":
            file.read(3)  # the descriptor's position is not the object's any more
    position = file.tell() if hasattr(file, "tell") else None
    for offset, count in ((0, None), (5, 1000), (len(DATA) - 10, 100), (3, None), (len(DATA), None), (0, 0)):
        expected = DATA[offset:] if count is None else DATA[offset : offset + count]
        reader = go(b.read_exactly, len(expected))
        assert a.send_file(file, offset, count) == len(expected)
        assert reader.result(timeout=20) == expected
    if position is not None:
        assert file.tell() == position
    file.close()


def test_two_goroutines_may_send_the_same_object(tmp_path, tcp_pair) -> None:
    file = gz(tmp_path / "file")
    pairs = [tcp_pair() for _ in range(2)]
    readers = [go(b.read_exactly, len(DATA)) for _, b in pairs]
    for sender in [go(a.send_file, file) for a, _ in pairs]:
        assert sender.result(timeout=20) == len(DATA)
    assert [g.result(timeout=20) for g in readers] == [DATA, DATA]
    file.close()


def test_a_file_closed_meanwhile_goes_on_and_another_with_its_number_is_not_sent(
    tmp_path, tcp_pair, blocked
) -> None:
    size = 12 << 20
    (tmp_path / "public").write_bytes(b"p" * size)
    (tmp_path / "secret").write_bytes(b"S" * size)
    a, b = tcp_pair()
    with open(tmp_path / "public", "rb") as public:
        number = public.fileno()
        sender = blocked(a.send_file, public)
    with open(tmp_path / "secret", "rb") as secret:
        assert secret.fileno() == number
        assert b.read_exactly(size) == b"p" * size
    assert sender.result(timeout=10) == size


def test_a_file_cut_short_meanwhile_ends_there(tmp_path, tcp_pair, blocked) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (12 << 20))
    a, b = tcp_pair()
    with open(path, "rb") as file:

        def send() -> int:
            try:
                return a.send_file(file, 0, 12 << 20)
            finally:
                a.close_write()

        sender = blocked(send)
        os.truncate(path, 1 << 20)
        total = 0
        while data := b.read():
            total += len(data)
        assert sender.result(timeout=10) == total
        assert 1 << 20 <= total < 12 << 20


def test_beyond_the_end_nothing_is_sent(tmp_path, tcp_pair) -> None:
    a, _ = tcp_pair()
    with plain(tmp_path / "file") as file:
        for offset in (len(DATA), 1 << 40, (1 << 63) - 2, (1 << 63) - 1):
            assert a.send_file(file, offset) == a.send_file(io.BytesIO(DATA), offset) == 0
            assert a.send_file(file, offset, (1 << 63) - 1) == 0


def test_no_descriptor_is_left(tmp_path, tcp_pair, blocked) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (12 << 20))
    with open(path, "rb") as file:

        def holders() -> int:
            here = os.fstat(file.fileno())
            found = (
                os.stat(f"/proc/self/fd/{n}")
                for n in os.listdir("/proc/self/fd")
                if os.path.exists(f"/proc/self/fd/{n}")
            )
            return sum(st.st_ino == here.st_ino and st.st_dev == here.st_dev for st in found)

        for end in ("cancel", "deadline", "close"):
            a, _ = tcp_pair()
            sender = blocked(a.send_file, file)
            assert holders() == 2
            if end == "cancel":
                sender.cancel()
            elif end == "deadline":
                a.set_write_deadline(-1)
            else:
                a.close()
            assert sender.join(10)
            assert sender.exception.written > 0  # type: ignore[union-attr]
            assert holders() == 1


@pytest.mark.parametrize("kind", ["closed", "write only", "text in memory", "not seekable", "directory"])
def test_what_cannot_be_sent_says_why_and_sends_nothing(kind: str, tmp_path, tcp_pair) -> None:
    a, b = tcp_pair()
    made: Any
    if kind == "closed":
        made, error, message = plain(tmp_path / "f"), ValueError, "closed file"
        made.close()
    elif kind == "write only":
        made, error, message = (
            open(tmp_path / "f", "wb"),
            ValueError,
            "send_file: file must be open for reading",
        )
    elif kind == "text in memory":
        made, error, message = io.StringIO("text"), TypeError, "send_file: file must be open in binary mode"
    elif kind == "directory":
        made, error, message = (
            os.open(tmp_path, os.O_RDONLY),
            OSError,
            "sendfile tcp .*: (is a directory|invalid argument)",
        )
    else:
        made, error, message = (
            socket.socketpair()[0].makefile("rb"),
            ValueError,
            "send_file: file must be seekable",
        )
    with pytest.raises(error, match=message):
        a.send_file(made)
    if kind == "directory":
        os.close(made)
    else:
        made.close()
    a.close()
    assert b.read() == b""


def test_an_object_that_can_only_go_forward_is_sent_from_where_it_is(tcp_pair) -> None:
    a, b = tcp_pair()
    r, w = os.pipe()
    with open(w, "wb") as compressed:
        compressed.write(gzip.compress(DATA[:5000]))
    with open(r, "rb") as pipe, gzip.open(pipe) as file:
        assert a.send_file(file) == 5000
    assert b.read_exactly(5000) == DATA[:5000]


def test_a_closed_number_is_an_error(tcp_pair) -> None:
    a, _ = tcp_pair()
    for number in (987654, -1, 1 << 40):
        with pytest.raises(OSError, match=r"^\[Errno 9\] send_file: bad file descriptor$"):
            a.send_file(number)


@pytest.mark.no_run
def test_a_peer_that_is_gone_is_a_broken_pipe_also_where_sigpipe_would_end_the_process(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (1 << 20))
    python(f"""
        import io, signal
        import gopark
        from gopark import net

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as command line tools do

        def main():
            with open({str(tmp_path / "file")!r}, "rb") as file:
                for network in ("tcp", "unix"):
                    for source in (file, io.BytesIO(file.read())):
                        if network == "tcp":
                            with net.listen("tcp", "127.0.0.1:0") as l:
                                a, b = net.dial("tcp", f"127.0.0.1:{{l.addr[1]}}"), l.accept()
                        else:
                            a, b = net.pipe()
                        b.close()
                        try:
                            for _ in range(1000):
                                a.send_file(source)
                                gopark.sleep(0.001)
                        except (BrokenPipeError, ConnectionResetError):
                            a.close()
                        else:
                            raise AssertionError(network)
            assert signal.SIGPIPE not in signal.sigpending()

        gopark.run(main)
    """)


def test_a_deadline_that_passes_leaves_written(tmp_path, tcp_pair) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (12 << 20))
    with open(path, "rb") as file, gzip.open(tmp_path / "z", "wb") as z:
        z.write(b"x" * (12 << 20))
        z.close()
        for source in (file, gzip.open(tmp_path / "z")):
            a, b = tcp_pair()
            a.set_write_deadline(gopark.time.now() + 0.1)
            with pytest.raises(net.DeadlineExceeded) as e:
                a.send_file(source)
            a.close()
            total = 0
            while data := b.read():
                total += len(data)
            assert e.value.written == total  # type: ignore[attr-defined]
            if source is not file:
                source.close()
