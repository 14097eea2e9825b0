"""How sockets are opened, and the options that every TCP connection gets, with Go's defaults."""

import socket

from gopark.poll import errors

_MAX_INTERVAL = 32767  # s: the kernel's limit
KEEP_ALIVE = 15.0  # s: idle time before the first probe, and between probes


def tcp(sock: socket.socket, interval: float = KEEP_ALIVE) -> None:
    """Small writes go out at once, dead peers are found.  Accepted connections inherit both from their
    listener."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(sock, interval)


def open_socket(family: int, prefix: str) -> socket.socket:
    """A new stream socket that does not block; an error begins with *prefix*."""
    try:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as e:
        raise errors.system(prefix, e.errno or 0) from None


def keep_alive(sock: socket.socket, seconds: float) -> None:
    """Probe an idle peer every *seconds* (at least 1); 0 or less: never."""
    if seconds <= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        return
    interval = max(1, round(min(seconds, _MAX_INTERVAL)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
