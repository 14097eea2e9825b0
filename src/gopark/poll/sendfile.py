# cython: nonecheck=True
"""Files to sockets without a copy through this process: sendfile(2), in pieces, with a fallback.  After Go's
internal/poll.

What a file object's descriptor has is not always what the object has (gzip, zip members, wrappers of any kind): sendfile is
for those of which it is known.  Others are read and written.

sendfile waits for the disk if the file is not in the page cache, and all goroutines with it.  So a piece that is not
there is first read in by a thread of the blocking pool; one that is costs one more system call.
"""

import errno
import io
import os
from contextlib import suppress
from typing import Any

from gopark.poll.fd import FD, partial
from gopark.runtime import _sys, pollstate, proc
from gopark.runtime.blocking import blocking
from gopark.runtime.g import Cancelled
from gopark.runtime.sysmon import no_preempt

_W = pollstate.MODE_W
_PIECE = 4 << 20  # bytes a call: a larger one would keep everybody else waiting
_COPY = 256 << 10  # bytes a step of the fallback
_FURTHEST = (1 << 63) - 1  # the largest offset
_MAX_FD = 0x7FFFFFFF
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)

# Python's wrappers around an open file, by full name (not to import their modules), and where that file is in them.
_INSIDE = {
    "_io.TextIOWrapper": "buffer",
    "tempfile._TemporaryFileWrapper": "file",
    "gopark.files.File": "wrapped",
}
_BUFFERED = (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


class Source:
    """A descriptor of our own for a file, closed when this object goes, if not before.

    Our own, because the program may close the file meanwhile, and then another's gets its number."""

    def __cinit__(self) -> None:
        self.fd = -1  # compiled core: also of one that is made without __init__

    def __init__(self, number: int) -> None:
        self.fd = -1
        fd = _sys.dup(number) if 0 <= number <= _MAX_FD else -errno.EBADF
        if fd < 0:
            raise OSError(-fd, f"send_file: {os.strerror(-fd).lower()}")
        self.fd = fd

    def close(self) -> None:
        """Close it now.  (A thread that reads the file in, for a call that was cancelled, finds that it is closed.)"""
        fd = self.fd
        self.fd = -1
        if fd >= 0:
            _sys.close(fd)

    def __del__(self) -> None:
        self.close()


def send_file(fd: FD, file: Any, offset: int, count: int | None) -> int:
    """Send *count* bytes (None: all) of *file* from *offset*; how many went.  The file's own position is left as it is."""
    if proc.elsewhere():
        fd.refuse("sendfile")  # before any effect on the file
    source = _open(file)
    if source is None:
        return _copy_object(fd, file, offset, count)
    try:
        sent, complete = _send(fd, source, offset, count)
        if not complete:  # sendfile cannot, at least not with this socket or this file
            sent += _copy_file(fd, source, offset + sent, None if count is None else count - sent, sent)
    except OSError as e:
        if e.errno == errno.ESPIPE:
            raise ValueError(
                f"send_file: file must be a regular file or one in memory, not {file!r}"
            ) from None
        if e.errno == errno.EBADF:
            raise ValueError(f"send_file: file must be open for reading, not {file!r}") from None
        raise
    finally:
        source.close()
    return sent


def _open(file: Any) -> Source | None:
    """What to give to sendfile; None if *file* must be read."""
    if isinstance(file, int):
        return Source(file)
    plain = _plain(file)
    if plain is None:
        return None
    number = plain.fileno()
    source = Source(number)
    # Had it been closed just before, the number would be another's: but then it says so now.
    if plain.fileno() == number:
        return source
    source.close()
    return None


def _plain(file: Any) -> Any:
    """The object whose fileno() has exactly *file*'s bytes; None if there is none, or it is not known."""
    while (inside := _INSIDE.get(_full_name(file))) is not None:
        if file.writable():
            file.flush()
        file = getattr(file, inside)
    if type(file) in _BUFFERED:
        if file.writable():
            file.flush()
        file = file.raw
        return file if type(file) is io.FileIO else None
    if type(file) is io.FileIO or (hasattr(file, "fileno") and not hasattr(file, "read")):
        return file
    return None


def _full_name(file: Any) -> str:
    kind = type(file)
    return f"{kind.__module__}.{kind.__qualname__}"


def _send(fd: FD, source: Source, offset: int, count: int | None) -> "tuple[int, bool]":
    """sendfile until the end, or until it cannot go on (False); how many bytes went."""
    sent = 0
    there = 0  # the file is in memory up to here
    end = _FURTHEST if count is None else min(_FURTHEST, offset + count)
    fd.writelock("sendfile")
    try:
        fd.prepare(_W, "sendfile")
        while offset + sent < end:
            at = offset + sent
            if at >= there:
                there = min(end, at + _PIECE)
                if not _cached(source.fd, at):
                    blocking(_read_in, source, at, there)
                    fd.prepare(_W, "sendfile")
            n = _sys.sendfile(fd.sysfd, source.fd, at, there - at)
            if n > 0:
                sent += n
                assert offset + sent <= there <= end
            elif n == 0 or n == -errno.EOVERFLOW:  # the end, or beyond where any file's can be
                break
            elif n == -errno.EAGAIN:
                fd.wait(_W, "sendfile")
            elif -n in _UNSUPPORTED:
                return sent, False
            elif n != -errno.EINTR:
                raise fd.system_error("sendfile", -n)
        return sent, True
    except (OSError, Cancelled) as e:
        partial(e, sent)
        raise
    finally:
        fd.writeunlock()


def _cached(file: int, offset: int) -> bool:
    """Is the file there in memory?  True also if the file system does not say."""
    try:
        os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass  # it may be no regular file: sendfile will say so
    return True


def _read_in(source: Source, start: int, end: int) -> None:
    buf = bytearray(_COPY)
    try:
        while start < end and (n := os.preadv(source.fd, [buf], start)):
            start += n
    except OSError:
        pass  # sendfile will meet it too


def _copy_file(fd: FD, source: Source, offset: int, count: int | None, before: int) -> int:
    """What sendfile cannot send, read and written; *before*: how much has gone already."""

    def read(at: int, n: int) -> bytes:
        try:
            return os.pread(source.fd, min(n, _FURTHEST - at), at)
        except OSError as e:
            raise fd.system_error("sendfile", e.errno or errno.EIO) from None

    return _copy(fd, read, offset, count, before)


def _copy_object(fd: FD, file: Any, offset: int, count: int | None) -> int:
    if type(file) is io.BytesIO:
        data = memoryview(file.getvalue())[offset:]
        return fd.write(data if count is None else data[:count])
    if not hasattr(file, "read") or not hasattr(file, "seek") or not hasattr(file, "tell"):
        raise TypeError(f"send_file: file must be an open binary file, not {file!r}")

    def read(at: int, n: int) -> bytes:
        with no_preempt():  # another goroutine may be sending the same object
            file.seek(at)
            data = file.read(n)
        if isinstance(data, str):
            raise TypeError("send_file: file must be open in binary mode")
        return bytes(data)[:n]

    try:
        before = file.tell()
        file.seek(before)
    except io.UnsupportedOperation as e:
        raise ValueError(f"send_file: file must be seekable, not {file!r} ({e})") from None
    try:
        return _copy(fd, read, offset, count)
    finally:
        with suppress(OSError, ValueError):  # one that can only go forward
            file.seek(before)


def _copy(fd: FD, read: Any, offset: int, count: int | None, before: int = 0) -> int:
    sent = 0
    try:
        while count is None or sent < count:
            data = read(offset + sent, _COPY if count is None else min(_COPY, count - sent))
            if not data:
                break
            sent += fd.write(data)
    except (OSError, Cancelled) as e:
        partial(e, before + sent + getattr(e, "written", 0))
        raise
    return sent
