"""Network addresses as text: "host:port", "[::1]:80", ":0", a path.  No look-ups here: see resolver.py."""

import os
import socket

from gopark.poll import sockaddr
from gopark.runtime.text import escaped

NETWORKS = ("tcp", "tcp4", "tcp6", "unix")
_UNIX_MAX = 108  # bytes in sockaddr_un
_ADDRESS_MAX = 1100  # characters: no name is longer than NI_MAXHOST, 1025
_FAMILIES = {"tcp": socket.AF_UNSPEC, "tcp4": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}


def family(network: object, known: tuple[str, ...] = NETWORKS) -> int:
    """The address family of a network's name; AF_UNSPEC where both IP versions will do."""
    if not isinstance(network, str):
        raise TypeError(f"network must be a str, one of {', '.join(map(repr, known))}, not {network!r}")
    if network not in known:
        raise ValueError(f"unknown network {network!r}: it must be one of {', '.join(map(repr, known))}")
    return int(_FAMILIES[network])


def split_host_port(address: object) -> tuple[str, str]:
    """ "host:port" as (host, port); brackets around an IPv6 host are taken off.  An empty host is allowed."""
    if not isinstance(address, str):
        raise TypeError(f'address must be a str like "host:port", not {address!r}')
    if len(address) > _ADDRESS_MAX:
        raise ValueError(f"address {address[:40]!r}... is too long: {len(address)} characters")
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket:
            raise ValueError(f"address {address!r}: missing ']' after the IPv6 host")
        between, colon, port = rest.rpartition(":")
        if between:
            raise ValueError(f"address {address!r}: only \":port\" may follow the ']'")
    else:
        host, colon, port = address.rpartition(":")
        if ":" in host:
            raise ValueError(
                f"address {address!r}: too many colons: an IPv6 host goes in brackets, [{host}]:{port}"
            )
    if not colon:
        raise ValueError(f'address {address!r}: missing port: it must be "host:port"')
    if "[" in host or "]" in host or "\0" in host:
        raise ValueError(f"address {address!r}: unexpected character in the host")
    return host, port


def unix_path(address: object) -> str | bytes:
    """What bind and connect take: the path (a str), or an abstract name (bytes that begin with NUL, as the kernel reports
    it).

    A str "@name" is Linux's abstract name.  All that the socket module takes is taken as well: bytes, "\\0name",
    path-like objects; so is what a listener's or a connection's address is."""
    if not isinstance(address, (str, bytes, os.PathLike)):
        raise TypeError(f"address must be a str, the path of a Unix socket, not {address!r}")
    try:
        path = os.fsencode(address)
    except UnicodeError as e:
        raise ValueError(f"address {address!r} cannot be a path: {e}") from None
    if isinstance(address, str) and path[:1] == b"@":
        path = b"\0" + path[1:]
    abstract = path[:1] == b"\0"
    if not path or (b"\0" in path and not abstract):
        raise ValueError(
            f"address {address!r}: it must be the path of a Unix socket, or @name for an abstract one"
        )
    # A path's last byte in sockaddr_un is a zero; an abstract name needs none.
    most = _UNIX_MAX if abstract else _UNIX_MAX - 1
    if len(path) > most:
        raise ValueError(
            f"address {address!r}: {'name' if abstract else 'path'} too long: a Unix socket's has at most 107 bytes"
        )
    return path if abstract else os.fsdecode(path)


def said(op: str, network: str, address: object) -> str:
    """How an error begins: the operation, and the address as the caller said it."""
    text = sockaddr.text(unix_path(address)) if network == "unix" else escaped(str(address))
    return f"{op} {network} {text}"


def port_number(port: str, address: str) -> int:
    """The port of an address: a number from 0 to 65535, or a service's name ("http")."""
    if port.isascii() and port.isdigit():
        number = int(port) if len(port) < 10 else 65536
        if number > 65535:
            raise ValueError(f"address {address!r}: port {port} is out of range: it must be 0 to 65535")
        return number
    if not port:
        return 0
    try:
        return socket.getservbyname(port, "tcp")
    except (OSError, UnicodeError):
        raise ValueError(
            f"address {address!r}: unknown port {port!r}: it must be a number or a known service"
        ) from None
