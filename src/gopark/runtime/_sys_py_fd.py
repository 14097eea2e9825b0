"""The interpreted twin of _sys_fd.pxi: descriptors' system calls, on os and _socket.

Same names, same results; each returns a value or an errno, and none blocks, whatever others have done to O_NONBLOCK.
"""

import _socket
import contextlib as _contextlib
import errno as _errno
import fcntl as _fcntl
import os as _os
import select as _select
import signal as _signal
import stat as _stat
import struct as _struct
from collections.abc import Callable
from typing import Any

_DONTWAIT = _socket.MSG_DONTWAIT
_NOSIGNAL = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
_AF_UNIX = int(_socket.AF_UNIX)
_INET = _struct.pack("=H", _socket.AF_INET)


class _Borrowed(_socket.socket):
    """A socket object around a descriptor that it does not own: whenever it goes, the descriptor stays open.

    Python's way is to detach() the object after use.  That a signal handler's exception (Ctrl-C) can prevent, between any
    two bytecodes, and the finalizer of the forgotten object closes a descriptor, which by then may be another's.  So this
    one has no such finalizer: what stands in its place is written in C, where no signal's handler can run.

    The family is given, so that it costs no system calls.  AF_UNIX whatever it is: Python sizes its buffer for addresses by
    the family, and this one's are the longest."""

    __del__ = staticmethod(bool)

    def __init__(self, fd: int, family: int) -> None:
        super().__init__(family, _socket.SOCK_STREAM, 0, fd)
        if self.gettimeout():  # socket.setdefaulttimeout is for the program's sockets
            with _contextlib.suppress(OSError):
                self.settimeout(0)


# By number: they know nothing else of the descriptor, so they serve whatever has the number later.
_known: dict[int, _Borrowed] = {}


def _at(fd: int) -> _Borrowed:
    sock = _known.get(fd)
    if sock is None:
        sock = _known[fd] = _Borrowed(fd, _AF_UNIX)
    return sock


def _err(fn: Callable[..., Any], *args: Any) -> int:
    try:
        fn(*args)
    except OSError as e:
        return e.errno or _errno.EIO
    return 0


def _slice(buf: Any, off: int) -> Any:
    return memoryview(buf)[off:] if off else buf


def _polled(fd: int, events: int) -> bool:
    poller = _select.poll()
    poller.register(fd, events)
    return bool(poller.poll(0))


def _would_block(fd: int, events: int) -> bool:
    # Another process that shares the descriptor may have cleared O_NONBLOCK.
    return _os.get_blocking(fd) and not _polled(fd, events)


# -- bytes -------------------------------------------------------------------------------------------------------------


def recv(fd: int, n: int) -> "bytes | int":
    """recv(2) on a socket: bytes, or errno as an int."""
    try:
        return _at(fd).recv(n, _DONTWAIT)
    except OSError as e:
        return e.errno or _errno.EIO


def read(fd: int, n: int) -> "bytes | int":
    """read(2): bytes, or errno as an int."""
    try:
        return _errno.EAGAIN if _would_block(fd, _select.POLLIN) else _os.read(fd, n)
    except OSError as e:
        return e.errno or _errno.EIO


def recv_into(fd: int, buf: Any, off: int) -> int:
    """recv(2) into a writable buffer from *off* on: a count, or a negative errno."""
    try:
        return _at(fd).recv_into(_slice(buf, off), 0, _DONTWAIT)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def read_into(fd: int, buf: Any, off: int) -> int:
    """read(2) into a writable buffer from *off* on: a count, or a negative errno."""
    try:
        return -_errno.EAGAIN if _would_block(fd, _select.POLLIN) else _os.readv(fd, [_slice(buf, off)])
    except OSError as e:
        return -(e.errno or _errno.EIO)


def send(fd: int, buf: Any, off: int) -> int:
    """send(2) without SIGPIPE from *off* on: a count, or a negative errno."""
    try:
        return _at(fd).send(_slice(buf, off), _NOSIGNAL)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def sendv(fd: int, bufs: list[Any]) -> int:
    """sendmsg(2) of at most 1024 buffers, without SIGPIPE: a count, or a negative errno."""
    try:
        return _at(fd).sendmsg(bufs, [], _NOSIGNAL)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def write(fd: int, buf: Any, off: int) -> int:
    """write(2) from *off* on, of what is no socket, without SIGPIPE: a count, or a negative errno."""
    return writev(fd, [_slice(buf, off)])


