"""No frame of Python code borrows a live descriptor: an exception at any moment (Ctrl-C, a signal handler's) closes none."""

import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from gopark import net
from gopark.net.conn import Conn
from gopark.runtime import _sys
from support import goroutines


class Struck(BaseException):
    pass


def strike(call: Callable[[], Any], moment: int) -> bool:
    """Run *call*, and raise Struck at the *moment*-th event (a line, a call, an opcode) of whatever Python code makes the
    system calls in it; False: it has fewer."""
    left = moment

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if os.path.basename(frame.f_code.co_filename) not in (
            "_sys_py_fd.py",
            "socket.py",
            "conn.py",
            "sockaddr.py",
        ):
            return trace
        frame.f_trace_opcodes = True
        left -= 1
        if left == 0:
            raise Struck
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Struck:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


CALLS: dict[str, Callable[[Conn], Any]] = {
    "set_option": lambda c: c.set_option(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536),
    "repr": repr,
    "write": lambda c: c.write(b"x"),
    "writev": lambda c: c.writev([b"x", b"y"]),
    "close_read": lambda c: c.close_read(),
    "close_write": lambda c: c.close_write(),
}


@pytest.mark.parametrize("name", CALLS)
@goroutines
def test_an_exception_at_any_moment_of_a_call_leaves_the_descriptor_open(name: str) -> None:
    moment = 0
    more = True
    while more:
        moment += 1
        a, b = net.pipe()
        fd = a.fileno()
        inode = os.fstat(fd).st_ino
        more = strike(lambda a=a: CALLS[name](a), moment)  # type: ignore[misc]
        assert os.fstat(fd).st_ino == inode, f"closed at moment {moment}"
        a.close()
        b.close()


@goroutines
def test_an_exception_at_any_moment_of_an_address_look_up_leaves_the_descriptor_open() -> None:
    listener = net.listen("tcp", "127.0.0.1:0")
    peer = net.dial("tcp", f"127.0.0.1:{listener.addr[1]}")
    inode = os.fstat(peer.fileno()).st_ino
    for look in (peer.fd.local_addr, peer.fd.remote_addr):
        moment = 1
        peer.fd.laddr = peer.fd.raddr = peer.fd.raddr_raw = None
        while strike(look, moment):
            peer.fd.laddr = peer.fd.raddr = peer.fd.raddr_raw = None
            assert os.fstat(peer.fileno()).st_ino == inode
            moment += 1
    assert peer.remote_addr == listener.addr
    peer.close()
    listener.close()


def test_what_the_calls_say_of_a_socket() -> None:
    fd = _sys.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    assert not os.get_inheritable(fd)
    assert not os.get_blocking(fd)
    assert _sys.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1) == 0
    assert _sys.getsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 4) == struct.pack("i", 1)
    anywhere = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 0, socket.inet_aton("127.0.0.1"))
    assert _sys.bind(fd, anywhere) == 0
    assert _sys.listen(fd, 5) == 0
    name = _sys.getsockname(fd)
    assert isinstance(name, bytes)
    assert name[4:8] == socket.inet_aton("127.0.0.1")
    client = _sys.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    assert _sys.connect(client, name) in (0, -115)  # EINPROGRESS
    while isinstance(accepted := _sys.accept4(fd), int):
        assert accepted == 11  # EAGAIN
    assert accepted[1] == _sys.getsockname(client) == _sys.getpeername(accepted[0])
    assert _sys.lingers(client) == 0
    assert _sys.setsockopt(client, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3)) == 0
    assert _sys.lingers(client) == 1
    for each in (fd, client, accepted[0]):
        assert _sys.close(each) == 0
    assert _sys.getsockname(fd) == 9  # EBADF
    assert _sys.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1) == -9
    assert _sys.close_slowly(fd) == -9


def test_a_default_timeout_of_the_programs_sockets_does_not_make_ours_wait() -> None:
    pair = _sys.socketpair(socket.SOCK_STREAM)
    assert not isinstance(pair, int)
    socket.setdefaulttimeout(5)
    try:
        signal.alarm(3)
        assert _sys.recv(pair[0], 10) == 11
        signal.alarm(0)
    finally:
        socket.setdefaulttimeout(None)
    os.close(pair[0])
    os.close(pair[1])


@goroutines
def test_a_peers_unix_path_is_printable_text_in_dumps(tmp_path: Any) -> None:
    path = os.fsencode(tmp_path) + b"/a\x1b[31m\ngoroutine 7\xff\\"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    names = _sys.socket_names(listening.fileno())
    assert names == (os.fsdecode(tmp_path) + r"/a\x1b[31m\x0agoroutine 7\xff\\", "")
    listening.close()
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(b"\0a\0b\n" + str(os.getpid()).encode())
    assert _sys.socket_names(abstract.fileno()) == (rf"@a\x00b\x0a{os.getpid()}", "")
    abstract.close()
