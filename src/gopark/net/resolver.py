"""Names to addresses.  getaddrinfo blocks, so it runs on an OS thread; numeric addresses need no look-up."""

import errno
import ipaddress
import os
import socket
from typing import NamedTuple

from gopark.poll import sockaddr
from gopark.poll.sockaddr import Address
from gopark.runtime.blocking import MAX_THREADS, Gate, blocking_at
from gopark.runtime.text import escaped

_NAME_MAX = 1025  # characters: NI_MAXHOST
_SCOPE_MAX = 0xFFFFFFFF
# A look-up may hang for as long as a server is silent: half of the threads are for all else.
lookups = Gate(MAX_THREADS // 2)


class IPAddr(NamedTuple):
    """A resolved address: its family, and what the socket module's calls take."""

    family: int
    sockaddr: Address


def numeric(host: str, port: int, family: int) -> IPAddr | None:
    """The address if *host* is a literal IP address of that family (AF_UNSPEC: any); None if it is a name."""
    name, percent, zone = host.partition("%")
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return None
    if ip.version == 4:
        if percent:
            return None
        return IPAddr(socket.AF_INET, (str(ip), port)) if family != socket.AF_INET6 else None
    if family == socket.AF_INET:
        return None
    return IPAddr(socket.AF_INET6, (str(ip), port, 0, _scope(host, zone) if percent else 0))


def _scope(host: str, zone: str) -> int:
    """The number of an IPv6 zone: a network interface's name, or that number."""
    if not zone:
        raise ValueError(f"host {host!r}: the zone after the '%' is empty")
    if zone.isascii() and zone.isdigit():
        number = int(zone) if len(zone) <= 10 else _SCOPE_MAX + 1
        if number > _SCOPE_MAX:
            raise ValueError(f"host {host!r}: zone {zone} is out of range: it must be 0 to {_SCOPE_MAX}")
        return number
    try:
        return socket.if_nametoindex(zone)
    except (OSError, ValueError):
        raise ValueError(f"host {host!r}: there is no network interface {zone!r}") from None


def resolve(host: str, port: int, family: int) -> list[IPAddr]:
    """Every stream address of *host*, in the order the system prefers them.

    socket.gaierror if there is none, OSError if the system could not look, ValueError for what is no name."""
    literal = numeric(host, port, family)
    if literal is not None:
        return [literal]
    if len(host) > _NAME_MAX or "\0" in host:
        raise ValueError(f"host {host[:40]!r}... is not a valid name: too long, or with a NUL in it")
    try:
        infos = blocking_at(
            lookups, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP, 0
        )
    except UnicodeError as e:
        raise ValueError(f"host {host!r} is not a valid name: {e}") from None
    except OSError as e:  # also a gaierror
        raise within(f"lookup {escaped(host)}", e) from None
    return list(dict.fromkeys(_found(info[0], info[4]) for info in infos if info[0] in _IP))


_IP = (socket.AF_INET, socket.AF_INET6)


def _found(family: int, addr: Address) -> IPAddr:
    # getaddrinfo repeats a link-local address's zone in its host; getpeername, with which it is compared, does not.
    return IPAddr(family, (addr[0].partition("%")[0], *addr[1:]))


def within(prefix: str, e: OSError) -> OSError:
    """*e* with a *prefix* that says what was being done: a gaierror, or the OSError subclass for its errno."""
    kind = socket.gaierror if isinstance(e, socket.gaierror) else OSError
    number = e.errno if type(e.errno) is int else errno.EIO
    why = e.strerror or (os.strerror(number) if kind is OSError else str(e))
    return kind(number, f"{prefix}: {why[:1].lower()}{why[1:]}")


def lookup_host(name: str) -> list[str]:
    """The addresses of host *name*, as text.  socket.gaierror if it has none; ValueError if it is no name."""
    if not isinstance(name, str):
        raise TypeError(f"lookup_host: name must be a str, not {name!r}")
    if not name:
        raise ValueError("lookup_host: name must not be empty")
    found = resolve(name, 0, socket.AF_UNSPEC)
    return [_with_zone(a) for a in found]


def _with_zone(a: IPAddr) -> str:
    host: str = a.sockaddr[0]
    scope = a.sockaddr[3] if a.family == socket.AF_INET6 else 0
    return f"{host}%{sockaddr.zone(scope)}" if scope else host
