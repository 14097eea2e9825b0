"""Conn: a connected stream socket with blocking calls that park the goroutine."""

import contextlib
import operator
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

from gopark.poll import errors, sendfile
from gopark.poll.fd import FD
from gopark.poll.sockaddr import Address
from gopark.runtime import _sys, proc

_MODE_R = 1
_MODE_W = 2
_MODE_RW = 3
_NEVER = sys.maxsize - 1  # ns: proc.deadline_after's
_closed = FD(-1)
_closed.fdmu.incref_and_close()
_closed.fdmu.decref()


class Conn:
    """A stream connection.  Made by net.dial, Listener.accept, net.pipe or net.from_socket.

    One goroutine may read while another writes; several readers (or writers) take turns.  Any goroutine may
    close it or move its deadlines while others are blocked in it."""

    def __cinit__(self) -> None:
        # Compiled core: what is made without __init__ (by a subclass that forgot it) is a closed connection.
        self.fd = _closed

    def __init__(self, fd: FD) -> None:
        if not isinstance(fd, FD):
            raise TypeError(
                f"Conn: fd must be an FD, not {fd!r}: connections are made by net.dial, accept, pipe, from_socket"
            )
        self.fd = fd
        self.timeout = 0  # ns for each call (set_timeout); 0: none

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, n: int = 65536) -> bytes:
        """At most *n* bytes, as soon as there are any; b"" when the peer has closed its side.

        Raises DeadlineExceeded, ClosedError, or the system's OSError (ConnectionResetError, ...)."""
        count = _sys.count(n)
        if count < 0:
            count = size(n, "read")
        if self.timeout != 0:
            self.arm(_MODE_R)
        return self.fd.read(count)

    def read_into(self, buf: Any) -> int:
        """As read, into a writable bytes-like object; how many bytes, 0 when the peer has closed its side."""
        view = writable(buf)
        try:
            if self.timeout != 0:
                self.arm(_MODE_R)
            return self.fd.read_into(view)
        except BaseException:
            view.release()  # while the error lives, its frames do (interpreted core): *buf* must not stay locked
            raise

    def read_exactly(self, n: int) -> bytes:
        """Exactly *n* bytes.  EOFError if the connection ends before.  An error's .partial, Cancelled's too, is
        what came before it.  set_timeout's limit is for the whole of it."""
        n = size(n, "read_exactly")
        if self.timeout != 0:
            self.arm(_MODE_R)  # once: it is the call's
        buf = bytearray()
        have = 0
        try:
            data = self.fd.read(n)
            have = got = len(data)
            if have == n:
                return data
            buf += data
            while got and have < n:
                if have == len(buf):
                    # Grown as it comes: the length may be a stranger's claim.
                    buf += bytes(min(n - have, max(have, 65536)))
                with memoryview(buf)[have:] as room:
                    got = self.fd.read_into(room)
                have += got
            if have < n:
                raise EOFError(f"{self.fd.prefix('read')}: {errors.EOF_UNEXPECTED}: got {have} of {n} bytes")
        except BaseException as e:
            e.partial = bytes(buf[:have])  # type: ignore[attr-defined]
            raise
        return bytes(buf)

    def wait_readable(self) -> None:
        """Park until read would return at once: there are bytes, the end, or an error."""
        if self.timeout != 0:
            self.arm(_MODE_R)
        self.fd.wait_readable()

    def raw_read(self, fn: Callable[[int], Any]) -> None:
        """Call fn(file descriptor) until it returns true, parking until readable in between.

        fn must go on until the system call says EAGAIN before it returns false."""
        if self.timeout != 0:
            self.arm(_MODE_R)
        self.fd.raw_read(fn)

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: Any) -> int:
        """Write all of *data*, a bytes-like object; its length.  An error's .written, Cancelled's too, says
        how much went before it."""
        if type(data) is not bytes:
            return self.write_view(readable(data, "write: data"))
        if self.timeout != 0:
            self.arm(_MODE_W)
        return self.fd.write(data)

    def write_view(self, data: memoryview) -> int:
        """write, of what is not bytes: it is locked as long as the call takes, not as long as its error lives."""
        with data:
            if self.timeout != 0:
                self.arm(_MODE_W)
            return self.fd.write(data)

    def writev(self, buffers: Any) -> int:
        """Write several bytes-like objects without joining them; how many bytes in all."""
        if isinstance(buffers, (str, bytes, bytearray, memoryview)) or not isinstance(buffers, Iterable):
            raise TypeError(
                f"writev: buffers must be a list of bytes-like objects, not {type(buffers).__name__}"
            )
        views = [readable(b, "writev: each buffer") for b in buffers]
        try:
            if self.timeout != 0:
                self.arm(_MODE_W)
            return self.fd.writev(views)
        finally:
            for view in views:
                view.release()

    def send_file(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send *count* bytes (None: to the end) of an open binary file from *offset*, in the kernel; how many
        were sent.

        The file's own position does not matter.  What sendfile(2) cannot take (an in-memory file) is read and
        written.  An OSError's .written says how much went before it."""
        offset = size(offset, "send_file: offset")
        if count is not None:
            count = size(count, "send_file: count")
        if self.timeout != 0:
            self.arm(_MODE_W)
        return sendfile.send_file(self.fd, file, offset, count)

    def raw_write(self, fn: Callable[[int], Any]) -> None:
        """Call fn(file descriptor) until it returns true, parking until writable in between.

        fn must go on until the system call says EAGAIN before it returns false."""
        if self.timeout != 0:
            self.arm(_MODE_W)
        self.fd.raw_write(fn)

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close.  Who is blocked in it gets ClosedError at once.  Closing twice does nothing."""
        if not self.fd.fdmu.closed:
            with contextlib.suppress(errors.ClosedError):  # another thread may be faster
                self.fd.close()

    def close_read(self) -> None:
        """Shut down the reading side: reads give what has come already, then b""."""
        self.fd.shutdown(socket.SHUT_RD, "close_read")

    def close_write(self) -> None:
        """Shut down the writing side: the peer reads to the end."""
        self.fd.shutdown(socket.SHUT_WR, "close_write")

    def __enter__(self) -> "Conn":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- deadlines -------------------------------------------------------------------------------------------

    def set_deadline(self, when: float | None) -> None:
        """Reads and writes fail with DeadlineExceeded from *when* on: seconds on gopark.time.now()'s clock.

        None clears it; a time in the past expires at once, also for who is blocked now."""
        self.fd.set_deadline(deadline(when), _MODE_RW)

    def set_read_deadline(self, when: float | None) -> None:
        """set_deadline for reads alone."""
        self.fd.set_deadline(deadline(when), _MODE_R)

    def set_write_deadline(self, when: float | None) -> None:
        """set_deadline for writes alone."""
        self.fd.set_deadline(deadline(when), _MODE_W)

    def set_timeout(self, seconds: float | None) -> None:
        """Each later read or write gets *seconds* from its beginning, by moving its deadline.  None: no
        limit."""
        ns = _NEVER if seconds is None else proc.seconds_to_ns(seconds, "set_timeout: seconds")
        if ns <= 0:
            raise ValueError(f"set_timeout: seconds must be positive (or None for no limit), not {seconds!r}")
        if ns < _NEVER:
            self.timeout = ns
        else:
            self.timeout = 0
            self.fd.set_deadline(0, _MODE_RW)

    def arm(self, mode: int) -> None:
        if proc.elsewhere():
            self.fd.refuse("read" if mode == _MODE_R else "write")  # before any effect
        if not self.fd.fdmu.closed:  # else the operation itself says so
            self.fd.set_deadline(proc.deadline_after(self.timeout), mode)

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def local_addr(self) -> Address:
        """This side's address, as the socket module gives it."""
        return self.fd.local_addr()

    @property
    def remote_addr(self) -> Address:
        """The peer's address, as the socket module gives it."""
        return self.fd.remote_addr()

    def fileno(self) -> int:
        """The descriptor, for options and poll(2).  Close it through this object only.  ClosedError once
        closed."""
        if self.fd.fdmu.closed:
            raise self.fd.closed_error("fileno")
        return self.fd.sysfd

    def set_no_delay(self, on: bool) -> None:
        """TCP_NODELAY: send small writes at once (the default, as in Go) or gather them (Nagle)."""
        self.set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(bool(on)))

    def set_option(self, level: int, option: int, value: "int | bytes") -> None:
        """setsockopt(2).  *level* and *option*: as the socket module names them."""
        if isinstance(value, int):
            value = number(value, "set_option: value")
        else:
            value = bytes(readable(value, "set_option: value"))
        self.fd.set_option(number(level, "set_option: level"), number(option, "set_option: option"), value)

    def __repr__(self) -> str:
        return f"<gopark.net.Conn {self.fd!r}>"


