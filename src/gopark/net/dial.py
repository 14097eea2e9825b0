"""Dialing: from a name to a connection, the addresses tried in turn and the two IP versions against each
other."""

import errno
import socket
from collections.abc import Callable
from os import PathLike
from typing import NamedTuple

from gopark import context
from gopark.net import addr as addresses
from gopark.net import options, resolver
from gopark.net.bound_path import BoundPath
from gopark.net.conn import Conn
from gopark.net.options import KEEP_ALIVE
from gopark.poll import errors, sockaddr
from gopark.poll.fd import FD
from gopark.poll.fd_open import open_socket, register
from gopark.runtime import _sys, proc
from gopark.runtime.chan import Chan
from gopark.runtime.g import FatalError, Goroutine
from gopark.runtime.select import select
from gopark.runtime.sema import WaitQ
from gopark.runtime.text import escaped
from gopark.sync.onend import on_end

_SANE_MINIMUM = 2_000_000_000  # ns: no address gets less, if that much is left at all
_BACKOFF_MIN = 1_000_000  # ns: the first wait for room in a Unix listener's queue; doubles up to
_BACKOFF_MAX = 50_000_000
_RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: close at once, no TIME_WAIT


class _Way(NamedTuple):
    """What one connection is tried with."""

    remote: resolver.IPAddr
    local: sockaddr.Address  # to bind to first; None: the system chooses


