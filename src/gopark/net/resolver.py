"""Names to addresses.  getaddrinfo blocks, so it runs on an OS thread; numeric addresses need no look-up."""

import ipaddress
import socket
from typing import NamedTuple

from gopark.poll.sockaddr import Address
from gopark.runtime.blocking import MAX_THREADS, Gate, blocking_at

# A look-up may hang for as long as a server is silent: half of the threads are for all else.
_lookups = Gate(MAX_THREADS // 2)


class IPAddr(NamedTuple):
    """A resolved address: its family, and what the socket module's calls take."""

    family: int
    sockaddr: Address


def numeric(host: str, port: int, family: int) -> IPAddr | None:
    """The address if *host* is a literal IP address of that family (AF_UNSPEC: any); None if it is a name."""
    name, _, zone = host.partition("%")
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return None
    if ip.version == 4:
        if zone:
            return None
        return IPAddr(socket.AF_INET, (str(ip), port)) if family != socket.AF_INET6 else None
    if family == socket.AF_INET:
        return None
    scope = 0
    if zone:
        try:
            scope = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
        except OSError:
            raise ValueError(f"host {host!r}: there is no network interface {zone!r}") from None
    return IPAddr(socket.AF_INET6, (str(ip), port, 0, scope))


def resolve(host: str, port: int, family: int) -> list[IPAddr]:
    """Every stream address of *host*, in the order the system prefers them.  socket.gaierror if there is
    none."""
    literal = numeric(host, port, family)
    if literal is not None:
        return [literal]
    try:
        infos = blocking_at(
            _lookups, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP, 0
        )
    except socket.gaierror as e:
        raise socket.gaierror(e.errno, f"lookup {host}: {str(e.strerror).lower()}") from None
    except UnicodeError as e:
        raise ValueError(f"host {host!r} is not a valid name: {e}") from None
    found = [IPAddr(info[0], info[4]) for info in infos if info[0] in (socket.AF_INET, socket.AF_INET6)]
    return list(dict.fromkeys(found))


def lookup_host(name: str) -> list[str]:
    """The addresses of host *name*, as text.  socket.gaierror if it has none."""
    if not isinstance(name, str):
        raise TypeError(f"lookup_host: name must be a str, not {name!r}")
    if not name:
        raise ValueError("lookup_host: name must not be empty")
    return [a.sockaddr[0] for a in resolve(name, 0, socket.AF_UNSPEC)]
