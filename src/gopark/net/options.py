"""The options that every TCP connection gets, with Go's defaults; how a system call's result becomes an error."""

import socket

from gopark.poll import errors
from gopark.runtime import _sys

_MAX_INTERVAL = 32767  # s: the kernel's limit
KEEP_ALIVE = 15.0  # s: idle time before the first probe, and between probes


def check(prefix: str, result: int) -> int:
    """*result*, or if it is a negative errno its OSError, which begins with *prefix*."""
    if result < 0:
        raise errors.system(prefix, -result)
    return result


def tcp(sysfd: int, prefix: str, interval: float = KEEP_ALIVE) -> None:
    """Small writes go out at once, dead peers are found.  Accepted connections inherit both from their
    listener."""
    check(prefix, _sys.setsockopt(sysfd, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
    keep_alive(sysfd, prefix, interval)


def keep_alive(sysfd: int, prefix: str, seconds: float) -> None:
    """Probe an idle peer every *seconds* (at least 1); 0 or less: never."""
    check(prefix, _sys.setsockopt(sysfd, socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(seconds > 0)))
    if seconds > 0:
        interval = max(1, round(min(seconds, _MAX_INTERVAL)))
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            check(prefix, _sys.setsockopt(sysfd, socket.IPPROTO_TCP, option, interval))
