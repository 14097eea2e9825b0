"""Listener: a socket that accepts stream connections."""

import contextlib
import errno
import os
import socket
import warnings
from collections.abc import Iterator

from gopark.net import addr as addresses
from gopark.net import options, resolver
from gopark.net.conn import Conn, deadline
from gopark.poll import errors, sockaddr
from gopark.poll.fd import FD
from gopark.poll.sockaddr import Address
from gopark.runtime import proc
from gopark.runtime.pollstate import MODE_R
from gopark.runtime.sema import WaitQ

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BACKOFF_MIN = 5_000_000  # ns: the first wait when descriptors ran out; doubles up to
_BACKOFF_MAX = 1_000_000_000
_MAX_BACKLOG = 0x7FFFFFFF  # listen(2) takes an int; the kernel lowers it to somaxconn
_WILDCARDS = ("0.0.0.0", "::")


def somaxconn() -> int:
    """The largest accept queue that the kernel allows."""
    try:
        with open("/proc/sys/net/core/somaxconn") as f:
            return int(f.read())
    except (OSError, ValueError):
        return socket.SOMAXCONN


class Listener:
    """Accepts connections.  Made by net.listen or net.from_socket; a context manager, and iterable: `for conn
    in listener`."""

    def __init__(self, fd: FD, addr: Address, unlink: str | None = None) -> None:
        self._fd = fd
        self._addr = addr
        self._unlink = unlink  # a Unix socket's path, removed by close
        self._backoff = WaitQ()
        # Connections share the listener's address object, unless each can have another.
        self._shared = None if isinstance(addr, tuple) and addr[0] in _WILDCARDS else addr

    def accept(self) -> Conn:
        """The next connection; parks until there is one.

        When the process is out of descriptors it waits, warns once, and goes on when some are free again.
        Raises ClosedError once closed, DeadlineExceeded after the deadline."""
        delay = 0
        while True:
            try:
                sysfd, raw = self._fd.accept()
                break
            except OSError as e:
                if e.errno not in _EXHAUSTED:
                    raise
                delay = min(delay * 2, _BACKOFF_MAX) if delay else _BACKOFF_MIN
                if delay == _BACKOFF_MIN:
                    warnings.warn(
                        f"{e}: raise the limit (ulimit -n) or close connections; accept goes on when it can",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                # close() wakes this wait; a deadline is seen by the next accept.
                self._backoff.park_until("accept backoff", proc.deadline_after(delay))
        fd = FD(sysfd, self._fd.net)
        fd.trusting = self._fd.trusting
        fd.laddr = self._shared
        fd.raddr_raw = raw  # decoded when somebody asks
        try:
            fd.init()
        except BaseException:
            os.close(sysfd)
            raise
        return Conn(fd)

    @property
    def addr(self) -> Address:
        """Where it listens: (host, port) as the socket module gives it (four items for IPv6), or a Unix
        socket's path."""
        return self._addr

    def close(self) -> None:
        """Stop listening.  Who is blocked in accept gets ClosedError at once.  Closing twice does nothing."""
        if self._fd.fdmu.closed:
            return
        if self._unlink is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._unlink)
        self._backoff.wake_all()
        self._fd.close()

    def set_deadline(self, when: float | None) -> None:
        """accept fails with DeadlineExceeded from *when* on (seconds on gopark.time.now()'s clock); None
        clears it."""
        self._fd.set_deadline(deadline(when), MODE_R)

    def fileno(self) -> int:
        """The descriptor.  ClosedError once closed."""
        if self._fd.fdmu.closed:
            raise self._fd.closed_error("fileno")
        return self._fd.sysfd

    def __iter__(self) -> Iterator[Conn]:
        """Connections until the listener is closed."""
        while True:
            try:
                conn = self.accept()
            except errors.ClosedError:
                return
            yield conn

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._fd.fdmu.closed else f"fd={self._fd.sysfd}"
        return f"<gopark.net.Listener {self._fd.net} {sockaddr.text(self._addr)} {state}>"


def listen(network: str, address: str, backlog: int | None = None) -> Listener:
    """Listen on *address* ("host:port"; an empty host is every address, port 0 any free one; a path for
    "unix").

    *network*: "tcp", "tcp4", "tcp6" or "unix".  "tcp" with an empty host serves IPv4 and IPv6 on one socket
    where the system can.  *backlog*: connections not accepted yet (None: the kernel's limit, somaxconn).
    SO_REUSEADDR is set; accepted connections have TCP_NODELAY and keep-alive on.  Raises ValueError for a bad
    address, OSError from the system (its message says the address)."""
    family = addresses.family(network)
    if backlog is None:
        backlog = somaxconn()
    elif not isinstance(backlog, int) or backlog < 0:
        raise ValueError(f"listen: backlog must be an int of 0 or more, not {backlog!r}")
    if network == "unix":
        return _listen(network, resolver.IPAddr(family, addresses.unix_path(address)), backlog, address)
    host, port_text = addresses.split_host_port(address)
    port = addresses.port_number(port_text, address)
    if host:
        try:
            found = resolver.resolve(host, port, family)
        except socket.gaierror as e:
            raise socket.gaierror(e.errno, f"listen {network} {address}: {e.strerror}") from None
        # A name with several addresses: the first IPv4 one, as Go.
        found.sort(key=lambda a: a.family != socket.AF_INET)
        return _listen(network, found[0], backlog, address)
    if family == socket.AF_INET or (family == socket.AF_UNSPEC and not socket.has_dualstack_ipv6()):
        return _listen(network, resolver.IPAddr(socket.AF_INET, ("0.0.0.0", port)), backlog, address)
    return _listen(network, resolver.IPAddr(socket.AF_INET6, ("::", port, 0, 0)), backlog, address)


def _listen(network: str, where: resolver.IPAddr, backlog: int, address: str) -> Listener:
    sock = options.open_socket(where.family, f"listen {network} {address}")
    try:
        if where.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            options.tcp(sock)
        if where.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(network == "tcp6"))
        sock.bind(where.sockaddr)
        sock.listen(min(backlog, _MAX_BACKLOG))
        bound = sock.getsockname()
        fd = FD(sock.fileno(), network)
        fd.laddr = bound
        fd.init()
    except OSError as e:
        sock.close()
        raise errors.system(f"listen {network} {address}", e.errno or errno.EINVAL) from None
    except BaseException:
        sock.close()
        raise
    sock.detach()
    unlink = where.sockaddr if isinstance(where.sockaddr, str) else None  # a path, and no abstract name
    return Listener(fd, bound, unlink)