class Dialer:
    """How to connect.  Times in seconds.

    timeout       for the whole dial, name look-up included
    deadline      the same as a moment on gopark.time.now()'s clock; the earlier of the two counts
    local_addr    "host:port" to connect from (only addresses of its IP version are tried; a name may have both), or for
                    "unix" a path, whose file stays when the connection is closed
    keep_alive    between probes of an idle peer (default 15, as Go; 0 or less: none)
    fallback_delay  how long the preferred IP version has before the other is tried beside it
                    (RFC 8305; default 0.3; negative: one after the other)"""

    def __init__(
        self,
        timeout: float | None = None,
        deadline: float | None = None,
        local_addr: str | None = None,
        keep_alive: float = KEEP_ALIVE,
        fallback_delay: float = 0.3,
    ) -> None:
        self.timeout = None if timeout is None else proc.seconds_to_ns(timeout, "Dialer: timeout")
        self.deadline = None if deadline is None else proc.seconds_to_ns(deadline, "Dialer: deadline")
        proc.seconds_to_ns(keep_alive, "Dialer: keep_alive")
        if local_addr is not None and not isinstance(local_addr, (str, bytes, PathLike)):
            raise TypeError(f'Dialer: local_addr must be a str like "host:port", not {local_addr!r}')
        self.local_addr = local_addr
        self.keep_alive = keep_alive
        self.fallback_delay = proc.seconds_to_ns(fallback_delay, "Dialer: fallback_delay")

    def dial(self, network: str, address: str, ctx: context.Context | None = None) -> Conn:
        """Connect to *address* ("host:port", or a path) on *network* ("tcp", "tcp4", "tcp6", "unix").

        DeadlineExceeded when the time is up, socket.gaierror for an unknown name, OSError from the system; if several
        addresses were tried, the first one's error.  As soon as *ctx* ends: context.Canceled or
        context.DeadlineExceeded.  The end of *ctx* does nothing to a connection that is made already."""
        proc.getg()  # on another thread this raises, before anything is done
        until = self._until()
        if ctx is None:
            return self._dial(network, address, until)
        ctx = context.checked(ctx, "dial: ctx")
        addresses.family(network)
        err = ctx.err()
        if err is None:
            race = _Race()
            stop = context.on_end(ctx, race.tell)
            try:
                race.enter(lambda: self._dial(network, address, until))
                conn = race.wait(lambda: ctx.err() is not None)
            finally:
                stop()
                race.end()
            if conn is not None:
                return conn
            err = ctx.err()
            if race.errors or err is None:
                raise race.error()
        raise type(err)(f"{addresses.said('dial', network, address)}: {err}")

    def _dial(self, network: str, address: str, until: int) -> Conn:
        family = addresses.family(network)
        prefix = addresses.said("dial", network, address)
        if network == "unix":
            local = None if self.local_addr is None else addresses.unix_path(self.local_addr)
            remote = resolver.IPAddr(family, addresses.unix_path(address))
            return self._connect(network, _Way(remote, local), until)
        host, port_text = addresses.split_host_port(address)
        port = addresses.port_number(port_text, address)
        if not host:
            host = "127.0.0.1" if family != socket.AF_INET6 else "::1"
        found = self._with_locals(prefix, host, _resolve(prefix, host, port, family, until), until)
        preferred = [a for a in found if a.remote.family == found[0].remote.family]
        others = [a for a in found if a.remote.family != found[0].remote.family]
        if not others or self.fallback_delay < 0:
            return self._dial_serial(network, found, until)
        # Happy Eyeballs (RFC 8305): the preferred addresses first, the others beside them after a while, or as soon as
        # the preferred ones have failed.
        race = _Race()
        try:
            race.enter(lambda: self._dial_serial(network, preferred, until))
            select(race.news.on_recv(), timeout=max(0, self.fallback_delay) / 1e9)
            if not len(race.won):
                race.enter(lambda: self._dial_serial(network, others, until))
            conn = race.wait(lambda: False)
        finally:
            race.end()
        if conn is None:
            raise race.error()
        return conn

    def _until(self) -> int:
        """The moment at which the dial fails, ns; 0: never."""
        moments = [] if self.deadline is None else [self.deadline if self.deadline > 0 else -1]
        if self.timeout is not None:
            moments.append(proc.deadline_after(self.timeout) if self.timeout > 0 else -1)
        return min(moments) if moments else 0

    def _with_locals(self, prefix: str, host: str, found: list[resolver.IPAddr], until: int) -> list[_Way]:
        """The addresses that can be dialed from local_addr, each with its own."""
        address = self.local_addr
        if address is None:
            return [_Way(a, None) for a in found]
        local_host, port_text = addresses.split_host_port(address)
        port = addresses.port_number(port_text, address)
        if local_host:
            mine = _resolve(f"{prefix}: local_addr", local_host, port, socket.AF_UNSPEC, until)
            locals_ = {a.family: a.sockaddr for a in reversed(mine)}
        else:
            locals_ = {socket.AF_INET: ("0.0.0.0", port), socket.AF_INET6: ("::", port, 0, 0)}
        ways = [_Way(a, locals_[a.family]) for a in found if a.family in locals_]
        if not ways:
            what = f"local_addr {address!r} is not an address of the family that is dialed"
            if resolver.numeric(host, 0, socket.AF_UNSPEC) is not None:
                raise ValueError(f"Dialer: {what}")
            raise OSError(errno.EADDRNOTAVAIL, f"{prefix}: {what}")  # which depends on what the name has
        return ways

    def _dial_serial(self, network: str, found: list[_Way], until: int) -> Conn:
        first: OSError | None = None
        for i, way in enumerate(found):
            try:
                return self._connect(network, way, _share(until, len(found) - i))
            except OSError as e:
                first = first or e
        assert first is not None
        try:
            raise first
        finally:
            del first  # no cycle through the traceback

    def _connect(self, network: str, way: _Way, until: int) -> Conn:
        (family, remote), local = way
        prefix = errors.where("dial", network, None, remote)
        fd = open_socket(family, network, prefix)
        path = None
        try:
            fd.raddr = remote
            if family != socket.AF_UNIX:
                options.tcp(fd.sysfd, prefix, self.keep_alive)
            if local is not None:
                fd.laddr = local
                if family == socket.AF_UNIX and isinstance(local, str):
                    path = BoundPath(local)
                options.check(prefix, _sys.bind(fd.sysfd, sockaddr.pack(family, local)))
            if until and proc.nanotime() >= until:
                raise errors.timeout(fd.prefix("dial"))
            packed = sockaddr.pack(family, remote)
            if family == socket.AF_UNIX:
                begun = _begin_unix(fd, packed, until)
            else:
                begun = -_sys.connect(fd.sysfd, packed)
            register(fd, prefix)  # now: a socket that has not begun to connect reports itself hung up
            fd.connect(lambda: begun, until)
            if family == socket.AF_UNIX:
                fd.laddr = sockaddr.known(_sys.getsockname(fd.sysfd))
            else:
                _name_ends(fd)
                if fd.laddr == fd.raddr and not (local and local[1]):
                    # A socket that dials a port of the ephemeral range on its own host may be given that very port to
                    # dial from.  Nobody listens there, and the user would talk to himself.
                    _sys.setsockopt(fd.sysfd, socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    raise errors.system(prefix, errno.ECONNREFUSED)
            return Conn(fd)
        except BaseException:
            if path is not None:
                path.undo(fd.sysfd)  # or the next attempt would find it in use
            fd.abort()
            raise


def _begin_unix(fd: FD, packed: bytes, until: int) -> int:
    """Connect a Unix socket, as soon as there is room in the listener's queue: what connect(2) said, an errno.

    EAGAIN is the listener's full queue.  Its change is nothing that can be polled for, so this looks again, less and less
    often."""
    delay = _BACKOFF_MIN
    queue = WaitQ()
    while True:
        err = -_sys.connect(fd.sysfd, packed)
        if err not in (errno.EAGAIN, errno.EINTR):
            return err
        when = proc.deadline_after(delay)
        queue.park_until("dial backoff", min(when, until) if until else when)
        if until and proc.nanotime() >= until:
            raise errors.timeout(fd.prefix("dial"))
        delay = min(2 * delay, _BACKOFF_MAX)


def _name_ends(fd: FD) -> None:
    """Who is connected to whom: asked of the kernel, for 0.0.0.0 is dialed but nobody's address."""
    laddr, raddr = sockaddr.endpoints(fd.sysfd)
    fd.laddr = laddr
    if raddr is not None:  # it may have gone already
        fd.raddr = raddr


class _Race:
    """Dials in goroutines of their own.  The first connection wins; what connects after that, or after the end, is closed."""

    def __init__(self) -> None:
        # Something has happened.  A channel: what is told just before somebody listens is not lost.
        self.news = Chan(4)
        self.contenders: list[Goroutine] = []
        # Connections that nobody has taken yet.  Whoever takes one out owns it: of two, on whatever turn, only one can.
        self.won = Chan(4)
        self.errors: dict[int, Exception] = {}  # by contender
        self.over = False

    def tell(self) -> None:
        """From anywhere: look again."""
        self.news.try_send(None)

    def enter(self, dial: Callable[[], Conn]) -> None:
        contender: Goroutine = proc.go(self.contend, len(self.contenders), dial)
        self.contenders.append(contender)
        on_end(contender, self.tell)

    def contend(self, number: int, dial: Callable[[], Conn]) -> None:
        try:
            if not self.over:
                self.won.try_send(dial())
        except Exception as e:
            self.errors[number] = e
        finally:
            if self.over:
                self.close_all()

    def wait(self, given_up: Callable[[], bool]) -> Conn | None:
        """The first connection; None if every contender has failed, or as soon as *given_up()* after a tell."""
        while not len(self.won) and not given_up() and not all(c.done for c in self.contenders):
            self.news.recv()
        return self.take()

    def take(self) -> Conn | None:
        conn: Conn | None = self.won.try_recv()[0]
        return conn

    def error(self) -> BaseException:
        """The first contender's error."""
        if self.errors:
            return self.errors.pop(min(self.errors))  # kept here, it would keep itself alive by its traceback
        for contender in self.contenders:
            if contender.exception is not None:  # a signal handler's that was raised in it
                return contender.exception
        raise FatalError("runtime: a dial has ended without an outcome")

    def end(self) -> None:
        """Nobody wants another connection."""
        self.over = True
        for contender in self.contenders:
            contender.cancel()
        self.close_all()

    def close_all(self) -> None:
        while (conn := self.take()) is not None:
            conn.close()


def _resolve(prefix: str, host: str, port: int, family: int, until: int) -> list[resolver.IPAddr]:
    """resolver.resolve, until a deadline: DeadlineExceeded when the time is up.  Its errors begin with *prefix*."""
    literal = resolver.numeric(host, port, family)
    if literal is not None:
        return [literal]
    try:
        if until == 0:
            return resolver.resolve(host, port, family)
        looking: Goroutine = proc.go(resolver.resolve, host, port, family)
        try:
            in_time = looking.join(max(0, until - proc.nanotime()) / 1e9)
        finally:
            looking.cancel()
        if not in_time:
            raise errors.timeout(f"{prefix}: lookup {escaped(host)}")
        found: list[resolver.IPAddr] = looking.result()
        return found
    except errors.DeadlineExceeded:
        raise
    except OSError as e:
        raise resolver.within(prefix, e) from None


def _share(until: int, addresses_left: int) -> int:
    """One address's part of the time that is left, so that a dead first one leaves time for the others."""
    if until <= 0 or addresses_left == 1:
        return until
    now = proc.nanotime()
    left = until - now
    share = left // addresses_left
    if share < _SANE_MINIMUM:
        share = min(left, _SANE_MINIMUM)
    assert share <= left
    return now + share


def dial(
    network: str, address: str, timeout: float | None = None, ctx: context.Context | None = None
) -> Conn:
    """Connect to *address* on *network*, within *timeout* seconds (None: as long as the system tries).

    See Dialer for more choices, and for what it raises."""
    return Dialer(timeout=timeout).dial(network, address, ctx)
