"""Socket addresses: from the kernel's packed form to Python's tuples and back, and to text.  What makes a system call
is in runtime/_sys."""

import os
import socket
import struct
from typing import Any

from gopark.runtime import _sys
from gopark.runtime.text import escaped

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


def unpack4(n: int) -> Address:
    """unpack, of what _sys.inet4 made of it."""
    return socket.inet_ntop(socket.AF_INET, (n >> 16).to_bytes(4, "big")), n & 0xFFFF


def pack(family: int, addr: Address) -> bytes:
    """What unpack takes apart, for bind and connect.  *addr* has been checked: its host is a number."""
    head = struct.pack("=H", family)
    if family == socket.AF_INET:
        return head + struct.pack("!H4s8x", addr[1], socket.inet_pton(family, addr[0]))
    if family == socket.AF_INET6:
        flow_and_host = struct.pack("!HI16s", addr[1], addr[2], socket.inet_pton(family, addr[0]))
        return head + flow_and_host + struct.pack("=I", addr[3])
    # A path ends with a zero, an abstract name where its length says.
    return head + (addr if isinstance(addr, bytes) else os.fsencode(addr) + b"\0")


def text(addr: Address) -> str:
    """host:port, [v6%zone]:port, a path or @name: how error messages and dumps name an address.

    A peer may have chosen it: what does not print is escaped."""
    if isinstance(addr, tuple):
        host = str(addr[0])
        if ":" in host:
            scope = addr[3] if len(addr) > 3 else 0
            host = f"[{host}%{zone(scope)}]" if scope and "%" not in host else f"[{host}]"
        return escaped(f"{host}:{addr[1]}")
    if isinstance(addr, bytes):
        name = os.fsdecode(addr)
        return escaped("@" + name[1:] if name[:1] == "\0" else name)
    return escaped(str(addr)) if addr else "@"


def zone(scope: int) -> str:
    """The zone of an IPv6 address: the network interface's name, or its number if it has none (any more)."""
    try:
        return socket.if_indextoname(scope)
    except (OSError, OverflowError):
        return str(scope)


def endpoints(fd: int) -> tuple[Address, Address]:
    """(local, remote) of an open socket, asked of the kernel; None for what it does not know."""
    return known(_sys.getsockname(fd)), known(_sys.getpeername(fd))


def known(raw: "bytes | int") -> Address:
    """The Python form of what _sys.getsockname or getpeername gave; None for an errno."""
    return unpack(raw) if isinstance(raw, bytes) else None
