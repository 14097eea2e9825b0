"""The errors of descriptors, in the classes that Python's users catch, with messages that say operation and
addresses."""

import errno
import os

from gopark.poll import sockaddr

EOF_UNEXPECTED = "unexpected EOF"


class ClosedError(OSError):
    """The connection or listener was closed on this side, before or during the call."""


class DeadlineExceeded(TimeoutError):
    """A deadline passed before the operation was done.  The connection is intact: move the deadline and go
    on."""


def where(op: str, net: str, laddr: sockaddr.Address, raddr: sockaddr.Address) -> str:
    """ "read tcp 127.0.0.1:4->127.0.0.1:80": the operation, the network, the addresses that are known."""
    parts = [op]
    if net:
        parts.append(net)
    local = sockaddr.text(laddr) if laddr is not None else ""
    remote = sockaddr.text(raddr) if raddr is not None else ""
    if local and remote:
        parts.append(f"{local}->{remote}")
    elif local or remote:
        parts.append(local or remote)
    return " ".join(parts)


def closed(prefix: str) -> ClosedError:
    return ClosedError(f"{prefix}: use of closed network connection")


def timeout(prefix: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{prefix}: i/o timeout")


def system(prefix: str, err: int) -> OSError:
    """The OSError subclass for *err* (ConnectionResetError, BrokenPipeError, ...)."""
    return OSError(err, f"{prefix}: {os.strerror(err).lower()}")


def not_pollable(prefix: str) -> OSError:
    return OSError(errno.EIO, f"{prefix}: not pollable")


def unexpected_eof(prefix: str) -> EOFError:
    return EOFError(f"{prefix}: {EOF_UNEXPECTED}")
