"""What a peer calls itself cannot forge a line of a dump or of a log, nor reach the terminal as a command."""

import os
import re
import socket

import pytest

import gopark
from gopark import net
from gopark.poll import sockaddr

EVIL = "x\n\ngoroutine 9999 [running]:\n\x1b[31m\x1b]0;pwned\x07\u2028\u202e\udcff"


def harmless(text: str) -> None:
    assert text.isprintable(), text
    assert re.search(r"(\\n\\n|\\x0a\\x0a)goroutine 9999", text), text
    assert "\\x1b[31m" in text


def test_what_a_peer_calls_itself_is_escaped_in_errors_reprs_and_dumps(tmp_path) -> None:
    with net.listen("unix", str(tmp_path / "server")) as listener, socket.socket(socket.AF_UNIX) as s:
        s.bind(("\0" + EVIL).encode(errors="surrogateescape"))
        s.connect(str(listener.addr))
        with listener.accept() as conn:
            reader = gopark.go(conn.read)
            while not repr(reader).endswith("[IO wait]>"):
                gopark.gosched()
            (line,) = (line for line in gopark.stack().splitlines() if "9999" in line)
            harmless(line)
            conn.set_read_deadline(-1)
            with pytest.raises(net.DeadlineExceeded) as e:
                reader.result(timeout=10)
            harmless(str(e.value))
            harmless(repr(conn))
            assert conn.remote_addr == b"\0" + EVIL.encode(
                errors="surrogateescape"
            )  # that is the name itself


def test_a_path_is_escaped_where_it_is_shown_and_whole_where_it_is_used(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a Unix socket's path is short
    path = f"./{EVIL}"
    with net.listen("unix", path) as listener:
        assert listener.addr == path
        harmless(repr(listener))
        with pytest.raises(OSError, match="address already in use") as e:
            net.listen("unix", path)
        harmless(str(e.value))
        net.dial("unix", path).close()
    with pytest.raises(FileNotFoundError) as e:
        net.dial("unix", path)
    harmless(str(e.value))


@pytest.mark.no_run
@pytest.mark.parametrize(
    ("addr", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        (("fe80::1", 80, 0, socket.if_nametoindex("lo")), "[fe80::1%lo]:80"),
        (("fe80::1", 80, 0, 4294967295), "[fe80::1%4294967295]:80"),
        ("/run/s", "/run/s"),
        ("/run/\udcff\\n", "/run/\\xff\\n"),
        ("", "@"),
        (b"\0name", "@name"),
        (b"\0a\0b\xff", "@a\\x00b\\xff"),
        (b"\0", "@"),
        ("/" + "x" * 1000, "/" + "x" * 299 + "..."),
        ("/b\u00fccher", "/b\u00fccher"),
    ],
)
def test_addresses_as_text(addr: object, text: str) -> None:
    assert sockaddr.text(addr) == text


@pytest.mark.no_run
def test_an_address_is_unpacked_as_the_socket_module_does(tmp_path) -> None:
    for path in (os.fsencode(tmp_path) + b"/\xff", b"\0a\0b", b"\0" + b"a" * 107):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            raw = socket.AF_UNIX.to_bytes(2, "little") + (path + b"\0" if path[0] else path)
            assert sockaddr.unpack(raw) == s.getsockname()
