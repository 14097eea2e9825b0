"""Listener: a socket that accepts stream connections; listen, which makes one."""

import errno
import socket
import warnings
from collections.abc import Iterator

from gopark.net import addr as addresses
from gopark.net import options, resolver
from gopark.net.bound_path import BoundPath
from gopark.net.conn import Conn, deadline
from gopark.poll import errors, sockaddr
from gopark.poll.fd import FD
from gopark.poll.fd_open import open_socket, register
from gopark.poll.sockaddr import Address
from gopark.runtime import _sys, proc
from gopark.runtime.pollstate import MODE_R
from gopark.runtime.sema import WaitQ
from gopark.runtime.sysmon import no_preempt

# No room for another connection: accept waits until there is.  (ENOSPC: epoll's max_user_watches.)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC)
# What befell the new connection, or the network, before it was accepted; accept(2): "should be treated like EAGAIN by
# retrying".  EPERM: a firewall's rule.
_OF_THE_PEER = (
    errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP,
    errno.ENETUNREACH, errno.ETIMEDOUT, errno.EPERM,
)  # fmt: skip
_BACKOFF_MIN = 5_000_000  # ns: the first wait; doubles up to
_BACKOFF_MAX = 1_000_000_000
_MAX_BACKLOG = 0x7FFFFFFF  # listen(2) takes an int; the kernel lowers it to somaxconn
_WILDCARDS = ("0.0.0.0", "::", "::ffff:0.0.0.0")


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

    def __init__(self, fd: FD, addr: Address, path: BoundPath | None = None) -> None:
        self._fd = fd
        self._addr = addr
        self._path = path  # a Unix socket's file, removed by close
        self._backoff = WaitQ()  # accepts that wait for room
        self._waiting = 0  # how many they are, or are about to
        self._deadline = 0  # ns, as set_deadline left it: the back-off must end with it
        # Connections share the listener's address object, unless each can have another.
        self._shared = None if isinstance(addr, tuple) and addr[0] in _WILDCARDS else addr

    def accept(self) -> Conn:
        """The next connection; parks until there is one.

        When there is no room for it (descriptors, memory, epoll's watches) accept waits, warns once, and goes on when there
        is.  Raises ClosedError once closed, DeadlineExceeded after the deadline."""
        delay = 0
        failed = False
        while True:
            try:
                return Conn(self._fd.accept(self._shared))
            except OSError as e:
                if e.errno in _EXHAUSTED:
                    if delay == 0:
                        _warn(e)
                elif e.errno not in _OF_THE_PEER:
                    raise
                elif not failed:
                    failed = True
                    continue
            delay = min(delay * 2, _BACKOFF_MAX) if delay else _BACKOFF_MIN
            self._wait(delay)

    def _wait(self, delay: int) -> None:
        """Park for *delay* ns, or until close, set_deadline or the deadline: the next accept sees what it was."""
        # Whoever closes it, or moves the deadline, does that first and looks for waiters second; here it is the other way
        # round, and nobody else runs in between.
        with no_preempt():
            self._waiting += 1
            try:
                if not self._fd.fdmu.closed:
                    until = proc.deadline_after(delay)
                    if self._deadline:
                        until = min(until, max(self._deadline, 1))
                    self._backoff.park_until("accept backoff", until)
            finally:
                self._waiting -= 1

    def _wake(self) -> None:
        # Handed over, not done here: this may be another thread, or a signal handler in the middle of a park.
        if self._waiting:
            proc.later(self._backoff.wake_all)

    @property
    def addr(self) -> Address:
        """Where it listens: (host, port) as the socket module gives it (four items for IPv6), or a Unix
        socket's path."""
        return self._addr

    def close(self) -> None:
        """Stop listening.  Who is blocked in accept gets ClosedError at once.  Closing twice does nothing.

        The path of a Unix socket is removed if it is still this socket's, by the process that made it."""
        if self._fd.fdmu.closed:
            return
        if self._path is not None:
            self._path.remove()  # before the descriptor goes: until then no other file can have this one's inode
        self._fd.close()
        self._wake()

    def set_deadline(self, when: float | None) -> None:
        """accept fails with DeadlineExceeded from *when* on (seconds on gopark.time.now()'s clock); None
        clears it."""
        ns = deadline(when)
        self._fd.set_deadline(ns, MODE_R)
        self._deadline = ns
        self._wake()

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


def _warn(e: OSError) -> None:
    remedy = "raise fs.epoll.max_user_watches" if e.errno == errno.ENOSPC else "raise the limit (ulimit -n)"
    try:
        warnings.warn(
            f"{e}: {remedy} or close connections; accept goes on when it can", RuntimeWarning, stacklevel=3
        )
    except RuntimeWarning:
        pass  # raised as an error (python -W error): a server does not end because of it


def listen(network: str, address: str, backlog: int | None = None) -> Listener:
    """Listen on *address* ("host:port"; an empty host is every address, port 0 any free one; a path or @name for
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
    prefix = addresses.said("listen", network, address)
    if network == "unix":
        return _listen(network, resolver.IPAddr(family, addresses.unix_path(address)), backlog, prefix)
    host, port_text = addresses.split_host_port(address)
    port = addresses.port_number(port_text, address)
    if host:
        try:
            found = resolver.resolve(host, port, family)
        except OSError as e:
            raise resolver.within(prefix, e) from None
        # A name with several addresses: the first IPv4 one, as Go.
        found.sort(key=lambda a: a.family != socket.AF_INET)
        return _listen(network, found[0], backlog, prefix)
    if family == socket.AF_INET or (family == socket.AF_UNSPEC and not socket.has_dualstack_ipv6()):
        return _listen(network, resolver.IPAddr(socket.AF_INET, ("0.0.0.0", port)), backlog, prefix)
    return _listen(network, resolver.IPAddr(socket.AF_INET6, ("::", port, 0, 0)), backlog, prefix)


def _listen(network: str, where: resolver.IPAddr, backlog: int, prefix: str) -> Listener:
    fd = open_socket(where.family, network, prefix)
    path = None
    try:
        sysfd = fd.sysfd
        if where.family != socket.AF_UNIX:
            options.check(prefix, _sys.setsockopt(sysfd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
            options.tcp(sysfd, prefix)
        if where.family == socket.AF_INET6:
            only = int(network == "tcp6")
            options.check(prefix, _sys.setsockopt(sysfd, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only))
        if isinstance(where.sockaddr, str):
            path = BoundPath(where.sockaddr)
        options.check(prefix, _sys.bind(sysfd, sockaddr.pack(where.family, where.sockaddr)))
        if path is not None:
            path.bound()
        options.check(prefix, _sys.listen(sysfd, min(backlog, _MAX_BACKLOG)))
        bound = _sys.getsockname(sysfd)
        if isinstance(bound, int):
            options.check(prefix, -bound)  # where it listens could not be said
        fd.laddr = sockaddr.known(bound)
        register(fd, prefix)
        return Listener(fd, fd.laddr, path)
    except BaseException:
        if path is not None:
            path.undo(fd.sysfd)
        fd.abort()
        raise
