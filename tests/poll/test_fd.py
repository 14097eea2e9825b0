"""FD on descriptors that are not TCP sockets: pipes, datagrams, regular files; and its life."""

import os
import socket
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import go
from gopark.poll.errors import ClosedError
from gopark.poll.fd import FD
from gopark.runtime.pollstate import MODE_R, MODE_W
from gopark.time import now


def opened(fd: int, **kwargs: Any) -> FD:
    os.set_blocking(fd, False)
    f = FD(fd, **kwargs)
    f.init()
    return f


def in_run(test: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        gopark.run(test)

    run.__name__ = test.__name__
    return run


@in_run
def test_a_pipe_reads_what_was_written_and_its_end() -> None:
    r, w = (opened(fd, net="pipe", is_socket=False) for fd in os.pipe())
    reader = go(r.read, 100)
    gopark.gosched()
    assert not reader.done
    assert w.write(b"through a pipe") == 14
    assert reader.result() == b"through a pipe"
    assert w.writev([b"a", memoryview(b"b")]) == 2
    assert r.read(1) == b"a"
    buf = bytearray(5)
    assert r.read_into(memoryview(buf)) == 1
    writer = go(w.write, b"x" * 1_000_000)
    got = 0
    while got < 1_000_000:
        got += len(r.read(1 << 20))
    assert writer.result() == 1_000_000
    w.close()
    assert r.read(10) == b""
    r.close()


@in_run
def test_writing_to_a_pipe_without_a_reader_is_a_broken_pipe() -> None:
    r, w = (opened(fd, net="pipe", is_socket=False) for fd in os.pipe())
    r.close()
    with pytest.raises(BrokenPipeError, match=r"write pipe: broken pipe"):
        w.write(b"x")
    w.close()


@in_run
def test_an_empty_datagram_is_not_the_end() -> None:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    f = opened(b.detach(), net="unixgram", stream=False)
    for message in (b"", b"after", b""):
        a.send(message)
        assert f.read(100) == message
    f.close()
    a.close()


@in_run
def test_a_short_datagram_does_not_mean_that_no_other_waits() -> None:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    f = opened(b.detach(), net="unixgram", stream=False)
    for i in range(5):
        a.send(b"%d" % i)
    gopark.sleep(0.001)
    f.set_deadline(int((now() + 10) * 1e9), MODE_R)
    assert [f.read(100) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    f.close()
    a.close()


@in_run
def test_a_regular_file_is_refused_and_stays_the_callers() -> None:
    with open(__file__, "rb") as file:
        f = FD(file.fileno(), is_socket=False)
        with pytest.raises(PermissionError, match=r"cannot poll descriptor"):
            f.init()
        assert os.fstat(file.fileno())


@in_run
def test_close_twice_is_a_closed_error_and_closes_once() -> None:
    f = opened(socket.socket().detach(), net="tcp")
    number = f.sysfd
    f.close()
    assert f.sysfd == -1
    with open(os.devnull) as other:
        os.dup2(other.fileno(), number)  # somebody else has the number now
        try:
            with pytest.raises(ClosedError, match=r"^close tcp.*: use of closed network connection"):
                f.close()
            assert os.path.samestat(os.fstat(number), os.fstat(other.fileno()))
        finally:
            if number != other.fileno():
                os.close(number)


@in_run
def test_close_waits_for_the_last_operation() -> None:
    s, t = socket.socketpair()
    f = opened(s.detach(), net="unix")
    f.incref("test")
    closing = go(f.close)
    gopark.gosched()
    assert not closing.done
    assert "[close]" in repr(closing)
    assert f.sysfd >= 0
    f.decref()
    closing.result(timeout=5)
    assert f.sysfd == -1
    t.close()


@in_run
def test_a_deadline_set_after_close_is_a_closed_error() -> None:
    s, t = socket.socketpair()
    f = opened(s.detach(), net="unix")
    f.close()
    for mode in (MODE_R, MODE_W, MODE_R | MODE_W):
        with pytest.raises(ClosedError):
            f.set_deadline(1, mode)
    t.close()


@in_run
def test_an_abandoned_descriptor_warns_and_is_closed() -> None:
    s, t = socket.socketpair()
    f = opened(s.detach(), net="unix")
    number = f.sysfd
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del f
    assert [w.category for w in caught] == [ResourceWarning]
    assert f"unclosed <fd={number} unix" in str(caught[0].message)
    with pytest.raises(OSError):
        os.fstat(number)
    t.close()


@in_run
def test_one_epoll_registration_serves_read_and_write_at_once() -> None:
    s, t = socket.socketpair()
    a, b = opened(s.detach(), net="unix"), opened(t.detach(), net="unix")
    size = 4 << 20
    writers = [go(f.write, b"x" * size) for f in (a, b)]

    def drain(f: FD) -> int:
        got = 0
        while got < size:
            got += len(f.read(1 << 16))
        return got

    readers = [go(drain, f) for f in (a, b)]
    assert [g.result(timeout=20) for g in writers + readers] == [size] * 4
    a.close()
    b.close()


@in_run
def test_pread_and_pwrite_need_neither_the_locks_nor_the_poller() -> None:
    with tempfile.TemporaryFile() as file:
        f = FD(os.dup(file.fileno()), net="file", is_socket=False)
        assert f.fdmu.rwlock(True)
        assert f.fdmu.rwlock(False)
        assert f.pwrite(b"hello", 3) == 5
        assert f.pread(100, 0) == b"\0\0\0hello"
        assert f.pread(2, 4) == b"el"
        assert f.pread(10, 100) == b""
        with pytest.raises(OSError, match="pread file: invalid argument"):
            f.pread(1, -1)
        f.fdmu.rwunlock(True)
        f.fdmu.rwunlock(False)
        f.close()
        for call in (lambda: f.pread(1, 0), lambda: f.pwrite(b"x", 0)):
            with pytest.raises(ClosedError):
                call()
