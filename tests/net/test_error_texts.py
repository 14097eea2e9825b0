"""Every OSError of the package names the operation and the addresses, and is of the class that its number says."""

import errno
import io
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark import net
from support import python

RESET = b"\1\0\0\0\0\0\0\0"
ENDS = r"127\.0\.0\.1:\d+->127\.0\.0\.1:\d+"


class Scene:
    """What the calls below are made on."""

    def __init__(self, tcp_pair: Any, tmp_path: Any) -> None:
        self.listener = net.listen("tcp", "127.0.0.1:0")
        self.port = self.listener.addr[1]
        self.a, self.b = tcp_pair()
        self.tcp_pair = tcp_pair
        self.path = str(tmp_path / "s")
        (tmp_path / "file").write_bytes(b"x" * 100)
        self.file = str(tmp_path / "file")

    def closed(self) -> net.Conn:
        self.a.close()
        return self.a

    def late(self) -> net.Conn:
        self.a.set_deadline(-1)
        return self.a

    def reset(self) -> net.Conn:
        self.b.set_option(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.b.close()
        self.a.wait_readable()
        return self.a

    def send_closed(self) -> net.Conn:
        self.a.close_write()
        return self.a

    def send(self, conn: net.Conn) -> None:
        with open(self.file, "rb") as file:
            conn.send_file(file)

    def no_port(self) -> str:
        self.listener.close()
        return f"127.0.0.1:{self.port}"


# name: (call, class, errno, text after "[Errno N] ")
ERRORS: dict[str, tuple[Callable[[Scene], Any], type[OSError], int | None, str]] = {
    "read closed": (
        lambda s: s.closed().read(),
        net.ClosedError,
        None,
        f"read tcp {ENDS}: use of closed network connection",
    ),
    "read_into closed": (
        lambda s: s.closed().read_into(bytearray(1)),
        net.ClosedError,
        None,
        f"read tcp {ENDS}: use of closed",
    ),
    "read_exactly closed": (
        lambda s: s.closed().read_exactly(1),
        net.ClosedError,
        None,
        f"read tcp {ENDS}: use of closed",
    ),
    "wait_readable closed": (
        lambda s: s.closed().wait_readable(),
        net.ClosedError,
        None,
        f"read tcp {ENDS}: use of closed",
    ),
    "raw_read closed": (
        lambda s: s.closed().raw_read(bool),
        net.ClosedError,
        None,
        f"read tcp {ENDS}: use of closed",
    ),
    "write closed": (
        lambda s: s.closed().write(b"x"),
        net.ClosedError,
        None,
        f"write tcp {ENDS}: use of closed",
    ),
    "writev closed": (
        lambda s: s.closed().writev([b"x"]),
        net.ClosedError,
        None,
        f"write tcp {ENDS}: use of closed",
    ),
    "raw_write closed": (
        lambda s: s.closed().raw_write(bool),
        net.ClosedError,
        None,
        f"write tcp {ENDS}: use of closed",
    ),
    "send_file closed": (
        lambda s: s.send(s.closed()),
        net.ClosedError,
        None,
        f"sendfile tcp {ENDS}: use of closed",
    ),
    "fileno closed": (
        lambda s: s.closed().fileno(),
        net.ClosedError,
        None,
        f"fileno tcp {ENDS}: use of closed",
    ),
    "set_deadline closed": (
        lambda s: s.closed().set_deadline(1),
        net.ClosedError,
        None,
        f"set deadline tcp {ENDS}: use of closed",
    ),
    "set_no_delay closed": (
        lambda s: s.closed().set_no_delay(True),
        net.ClosedError,
        None,
        f"setsockopt tcp {ENDS}: use of closed",
    ),
    "close_read closed": (
        lambda s: s.closed().close_read(),
        net.ClosedError,
        None,
        f"close_read tcp {ENDS}: use of closed",
    ),
    "close_write closed": (
        lambda s: s.closed().close_write(),
        net.ClosedError,
        None,
        f"close_write tcp {ENDS}: use of closed",
    ),
    "read late": (lambda s: s.late().read(), net.DeadlineExceeded, None, f"read tcp {ENDS}: i/o timeout$"),
    "write late": (
        lambda s: s.late().write(b"x"),
        net.DeadlineExceeded,
        None,
        f"write tcp {ENDS}: i/o timeout$",
    ),
    "send_file late": (
        lambda s: s.send(s.late()),
        net.DeadlineExceeded,
        None,
        f"sendfile tcp {ENDS}: i/o timeout$",
    ),
    "read reset": (
        lambda s: s.reset().read(),
        ConnectionResetError,
        errno.ECONNRESET,
        f"read tcp {ENDS}: connection reset by peer$",
    ),
    "write broken": (
        lambda s: s.send_closed().write(b"x"),
        BrokenPipeError,
        errno.EPIPE,
        f"write tcp {ENDS}: broken pipe$",
    ),
    "writev broken": (
        lambda s: s.send_closed().writev([b"x"]),
        BrokenPipeError,
        errno.EPIPE,
        f"write tcp {ENDS}: broken pipe$",
    ),
    "send_file broken": (
        lambda s: s.send(s.send_closed()),
        BrokenPipeError,
        errno.EPIPE,
        f"sendfile tcp {ENDS}: broken pipe$",
    ),
    "set_option": (
        lambda s: s.a.set_option(99, 99, 1),
        OSError,
        errno.EOPNOTSUPP,
        f"setsockopt tcp {ENDS}: ",
    ),
    "set_option short": (
        lambda s: s.a.set_option(socket.SOL_SOCKET, socket.SO_LINGER, b"x"),
        OSError,
        errno.EINVAL,
        f"setsockopt tcp {ENDS}: ",
    ),
    "dial refused": (
        lambda s: net.dial("tcp", s.no_port()),
        ConnectionRefusedError,
        errno.ECONNREFUSED,
        r"dial tcp 127.0.0.1:\d+: connection refused$",
    ),
    "dial late": (
        lambda s: net.dial("tcp", "127.0.0.1:9", timeout=0),
        net.DeadlineExceeded,
        None,
        r"dial tcp 127.0.0.1:9: i/o timeout$",
    ),
    "dial a name late": (
        lambda s: net.dial("tcp", "localhost:9", timeout=0),
        net.DeadlineExceeded,
        None,
        r"dial tcp localhost:9: lookup localhost: i/o timeout$",
    ),
    "dial unix late": (
        lambda s: net.dial("unix", s.path, timeout=0),
        net.DeadlineExceeded,
        None,
        r"dial unix /.*/s: i/o timeout$",
    ),
    "dial no path": (
        lambda s: net.dial("unix", s.path),
        FileNotFoundError,
        errno.ENOENT,
        r"dial unix /.*/s: no such file or directory$",
    ),
    "dial a file": (
        lambda s: net.dial("unix", s.file),
        ConnectionRefusedError,
        errno.ECONNREFUSED,
        r"dial unix /.*/file: connection refused$",
    ),
    "dial abstract": (
        lambda s: net.dial("unix", "@no\0such"),
        ConnectionRefusedError,
        errno.ECONNREFUSED,
        r"dial unix @no\\x00such: connection refused$",
    ),
    "dial from a foreign address": (
        lambda s: net.Dialer(local_addr="192.0.2.1:0").dial("tcp", "127.0.0.1:9"),
        OSError,
        errno.EADDRNOTAVAIL,
        r"dial tcp 127.0.0.1:9: cannot assign requested address$",
    ),
    "dial from a path in use": (
        lambda s: net.Dialer(local_addr=s.file).dial("unix", s.path),
        OSError,
        errno.EADDRINUSE,
        r"dial unix /.*/s: address already in use$",
    ),
    "dial unknown": (
        lambda s: net.dial("tcp", "no.invalid:9"),
        socket.gaierror,
        socket.EAI_NONAME,
        r"dial tcp no.invalid:9: lookup no.invalid: ",
    ),
    "dial hostile": (
        lambda s: net.dial("tcp", "a\n\x1bb.invalid:9"),
        socket.gaierror,
        socket.EAI_NONAME,
        r"dial tcp a\\n\\x1bb.invalid:9: lookup a\\n\\x1bb.invalid: ",
    ),
    "listen in use": (
        lambda s: net.listen("tcp", f"127.0.0.1:{s.port}"),
        OSError,
        errno.EADDRINUSE,
        r"listen tcp 127.0.0.1:\d+: address already in use$",
    ),
    "listen foreign": (
        lambda s: net.listen("tcp", "192.0.2.1:0"),
        OSError,
        errno.EADDRNOTAVAIL,
        r"listen tcp 192.0.2.1:0: cannot assign",
    ),
    "listen unknown": (
        lambda s: net.listen("tcp", "no.invalid:0"),
        socket.gaierror,
        socket.EAI_NONAME,
        r"listen tcp no.invalid:0: lookup no.invalid: ",
    ),
    "listen no directory": (
        lambda s: net.listen("unix", s.path + "/x"),
        FileNotFoundError,
        errno.ENOENT,
        r"listen unix /.*/s/x: no such file or directory$",
    ),
    "listen on a file": (
        lambda s: net.listen("unix", s.file),
        OSError,
        errno.EADDRINUSE,
        r"listen unix /.*/file: address already in use$",
    ),
    "accept closed": (
        lambda s: (s.listener.close(), s.listener.accept()),
        net.ClosedError,
        None,
        r"accept tcp 127.0.0.1:\d+: use of closed",
    ),
    "accept late": (
        lambda s: (s.listener.set_deadline(-1), s.listener.accept()),
        net.DeadlineExceeded,
        None,
        r"accept tcp 127.0.0.1:\d+: i/o timeout$",
    ),
    "listener fileno closed": (
        lambda s: (s.listener.close(), s.listener.fileno()),
        net.ClosedError,
        None,
        r"fileno tcp 127.0.0.1:\d+: use of closed",
    ),
    "listener set_deadline closed": (
        lambda s: (s.listener.close(), s.listener.set_deadline(1)),
        net.ClosedError,
        None,
        r"set deadline tcp 127.0.0.1:\d+: use of closed",
    ),
    "lookup_host": (
        lambda s: net.lookup_host("no.invalid"),
        socket.gaierror,
        socket.EAI_NONAME,
        "lookup no.invalid: ",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_names_the_operation_and_the_addresses(name: str, tcp_pair, tmp_path) -> None:
    call, kind, number, text = ERRORS[name]
    scene = Scene(tcp_pair, tmp_path)
    with scene.listener, pytest.raises(OSError) as e:
        call(scene)
    assert type(e.value) is kind
    if number == errno.EOPNOTSUPP:
        number = e.value.errno if e.value.errno in (errno.EOPNOTSUPP, errno.ENOPROTOOPT) else number
    assert e.value.errno == number
    expected = text if number is None else rf"\[Errno {number}\] {text}"
    assert re.match(expected, str(e.value)), str(e.value)


@pytest.mark.no_run
def test_without_descriptors_every_error_still_says_what_could_not_be_done(tmp_path) -> None:
    python(f"""
        import os, resource, socket
        import gopark
        from gopark import net

        def main():
            a, b = net.pipe()
            net.lookup_host("localhost")
            sock = socket.socketpair()
            file = open({str(tmp_path / "file")!r}, "wb+")
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            calls = {{
                "dial tcp localhost:9: lookup localhost: ": lambda: net.dial("tcp", "localhost:9"),
                "dial tcp localhost:8: lookup localhost: ": lambda: net.dial("tcp", "localhost:8", timeout=20),
                "dial tcp 127.0.0.1:9: ": lambda: net.dial("tcp", "127.0.0.1:9"),
                "dial tcp [::1]:9: ": lambda: net.dial("tcp", "[::1]:9", ctx=gopark.context.background()),
                "dial unix @x: ": lambda: net.dial("unix", "@x"),
                "listen tcp localhost:0: lookup localhost: ": lambda: net.listen("tcp", "localhost:0"),
                "listen tcp :0: ": lambda: net.listen("tcp", ":0"),
                "listen unix @x: ": lambda: net.listen("unix", "@x"),
                "lookup localhost: ": lambda: net.lookup_host("localhost"),
                "pipe unix: ": net.pipe,
                "send_file: ": lambda: a.send_file(file),
            }}
            for text, call in calls.items():
                try:
                    call()
                except OSError as e:
                    assert e.errno == 24 and str(e) == "[Errno 24] " + text + "too many open files", e
                else:
                    raise AssertionError(text)
            net.from_socket(sock[0]).close()  # needs none

        gopark.run(main)
    """)


def test_a_failed_adoption_leaves_the_socket_to_its_owner(tmp_path) -> None:
    """A socket that is polled already cannot be polled a second time."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        with net.from_socket(s.dup()):
            pass
        twin = socket.socket(fileno=s.fileno())  # two objects, one descriptor
        first = net.from_socket(s)
        with pytest.raises(FileExistsError, match=r"^\[Errno 17\] from_socket tcp: file exists$"):
            net.from_socket(twin)
        assert twin.detach() == first.fileno()
        with net.dial("tcp", f"127.0.0.1:{first.addr[1]}"), first.accept():
            pass
        first.close()


def test_a_cancelled_send_file_says_how_much_went(tcp_pair, tmp_path, blocked) -> None:
    (tmp_path / "file").write_bytes(b"x" * (16 << 20))
    with open(tmp_path / "file", "rb") as file:
        for source in (file, io.BytesIO(file.read())):
            a, b = tcp_pair()
            sender = blocked(a.send_file, source)
            sender.cancel()
            assert sender.join(10)
            assert isinstance(sender.exception, gopark.Cancelled)
            a.close()
            total = 0
            while data := b.read():
                total += len(data)
            assert total == sender.exception.written  # type: ignore[attr-defined]
