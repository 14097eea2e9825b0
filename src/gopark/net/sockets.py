"""Connections and listeners from sockets that exist already."""

import socket

from gopark.net import options
from gopark.net.conn import Conn
from gopark.net.listener import Listener
from gopark.poll import sockaddr
from gopark.poll.fd import FD
from gopark.poll.fd_open import register, socket_pair, take_over
from gopark.runtime import _sys

_SO_PROTOCOL = 38  # Linux; the socket module has no name for it

_NETWORKS = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp", socket.AF_UNIX: "unix"}


def from_socket(sock: socket.socket) -> Conn | Listener:
    """Take over a stream socket: a Listener if it listens, else a Conn.  *sock* itself is detached and must
    not be used.

    ValueError if it is not a stream socket, TypeError if it is no socket; after any error *sock* is still the caller's (and
    may be non-blocking)."""
    if not isinstance(sock, socket.socket) or hasattr(
        sock, "selected_alpn_protocol"
    ):  # which an SSLSocket has
        raise TypeError(f"from_socket: sock must be a plain socket.socket, not {sock!r}")
    sysfd = sock.fileno()
    if sysfd < 0:
        raise ValueError("from_socket: sock is closed")
    if sock.type != socket.SOCK_STREAM or sock.family not in _NETWORKS:
        raise ValueError(f"from_socket: sock must be a TCP or Unix stream socket, not {sock!r}")
    network = _NETWORKS[sock.family]
    prefix = f"from_socket {network}"
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    is_tcp = sock.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == socket.IPPROTO_TCP
    options.check(prefix, _sys.set_nonblock(sysfd))
    fd = FD(sysfd, network)
    fd.trusting = is_tcp  # not MPTCP, nor SCTP, whose reads stop at a message's end
    # Now, while the kernel knows both: a connection that was reset has no peer to name.
    fd.laddr, fd.raddr = sockaddr.endpoints(sysfd)
    if listening and is_tcp:
        options.tcp(sysfd, prefix)
    take_over(fd, sock, prefix)
    return Listener(fd, fd.laddr) if listening else Conn(fd)


def pipe() -> tuple[Conn, Conn]:
    """Two connections, each the other's peer (a Unix socket pair): what is written to one is read from the
    other."""
    pair = socket_pair("pipe unix")
    try:
        for fd in pair:
            fd.laddr = fd.raddr = ""
            register(fd, "pipe unix")
    except BaseException:
        for fd in pair:
            fd.abort()
        raise
    return Conn(pair[0]), Conn(pair[1])
