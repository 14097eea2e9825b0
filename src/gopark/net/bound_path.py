"""Whose file a Unix socket's path is: it is removed by its maker alone, and only while it is still the maker's."""

import os
import stat

from gopark.poll import sockaddr
from gopark.runtime import _sys


class BoundPath:
    """The file that bind made for a Unix socket: whose it is is known by device and inode, wherever the process goes."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.pid = os.getpid()
        self.identity: tuple[int, int] | None = None

    def bound(self) -> None:
        """bind has just made it."""
        if self.identity is None:
            self.identity = self._identity()

    def undo(self, sysfd: int) -> None:
        """What was to be done with the socket has failed: remove its file, if bind had made it."""
        # Asked of the socket: a signal handler may have raised just after bind.
        if sysfd >= 0 and sockaddr.known(_sys.getsockname(sysfd)):
            self.bound()
            self.remove()

    def _identity(self) -> tuple[int, int] | None:
        try:
            st = os.lstat(self.path)
        except OSError:
            return None
        return (st.st_dev, st.st_ino) if stat.S_ISSOCK(st.st_mode) else None

    def remove(self) -> None:
        """Remove it if it is still there, and this is the process that made it (a forked child closes its copy)."""
        if self.identity is None or os.getpid() != self.pid or self._identity() != self.identity:
            return
        try:
            os.unlink(self.path)
        except OSError:
            pass  # its directory may not be ours to write to any more
