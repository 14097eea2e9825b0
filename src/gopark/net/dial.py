"""Dialing: from a name to a connection, the addresses tried in turn and the two IP versions against each
other."""

import errno
import socket
from collections.abc import Callable

from gopark import context
from gopark.net import addr as addresses
from gopark.net import options, resolver
from gopark.net.conn import Conn
from gopark.net.options import KEEP_ALIVE
from gopark.poll import errors, sockaddr
from gopark.poll.fd import FD
from gopark.runtime import proc
from gopark.runtime.g import Cancelled, Goroutine
from gopark.runtime.sema import WaitQ

_SELF_CONNECTS = 3  # attempts, as Go
_SANE_MINIMUM = 2_000_000_000  # ns: no address gets less, if that much is left at all


class Dialer:
    """How to connect.  Times in seconds.

    timeout       for the whole dial, name look-up included
    deadline      the same as a moment on gopark.time.now()'s clock; the earlier of the two counts
    local_addr    "host:port" (or for "unix" a path) to connect from
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
        if local_addr is not None and not isinstance(local_addr, str):
            raise TypeError(f'Dialer: local_addr must be a str like "host:port", not {local_addr!r}')
        self.local_addr = local_addr
        self.keep_alive = keep_alive
        self.fallback_delay = proc.seconds_to_ns(fallback_delay, "Dialer: fallback_delay")

    def dial(self, network: str, address: str, ctx: context.Context | None = None) -> Conn:
        """Connect to *address* ("host:port", or a path) on *network* ("tcp", "tcp4", "tcp6", "unix").

        DeadlineExceeded when the time is up, socket.gaierror for an unknown name, OSError from the system; if several
        addresses were tried, the first one's error.  As soon as *ctx* ends: context.Canceled or
        context.DeadlineExceeded.  The end of *ctx* does nothing to a connection that is made already."""
        if ctx is not None:
            return self._dial_context(network, address, context.checked(ctx, "dial: ctx"))
        return self._dial(network, address)

    def _dial_context(self, network: str, address: str, ctx: context.Context) -> Conn:
        err = ctx.err()
        if err is None:
            work: Goroutine = proc.go(self._dial, network, address)
            stop = context.on_end(ctx, work.cancel)
            try:
                work.join()
            except BaseException:
                # The caller was cancelled.
                proc.go(_close_late, work)
                raise
            finally:
                stop()
            err = ctx.err()
            if err is None or not isinstance(work.exception, Cancelled):
                conn: Conn = work.result()
                return conn
        raise type(err)(f"dial {network} {address}: {err}")

    def _dial(self, network: str, address: str) -> Conn:
        until = self._until()
        family = addresses.family(network)
        if network == "unix":
            return self._dial_one(network, resolver.IPAddr(family, addresses.unix_path(address)), until)
        host, port_text = addresses.split_host_port(address)
        port = addresses.port_number(port_text, address)
        if not host:
            host = "127.0.0.1" if family != socket.AF_INET6 else "::1"
        try:
            found = _resolve(host, port, family, until)
        except TimeoutError:
            raise errors.timeout(f"dial {network} {address}: lookup {host}") from None
        except socket.gaierror as e:
            raise socket.gaierror(e.errno, f"dial {network} {address}: {e.strerror}") from None
        preferred = [a for a in found if a.family == found[0].family]
        others = [a for a in found if a.family != found[0].family]
        if not others or self.fallback_delay < 0:
            return self._dial_serial(network, found, until)
        race = _Race(lambda contender: self._dial_serial(network, contender, until))
        return race.run(preferred, others, self.fallback_delay)

    def _until(self) -> int:
        """The moment at which the dial fails, ns; 0: never."""
        moments = [] if self.deadline is None else [self.deadline if self.deadline > 0 else -1]
        if self.timeout is not None:
            moments.append(proc.deadline_after(self.timeout) if self.timeout > 0 else -1)
        return min(moments) if moments else 0

    def _dial_serial(self, network: str, found: list[resolver.IPAddr], until: int) -> Conn:
        first: OSError | None = None
        for i, where in enumerate(found):
            try:
                return self._dial_one(network, where, _share(until, len(found) - i))
            except OSError as e:
                first = first or e
        assert first is not None
        raise first

    def _dial_one(self, network: str, where: resolver.IPAddr, until: int) -> Conn:
        for _ in range(_SELF_CONNECTS):
            conn = self._connect(network, where, until)
            if conn is not None:
                return conn
        raise errors.system(errors.where("dial", network, None, where.sockaddr), errno.EADDRNOTAVAIL)

    def _connect(self, network: str, where: resolver.IPAddr, until: int) -> Conn | None:
        """One connection; None if the socket was connected to itself."""
        with options.open_socket(where.family, errors.where("dial", network, None, where.sockaddr)) as sock:
            fd = FD(sock.fileno(), network)
            fd.raddr = where.sockaddr
            try:
                if where.family != socket.AF_UNIX:
                    options.tcp(sock, self.keep_alive)
                if self.local_addr is not None:
                    fd.laddr = _local(self.local_addr, where.family)
                    sock.bind(fd.laddr)
                fd.connect(lambda: sock.connect_ex(where.sockaddr), until)
                fd.laddr = sock.getsockname()
            except BaseException as e:
                sock.detach()
                fd.abort()
                if isinstance(e, OSError) and type(e.errno) is int and e.errno > 0 and e.filename is None:
                    raise errors.system(
                        errors.where("dial", network, None, where.sockaddr), e.errno
                    ) from None
                raise
            sock.detach()
        # A socket that dials a port of the ephemeral range on its own host may be given that very port to
        # dial from.  Nobody listens there, and the user would talk to himself.
        if where.family != socket.AF_UNIX and self.local_addr is None and fd.laddr == where.sockaddr:
            fd.close()
            return None
        return Conn(fd)


class _Race:
    """Happy Eyeballs (RFC 8305): the preferred addresses first, the others beside them after a while, or as
    soon as the preferred ones have failed.  The first connection wins; what connects after that is closed."""

    def __init__(self, dial: Callable[[list[resolver.IPAddr]], Conn]) -> None:
        self.dial = dial
        self.news = WaitQ()  # run waits here for a contender to end
        self.contenders: list[Goroutine] = []
        self.running = 0
        self.winner: Conn | None = None
        self.errors: dict[int, Exception] = {}  # by contender
        self.over = False

    def run(self, preferred: list[resolver.IPAddr], others: list[resolver.IPAddr], delay: int) -> Conn:
        try:
            self.enter(preferred)
            self.news.park_until("dial", proc.deadline_after(delay))
            if self.winner is None:
                self.enter(others)
            while self.winner is None and self.running:
                self.news.park("dial")
        except BaseException:
            if self.winner is not None:
                self.winner.close()
            raise
        finally:
            self.over = True
            for contender in self.contenders:
                contender.cancel()
        if self.winner is None:
            raise self.errors[min(self.errors)]
        return self.winner

    def enter(self, found: list[resolver.IPAddr]) -> None:
        self.running += 1
        self.contenders.append(proc.go(self.contend, len(self.contenders), found))

    def contend(self, number: int, found: list[resolver.IPAddr]) -> None:
        try:
            conn = self.dial(found)
            if self.over or self.winner is not None:
                conn.close()
            else:
                self.winner = conn
        except Exception as e:
            self.errors[number] = e
        finally:
            self.running -= 1
            self.news.wake_all()


def _resolve(host: str, port: int, family: int, until: int) -> list[resolver.IPAddr]:
    """resolver.resolve, until a deadline: TimeoutError when the time is up."""
    literal = resolver.numeric(host, port, family)
    if literal is not None:
        return [literal]
    if until == 0:
        return resolver.resolve(host, port, family)
    looking: Goroutine = proc.go(resolver.resolve, host, port, family)
    try:
        found: list[resolver.IPAddr] = looking.result(max(0, until - proc.nanotime()) / 1e9)
    finally:
        looking.cancel()
    return found


def _close_late(work: Goroutine) -> None:
    """Nobody wants the connection any more that *work* dials, or has dialed already."""
    work.cancel()
    work.join()
    if work.exception is None:
        work.result().close()


def _local(address: str, family: int) -> sockaddr.Address:
    if family == socket.AF_UNIX:
        return addresses.unix_path(address)
    host, port_text = addresses.split_host_port(address)
    port = addresses.port_number(port_text, address)
    if not host:
        return ("::" if family == socket.AF_INET6 else "0.0.0.0", port)
    local = resolver.numeric(host, port, family)
    if local is None:
        raise ValueError(f"Dialer: local_addr {address!r} is not an address of the family that is dialed")
    return local.sockaddr


def _share(until: int, addresses_left: int) -> int:
    """One address's part of the time that is left, so that a dead first one leaves time for the others."""
    if until <= 0 or addresses_left == 1:
        return until
    now = proc.nanotime()
    left = until - now
    share = left // addresses_left
    if share < _SANE_MINIMUM:
        share = min(left, _SANE_MINIMUM)
    return now + share


def dial(
    network: str, address: str, timeout: float | None = None, ctx: context.Context | None = None
) -> Conn:
    """Connect to *address* on *network*, within *timeout* seconds (None: as long as the system tries).

    See Dialer for more choices, and for what it raises."""
    return Dialer(timeout=timeout).dial(network, address, ctx)
