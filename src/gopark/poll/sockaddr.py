"""Socket addresses: from the kernel's packed form to Python's tuples, and to text.  What makes a system call
is in runtime/_sys."""

import socket
import struct
from typing import Any

from gopark.runtime import _sys

Address = Any
"""As the socket module gives it: (host, port) for IPv4, (host, port, flowinfo, scope) for IPv6, a path for
Unix sockets."""


def unpack(raw: bytes) -> Address:
    """The Python form of a packed sockaddr (accept4, getpeername)."""
    if len(raw) < 2:
        return ""
    family = struct.unpack_from("=H", raw)[0]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack_from("!H", raw, 2)[0]
    if family == socket.AF_INET6:
        port, flow = struct.unpack_from("!HI", raw, 2)
        scope = struct.unpack_from("=I", raw, 24)[0]
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, scope
    if family == socket.AF_UNIX:
        path = raw[2:]
        if path[:1] == b"\0":
            return path  # abstract: bytes, as the socket module gives it
        return path.split(b"\0", 1)[0].decode(errors="surrogateescape")
    return raw


def text(addr: Address) -> str:
    """host:port, [v6]:port, or the path: how error messages name an address."""
    if isinstance(addr, tuple):
        host = f"[{addr[0]}]" if ":" in addr[0] else addr[0]
        return f"{host}:{addr[1]}"
    if isinstance(addr, bytes):
        return "@" + addr[1:].decode(errors="replace")
    return str(addr) if addr else "@"


def endpoints(fd: int) -> tuple[Address, Address]:
    """(local, remote) of an open socket, asked of the kernel; None for what it does not know."""
    return known(_sys.getsockname(fd)), known(_sys.getpeername(fd))


def known(raw: "bytes | int") -> Address:
    """The Python form of what _sys.getsockname or getpeername gave; None for an errno."""
    return unpack(raw) if isinstance(raw, bytes) else None