def number(n: Any, what: str) -> int:
    """*n* as a C int, or an error that names *what*."""
    try:
        value = operator.index(n)
    except TypeError:
        raise TypeError(f"{what} must be an int, not {n!r}") from None
    if not -0x80000000 <= value <= 0x7FFFFFFF:
        raise OverflowError(f"{what} must fit into a C int, not {value}")
    return value


def size(n: Any, what: str) -> int:
    """*n* as a count of bytes, or an error that names *what*."""
    name = what if ":" in what else f"{what}: n"
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {n!r}") from None
    if not 0 <= count <= sys.maxsize:
        raise ValueError(f"{name} must be from 0 to {sys.maxsize}, not {count}")
    return count


def readable(data: Any, what: str) -> memoryview:
    """*data*'s bytes without a copy."""
    if isinstance(data, str):
        raise TypeError(f"{what} must be bytes-like, not str: encode it first")
    try:
        view = memoryview(data)
        # What is empty in several dimensions cannot be cast.
        return view.cast("B") if view.nbytes else memoryview(bytearray())
    except (TypeError, BufferError) as e:
        raise TypeError(
            f"{what} must be a contiguous bytes-like object, not {type(data).__name__} ({e})"
        ) from None


def writable(buf: Any) -> memoryview:
    """A writable view of *buf*'s bytes."""
    view = readable(buf, "read_into: buf")
    if memoryview(buf).readonly:
        raise TypeError(f"read_into: buf must be writable, not {type(buf).__name__}")
    return view


def deadline(when: float | None) -> int:
    """Seconds of the monotonic clock as ns: 0 for None, never 0 or more than the clock can reach
    otherwise."""
    if when is None:
        return 0
    ns = proc.seconds_to_ns(when, "deadline: when")
    return ns if ns > 0 else -1
