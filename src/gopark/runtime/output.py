"""Text on its way out of the runtime: made harmless for whoever reads it, and written past every buffer.

For what is said when nothing else may work (dumps, the report of a deadlock).  What must not live here: what is said."""

import fcntl
import os
import sys
from select import POLLOUT, poll
from time import monotonic

_PATIENCE = 10.0  # s that a full pipe, whose reader has stopped, may keep the program waiting


def printable(text: str) -> str:
    """*text* with everything escaped that a terminal obeys or that could pass for lines of ours.

    Names, addresses and paths are the program's, or its peers'.  No code of a subclass of str is run."""
    text = str.__str__(text)
    if text.isprintable():
        return text
    return "".join(
        ch if ch.isprintable() else ch.encode("unicode_escape", "surrogatepass").decode() for ch in text
    )


def is_stderr() -> bool:
    """Is descriptor 2 the standard error output?

    Not if the process was started without one: the number then went to the next file or socket that was opened.  Nor
    if it is closed at exec: a standard stream never is, but nearly everything is that has taken the number since."""
    if sys.__stderr__ is None:
        return False
    try:
        return not fcntl.fcntl(2, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        return False


def write(fd: int, data: str) -> None:
    """All of *data* to a descriptor; nowhere if it is 2 and not the standard error output (any more)."""
    if fd == 2 and not is_stderr():
        return
    rest = memoryview(data.encode(errors="backslashreplace"))
    until = monotonic() + _PATIENCE
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
            until = monotonic() + _PATIENCE
        except BlockingIOError:
            if monotonic() > until:
                return
            _wait_writable(fd)
        except OSError:
            return


def _wait_writable(fd: int) -> None:
    poller = poll()
    poller.register(fd, POLLOUT)
    poller.poll(1000)