def writev(fd: int, bufs: list[Any]) -> int:
    """writev(2) of at most 1024 buffers to what is no socket, without SIGPIPE: a count, or a negative errno."""
    try:
        if _os.get_blocking(fd):
            if not _polled(fd, _select.POLLOUT):
                return -_errno.EAGAIN
            # Only what is certain to find room: a page in a pipe, a byte on a terminal.
            mode = _os.fstat(fd).st_mode
            room = _select.PIPE_BUF if _stat.S_ISFIFO(mode) else 1 if _stat.S_ISCHR(mode) else None
            bufs = [memoryview(bufs[0])[:room]]
        return _unsignalled(_os.writev, fd, bufs)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def _unsignalled(fn: Callable[..., int], *args: Any) -> int:
    if _signal.getsignal(_signal.SIGPIPE) is not _signal.SIG_DFL:
        return fn(*args)
    pipe = {_signal.SIGPIPE}
    pending = _signal.sigpending()
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, pipe)
    try:
        return fn(*args)
    finally:
        # Whatever was returned: sendfile also sends it with the count of what went before.
        if _signal.SIGPIPE not in pending:
            _signal.sigtimedwait(pipe, 0)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def sendfile(out_fd: int, in_fd: int, offset: int, n: int) -> int:
    """sendfile(2) to a socket from *offset* on, without SIGPIPE: a count, or a negative errno.

    EOPNOTSUPP also if it could wait for the peer (O_NONBLOCK cleared)."""
    try:
        if _os.get_blocking(out_fd):
            return -_errno.EOPNOTSUPP
        return _unsignalled(_os.sendfile, out_fd, in_fd, offset, n)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def readable(fd: int) -> int:
    """poll(2) without waiting: 1 if a read would not block, 0 if it would, or a negative errno."""
    try:
        return int(_polled(fd, _select.POLLIN))
    except OSError as e:
        return -(e.errno or _errno.EIO)


# -- sockets: addresses are packed, as the kernel has them -------------------------------------------------------------


def _pack(address: Any) -> bytes:
    if isinstance(address, tuple) and len(address) == 2 and isinstance(address[0], str):
        return _struct.pack("=H", _socket.AF_INET) + _struct.pack(
            "!H4s8x", address[1], _socket.inet_pton(_socket.AF_INET, address[0])
        )
    if isinstance(address, tuple) and len(address) == 4 and isinstance(address[0], str):
        # The socket module's getsockname says fe80::1%eth0.
        host = _socket.inet_pton(_socket.AF_INET6, address[0].partition("%")[0])
        return (
            _struct.pack("=H", _socket.AF_INET6)
            + _struct.pack("!HI16s", address[1], address[2], host)
            + _struct.pack("=I", address[3])
        )
    if isinstance(address, (str, bytes)):
        return _struct.pack("=H", _AF_UNIX) + _os.fsencode(address)
    return b""


def _unpack(raw: bytes) -> "tuple[int, Any]":
    family = _struct.unpack_from("=H", raw)[0]
    if family == _socket.AF_INET:
        return family, (_socket.inet_ntop(_socket.AF_INET, raw[4:8]), _struct.unpack_from("!H", raw, 2)[0])
    if family == _socket.AF_INET6:
        port, flow = _struct.unpack_from("!HI", raw, 2)
        scope = _struct.unpack_from("=I", raw, 24)[0]
        return family, (_socket.inet_ntop(_socket.AF_INET6, raw[8:24]), port, flow, scope)
    path = raw[2:]
    return family, path if path[:1] == b"\0" else path.split(b"\0", 1)[0]


def socket(family: int, type: int, proto: int) -> int:
    """socket(2), not blocking and close-on-exec: a descriptor, or a negative errno."""
    try:
        return _socket.socket(family, type | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, proto).detach()
    except OSError as e:
        return -(e.errno or _errno.EIO)


def socketpair(type: int) -> "tuple[int, int] | int":
    """socketpair(2) of Unix sockets, not blocking and close-on-exec: two descriptors, or errno as an int."""
    try:
        a, b = _socket.socketpair(_AF_UNIX, type | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0)
    except OSError as e:
        return e.errno or _errno.EIO
    return a.detach(), b.detach()


def bind(fd: int, address: bytes) -> int:
    """bind(2): 0, or a negative errno."""
    family, where = _unpack(address)
    return -_err(_Borrowed(fd, family).bind, where)


