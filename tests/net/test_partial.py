"""What was done before an error is known; no memory is taken, and no buffer kept locked, for what did not come."""

import array
import ctypes
import math
import mmap
import sys
import time
from typing import Any

import pytest

import gopark
from gopark import go, net
from support import parked, python


def test_cancelled_says_what_had_been_read_and_written() -> None:
    a, b = net.pipe()
    reader = go(a.read_exactly, 10)
    b.write(b"hello")
    parked(reader, "IO wait")
    while a.fd.pd.state()[0] != "G":  # it has taken the five
        gopark.gosched()
    reader.cancel()
    reader.join()
    assert isinstance(reader.exception, gopark.Cancelled)
    assert reader.exception.partial == b"hello"  # type: ignore[attr-defined]
    for name, data in (("write", bytes(8 << 20)), ("writev", [bytes(8 << 20)] * 2)):
        c, d = net.pipe()
        writer = parked(go(getattr(c, name), data), "IO wait")
        writer.cancel()
        writer.join()
        assert isinstance(writer.exception, gopark.Cancelled)
        assert 0 < writer.exception.written < 8 << 20  # type: ignore[attr-defined]
        c.close()
        d.close()
    a.close()
    b.close()


def test_a_timeout_is_the_whole_read_exactlys_not_each_reads() -> None:
    a, b = net.pipe()

    def drip() -> None:
        try:
            while True:
                b.write(b"x")
                gopark.sleep(0.01)
        except OSError:
            pass

    go(drip)
    a.set_timeout(0.1)
    begun = time.monotonic()
    with pytest.raises(net.DeadlineExceeded) as caught:
        a.read_exactly(1000)
    assert time.monotonic() - begun < 2
    assert 0 < len(caught.value.partial) < 200  # type: ignore[attr-defined]
    a.close()
    b.close()


def test_no_memory_is_taken_for_a_length_that_is_only_claimed() -> None:
    python(
        """
        import resource, sys
        import gopark
        from gopark import net

        def main():
            a, b = net.pipe()
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
            for n in (1 << 28, 1 << 30, 1 << 40, sys.maxsize):
                b.write(b"0123456789")
                assert a.read(n) == b"0123456789"
                b.write(b"0123456789")
                a.set_read_deadline(gopark.time.now() + 0.02)
                try:
                    a.read_exactly(n)
                except TimeoutError as e:
                    assert e.partial == b"0123456789"
                else:
                    raise AssertionError(n)
                a.set_read_deadline(None)

        gopark.run(main)
        """
    )


def test_read_exactly_of_more_than_one_read_gives() -> None:
    a, b = net.pipe()
    data = bytes(range(256)) * 20000
    go(b.write, data)
    assert a.read_exactly(len(data)) == data
    assert a.read_exactly(0) == b""
    a.close()
    b.close()


def test_a_callers_buffer_is_free_again_while_the_error_lives() -> None:
    """The error's traceback has the frames that used it (interpreted core), and whoever logs an error keeps it."""
    a, b = net.pipe()
    errors: list[BaseException] = []

    def attempt(call: Any, *args: Any) -> None:
        try:
            call(*args)
        except (OSError, gopark.Cancelled) as e:
            errors.append(e)
            return
        raise AssertionError("no error")

    a.set_deadline(gopark.time.now() + 0.02)
    out = bytearray(8 << 20)
    attempt(a.write, out)
    del out[: errors[-1].written]  # type: ignore[attr-defined]
    for expired in (0.0, None):
        if expired is None:
            a.close()
        outs, into = [bytearray(100), bytearray(b"xx")], bytearray(10)
        attempt(a.write, outs[0])
        attempt(a.writev, outs)
        for each in outs:
            each.clear()
        attempt(a.read_into, into)
        into.extend(b"more")
        m = mmap.mmap(-1, 4096)
        attempt(a.read_into, m)
        m.close()
    b.close()
    assert len(errors) == 9


def test_a_cancelled_readers_buffer_is_free_again() -> None:
    a, b = net.pipe()
    into = bytearray(10)
    reader = parked(go(a.read_into, into), "IO wait")
    with pytest.raises(BufferError):
        into.clear()  # while it is read into
    reader.cancel()
    reader.join()
    into.clear()
    assert isinstance(reader.exception, gopark.Cancelled)
    a.close()
    b.close()


def test_empty_buffers_of_any_shape() -> None:
    a, b = net.pipe()
    for empty in ((ctypes.c_int * 4 * 0)(), array.array("d"), bytearray(), memoryview(b"")):
        assert a.write(empty) == 0
        assert a.writev([b"ab", empty, b"c"]) == 3
        assert b.read_exactly(3) == b"abc"
    for empty in ((ctypes.c_int * 4 * 0)(), array.array("d"), bytearray()):
        assert a.read_into(empty) == 0
    with pytest.raises(TypeError, match="must be writable"):
        a.read_into(b"")
    a.close()
    b.close()


@pytest.mark.parametrize("when", [math.inf, 1e300, 10**400, sys.maxsize])
def test_a_deadline_or_timeout_that_never_comes_is_none(when: Any) -> None:
    """No timer is set: it would keep a deadlock from being noticed."""
    a, b = net.pipe()
    a.set_deadline(when)
    a.set_timeout(when)
    assert gopark.statistics().timers == 0
    b.write(b"x")
    assert a.read() == b"x"
    a.set_deadline(-math.inf)
    with pytest.raises(net.DeadlineExceeded):
        a.read()
    a.close()
    b.close()


def test_what_is_no_number_of_seconds_is_refused_and_changes_nothing() -> None:
    a, b = net.pipe()
    for bad in (math.nan, "1", [], object()):
        for call in (a.set_deadline, a.set_read_deadline, a.set_write_deadline, a.set_timeout):
            with pytest.raises(TypeError, match="must be a number of seconds"):
                call(bad)
    b.write(b"x")
    assert a.read() == b"x"
    a.close()
    b.close()


def test_an_options_error_says_the_operation_and_the_addresses() -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        port = listener.addr[1]
        a = net.dial("tcp", f"127.0.0.1:{port}")
        b = listener.accept()
    with pytest.raises(
        OSError, match=rf"setsockopt tcp 127\.0\.0\.1:\d+->127\.0\.0\.1:{port}: protocol not available"
    ):
        a.set_option(6, 9999, 1)
    with pytest.raises(OSError, match=rf"setsockopt tcp .*->127\.0\.0\.1:{port}: invalid argument"):
        a.set_option(1, 13, b"x")  # SO_LINGER
    for bad, what in (
        ((None, 1, 1), "level"),
        ((1, "x", 1), "option"),
        ((1, 13, "x"), "value"),
        ((1, 13, 1.5), "value"),
    ):
        with pytest.raises(TypeError, match=f"set_option: {what}"):
            a.set_option(*bad)
    with pytest.raises(OverflowError, match="value must fit"):
        a.set_option(1, 8, 1 << 40)
    a.close()
    b.close()
    with pytest.raises(net.ClosedError, match="setsockopt tcp"):
        a.set_option(1, 8, 1)
