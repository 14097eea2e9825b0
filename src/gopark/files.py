"""Files on disk: each call runs on an OS thread (gopark.blocking) and parks the goroutine, not its thread.

    with files.open("data.txt") as f:
        text = f.read()
    files.write_bytes("copy.bin", files.read_bytes("data.bin"))

A file on disk cannot be polled: for epoll it is always ready, and then a read waits for the disk.  What a File has is what
Python's file objects have, under the same names; what it costs more is two changes of thread for each call, some tens of
microseconds.  So read in large pieces; for work of many small steps call one function that does all of it through
gopark.blocking.  What must not live here: descriptors that can be polled (gopark.net).
"""

import builtins
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import IO, Any, NoReturn

from gopark.runtime.blocking import Gate, blocking, blocking_at
from gopark.runtime.shield import shield

__all__ = ["File", "open", "read_bytes", "read_text", "wrap", "write_bytes", "write_text"]

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class File:
    """A file object whose calls park.  Made by open and wrap.

    One call at a time: who comes while another goroutine's call runs, waits for it.  A call that is cancelled goes on, on
    its thread, to the end, and the next one begins after that.  Whatever does no input or output (name, mode, closed,
    fileno, encoding ...) is the file object's own."""

    def __init__(self, wrapped: IO[Any]) -> None:
        self.wrapped = wrapped  # the file object; not to be used beside this
        self._gate = Gate(1)

    def _call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return blocking_at(self._gate, fn, *args)

    def read(self, n: int | None = -1, /) -> Any:
        """At most *n* bytes or characters (-1 or None: all); empty at the end."""
        return self._call(self.wrapped.read, n)

    def read1(self, n: int = -1, /) -> bytes:
        """At most *n* bytes, with one system call at the most (buffered binary files only)."""
        data: bytes = self._call(self.wrapped.read1, n)  # type: ignore[attr-defined]
        return data

    def readinto(self, buf: Any, /) -> int:
        """Read into a writable buffer; how many bytes came (binary files only)."""
        n: int = self._call(self.wrapped.readinto, buf)  # type: ignore[attr-defined]
        return n

    def readline(self, n: int = -1, /) -> Any:
        """One line with its end, at most *n* of it; empty at the end."""
        return self._call(self.wrapped.readline, n)

    def readlines(self, hint: int = -1, /) -> list[Any]:
        """All lines, or (*hint* > 0) as many as make up so many bytes or characters."""
        lines: list[Any] = self._call(self.wrapped.readlines, hint)
        return lines

    def write(self, data: Any, /) -> int:
        """Write *data*; how much of it was taken (all of it, unless the file is unbuffered)."""
        n: int = self._call(self.wrapped.write, data)
        return n

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Write all of *lines*."""
        self._call(self.wrapped.writelines, lines)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to *offset* (of the start, the position or the end); where that is."""
        at: int = self._call(self.wrapped.seek, offset, whence)
        return at

    def tell(self) -> int:
        """The position."""
        at: int = self._call(self.wrapped.tell)
        return at

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, or fill it with zeros, to *size* bytes (None: the position); its new size."""
        at: int = self._call(self.wrapped.truncate, size)
        return at

    def flush(self) -> None:
        """Hand what is in the buffer to the system."""
        self._call(self.wrapped.flush)

    def sync(self) -> None:
        """flush, and wait until the disk has it: fsync(2)."""
        self._call(self._flush_and_sync)

    def _flush_and_sync(self) -> None:
        self.wrapped.flush()
        os.fsync(self.wrapped.fileno())

    def close(self) -> None:
        """Close it, when the call that is under way has ended.  Not cut short by cancellation: the file would stay open."""
        with shield():
            self._call(self.wrapped.close)

    def __enter__(self) -> "File":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> "File":
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:
            return getattr(self.wrapped, name)
        raise AttributeError(
            f"a gopark.files.File has no {name!r}; the file object itself is its attribute 'wrapped'"
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a File cannot be copied or pickled: the file is open once")

    def __repr__(self) -> str:
        return f"<gopark.files.File {self.wrapped!r}>"


# Neither input nor output: answered at once.
_OWN = frozenset((
    "closed", "closefd", "encoding", "errors", "fileno", "isatty", "line_buffering", "mode", "name", "newlines", "readable",
    "seekable", "writable", "write_through",
))  # fmt: skip


def open(
    file: Path | int,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> File:
    """The built-in open, on a thread: same arguments, same errors; the File's calls park."""
    return File(blocking(builtins.open, file, mode, buffering, encoding, errors, newline, closefd, opener))


def wrap(file: IO[Any]) -> File:
    """A File for a file object that is open already (of tempfile, gzip, zipfile ...).  TypeError if it is none."""
    if not (hasattr(file, "close") and (hasattr(file, "read") or hasattr(file, "write"))):
        raise TypeError(f"wrap: file must be a file object, not {file!r}")
    return File(file)


def read_bytes(path: Path) -> bytes:
    """All of a file.  After Go's os.ReadFile."""

    def read() -> bytes:
        with builtins.open(path, "rb") as f:
            return f.read()

    return blocking(read)


def write_bytes(path: Path, data: bytes | bytearray | memoryview) -> int:
    """Make *data* the whole content of a file, which is created if need be; how many bytes.  After Go's os.WriteFile."""

    def write() -> int:
        with builtins.open(path, "wb") as f:
            return f.write(data)

    return blocking(write)


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """All of a text file, with its line ends as "\\n"."""

    def read() -> str:
        with builtins.open(path, encoding=encoding, errors=errors) as f:
            return f.read()

    return blocking(read)


def write_text(path: Path, text: str, encoding: str = "utf-8", errors: str = "strict") -> int:
    """Make *text* the whole content of a file, which is created if need be; how many characters."""

    def write() -> int:
        with builtins.open(path, "w", encoding=encoding, errors=errors) as f:
            return f.write(text)

    return blocking(write)