def connect(fd: int, address: bytes) -> int:
    """connect(2): 0, or a negative errno (EINPROGRESS)."""
    family, where = _unpack(address)
    try:
        return -_Borrowed(fd, family).connect_ex(where)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def listen(fd: int, backlog: int) -> int:
    return -_err(_at(fd).listen, backlog)


def accept4(fd: int) -> "tuple[int, bytes] | int":
    """accept4(SOCK_NONBLOCK | SOCK_CLOEXEC): (fd, peer's packed address), or errno as an int."""
    try:
        if _would_block(fd, _select.POLLIN):
            return _errno.EAGAIN
        new, peer = _at(fd)._accept()  # type: ignore[attr-defined]
    except OSError as e:
        return e.errno or _errno.EIO
    _os.set_blocking(new, False)
    return new, _pack(peer)


def inet4(raw: bytes) -> int:
    """A packed IPv4 address with its port as one number, address << 16 | port; 0 for what is none."""
    if len(raw) < 8 or raw[:2] != _INET:
        return 0
    return int.from_bytes(raw[4:8] + raw[2:4], "big")


def getsockname(fd: int) -> "bytes | int":
    """The packed local address, or errno as an int."""
    try:
        return _pack(_at(fd).getsockname())
    except OSError as e:
        return e.errno or _errno.EIO


def getpeername(fd: int) -> "bytes | int":
    """The peer's packed address, or errno as an int."""
    try:
        return _pack(_at(fd).getpeername())
    except OSError as e:
        return e.errno or _errno.EIO


def setsockopt(fd: int, level: int, option: int, value: Any) -> int:
    """setsockopt(2) to an int or to bytes: 0, or a negative errno."""
    return -_err(_at(fd).setsockopt, level, option, value)


def getsockopt(fd: int, level: int, option: int, size: int) -> "bytes | int":
    """getsockopt(2): at most *size* bytes of the option's value (4: an int), or errno as an int."""
    try:
        return _at(fd).getsockopt(level, option, size)
    except OSError as e:
        return e.errno or _errno.EIO


def connect_error(fd: int) -> int:
    """SO_ERROR: 0 or a positive errno."""
    try:
        return _at(fd).getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    except OSError as e:
        return e.errno or _errno.EIO


def has_peer(fd: int) -> int:
    """getpeername: 0 if the socket is connected, else a positive errno."""
    return _err(_at(fd).getpeername)


def _address_text(raw: "bytes | int") -> str:
    if not isinstance(raw, bytes) or len(raw) <= 2:
        return ""
    family, address = _unpack(raw)
    if family == _socket.AF_INET6:
        return f"[{address[0]}]:{address[1]}"
    if family == _socket.AF_INET:
        return f"{address[0]}:{address[1]}"
    # A peer has chosen it: nothing that a terminal or a reader of lines would obey.
    at, name = ("@", address[1:]) if address[:1] == b"\0" else ("", address)
    return at + "".join(
        chr(c) if 0x20 <= c < 0x7F and c != 0x5C else "\\\\" if c == 0x5C else f"\\x{c:02x}" for c in name
    )


def socket_names(fd: int) -> "tuple[str, str] | None":
    """(local address, peer's address) of a socket as printable text, "" for what there is not; None if *fd* is none."""
    local = getsockname(fd)
    return None if isinstance(local, int) else (_address_text(local), _address_text(getpeername(fd)))


def set_nonblock(fd: int) -> int:
    return -_err(_os.set_blocking, fd, False)


def dup(fd: int) -> int:
    """Another descriptor for the same file, close-on-exec and not among the standard ones, or a negative errno."""
    if fd < 0:
        return -_errno.EBADF
    try:
        return _fcntl.fcntl(fd, _fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def shutdown(fd: int, how: int) -> int:
    return -_err(_at(fd).shutdown, how)


def lingers(fd: int) -> int:
    """Would close(2) wait for the peer (SO_LINGER with a time)?  0 also for what is no socket."""
    value = getsockopt(fd, _socket.SOL_SOCKET, _socket.SO_LINGER, 8)
    if isinstance(value, int):
        return 0
    on, seconds = _struct.unpack("ii", value)
    return int(on and seconds > 0)


def close_slowly(fd: int) -> int:
    """close, for a thread that may wait in it."""
    return -_err(_os.close, fd)
