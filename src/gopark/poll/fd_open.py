# cython: nonecheck=True
"""How an FD comes to own a descriptor: new sockets, pairs, sockets that the program had.

A descriptor has one owner from its first moment to its last: what owns it is an object whose end closes it, whatever is
raised, and wherever (a signal handler's exception, between any two lines of the caller).  Compiled, no handler runs inside
these functions.  In the interpreted core one that raises in their middle may leave a descriptor open, but never closes one
that is another's.  What must not live here: addresses, options (gopark.net).
"""

import _socket
import errno
from typing import Any

from gopark.poll import errors
from gopark.poll.fd import FD
from gopark.runtime import _sys

_STREAM = int(_socket.SOCK_STREAM)


def open_socket(family: int, net: str, prefix: str) -> FD:
    """The FD of a new stream socket, not registered yet.  An error begins with *prefix*."""
    sysfd = _sys.socket(family, _STREAM, 0)
    if sysfd < 0:
        raise errors.system(prefix, -sysfd)
    return own(sysfd, net)


def socket_pair(prefix: str) -> tuple[FD, FD]:
    """The FDs of two Unix stream sockets, each the other's peer, not registered yet."""
    pair = _sys.socketpair(_STREAM)
    if isinstance(pair, int):
        raise errors.system(prefix, pair)
    try:
        first = own(pair[0], "unix")
    except BaseException:
        _sys.close(pair[1])
        raise
    return first, own(pair[1], "unix")


def own(sysfd: int, net: str) -> FD:
    """An FD that owns *sysfd*, which is closed if there cannot be one."""
    try:
        fd = FD(sysfd, net)
    except BaseException:
        _sys.close(sysfd)
        raise
    fd.owned = True
    return fd


def register(fd: FD, prefix: str) -> None:
    """fd.init, whose error begins with *prefix*."""
    try:
        fd.init()
    except OSError as e:
        raise errors.system(prefix, e.errno or errno.EIO) from None


def take_over(fd: FD, sock: Any, prefix: str) -> None:
    """Register *fd*, made for *sock*'s descriptor, and let it own that instead; after an error *sock* still does."""
    try:
        fd.register()
    except OSError as e:
        raise errors.system(prefix, e.errno or errno.EIO) from None
    _socket.socket.detach(sock)  # not the method of Python's class, which is Python code
    fd.owned = True
