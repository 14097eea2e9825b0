"""Files to sockets without a copy through this process: sendfile(2), in pieces, with a fallback.  After Go's
internal/poll.

sendfile waits for the disk if the file is not in the page cache, and all goroutines with it.  So a piece that is not
there is first read in by a thread of the blocking pool; one that is costs one more system call."""

import errno
import os
from typing import Any

from gopark.poll.fd import FD, partial
from gopark.runtime.blocking import blocking

_PIECE = 4 << 20  # bytes a call: a larger one would keep everybody else waiting
_COPY = 256 << 10  # bytes a step of the fallback
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def send_file(fd: FD, file: Any, offset: int, count: int | None) -> int:
    """Send *count* bytes (None: all) of *file* from *offset*; how many went.  The file's own position does
    not matter."""
    try:
        source = file if isinstance(file, int) else file.fileno()
    except (AttributeError, OSError):  # io.BytesIO says UnsupportedOperation, an OSError
        return _copy_object(fd, file, offset, count)
    sent = 0
    there = 0  # the file is in memory up to here

    def step(out: int) -> bool:
        nonlocal sent, there
        while count is None or sent < count:
            at = offset + sent
            if at >= there:
                there = at + (_PIECE if count is None else min(_PIECE, count - sent))
                if not _cached(source, at):
                    blocking(_read_in, source, at, there)
            try:
                n = os.sendfile(out, source, at, there - at)
            except BlockingIOError:
                return False
            except OSError as e:
                raise fd.system_error("sendfile", e.errno or errno.EIO) from None
            if n == 0:
                break
            sent += n
        return True

    try:
        fd.raw_write(step, "sendfile")
    except OSError as e:
        if sent == 0 and e.errno == errno.ESPIPE:
            raise ValueError(
                f"send_file: file must be a regular file or one in memory, not {file!r}"
            ) from None
        if sent or e.errno not in _UNSUPPORTED:
            raise partial(e, sent) from None
        return _copy(fd, lambda at, n: os.pread(source, n, at), offset, count)
    return sent


def _cached(file: int, offset: int) -> bool:
    """Is the file there in memory?  True also if the file system does not say."""
    try:
        os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass  # it may be no regular file: sendfile will say so
    return True


def _read_in(file: int, start: int, end: int) -> None:
    buf = bytearray(_COPY)
    try:
        while start < end and (n := os.preadv(file, [buf], start)):
            start += n
    except OSError:
        pass  # sendfile will meet it too


def _copy_object(fd: FD, file: Any, offset: int, count: int | None) -> int:
    if not hasattr(file, "read") or not hasattr(file, "seek"):
        raise TypeError(f"send_file: file must be an open binary file, not {file!r}")

    def read(at: int, n: int) -> bytes:
        file.seek(at)
        data = file.read(n)
        if not isinstance(data, bytes):
            raise TypeError("send_file: file must be open in binary mode")
        return data

    return _copy(fd, read, offset, count)


def _copy(fd: FD, read: Any, offset: int, count: int | None) -> int:
    sent = 0
    while count is None or sent < count:
        data = read(offset + sent, _COPY if count is None else min(_COPY, count - sent))
        if not data:
            break
        try:
            sent += fd.write(data)
        except OSError as e:
            raise partial(e, sent + getattr(e, "written", 0)) from None
    return sent
