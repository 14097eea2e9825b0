"""A wrong argument raises at once, and the message names the argument and says what it should be."""

import array
import re

import pytest

from gopark import net

LISTEN = {
    ("udp", ":0"): (ValueError, "unknown network 'udp': it must be one of 'tcp'"),
    ("", ":0"): (ValueError, "unknown network ''"),
    (None, ":0"): (TypeError, "network must be a str"),
    (4, ":0"): (TypeError, "network must be a str"),
    ("tcp", None): (TypeError, 'address must be a str like "host:port", not None'),
    ("tcp", b"127.0.0.1:0"): (TypeError, "address must be a str"),
    ("tcp", ("127.0.0.1", 0)): (TypeError, "address must be a str"),
    ("tcp", 8080): (TypeError, "address must be a str"),
    ("tcp", ""): (ValueError, "address '': missing port"),
    ("tcp", "localhost"): (ValueError, "address 'localhost': missing port"),
    ("tcp", "::1"): (ValueError, "too many colons"),
    ("tcp", "::1:80"): (ValueError, "an IPv6 host goes in brackets"),
    ("tcp", "[::1:80"): (ValueError, "missing ']'"),
    ("tcp", "[::1]"): (ValueError, "missing port"),
    ("tcp", "[::1]80"): (ValueError, "missing port"),
    ("tcp", "[::1]x:80"): (ValueError, "may follow the ']'"),
    ("tcp", "a[b:80"): (ValueError, "unexpected character"),
    ("tcp", "a\0b:80"): (ValueError, "unexpected character"),
    ("tcp", "127.0.0.1:65536"): (ValueError, "port 65536 is out of range: it must be 0 to 65535"),
    ("tcp", "127.0.0.1:99999999999999999999"): (ValueError, "out of range"),
    ("tcp", "127.0.0.1:-1"): (ValueError, "unknown port '-1'"),
    ("tcp", "127.0.0.1:8o"): (ValueError, "unknown port '8o'"),
    ("tcp", "127.0.0.1: 80"): (ValueError, "unknown port ' 80'"),
    ("tcp", "127.0.0.1:\u0663"): (ValueError, "unknown port"),
    ("tcp", "a..b:80"): (ValueError, "host 'a..b' is not a valid name"),
    ("tcp", "[::1%nosuchif]:0"): (ValueError, "no network interface 'nosuchif'"),
    ("unix", ""): (ValueError, "it must be the path of a Unix socket"),
    ("unix", "a\0b"): (ValueError, "it must be the path of a Unix socket"),
    ("unix", 5): (TypeError, "the path of a Unix socket"),
    ("unix", b""): (ValueError, "it must be the path of a Unix socket"),
    ("unix", b"a\0b"): (ValueError, "it must be the path of a Unix socket"),
    ("unix", "@" + "x" * 108): (ValueError, "name too long"),
    ("unix", "/\ud800"): (ValueError, "cannot be a path"),
    ("tcp", "x" * 2000 + ":80"): (ValueError, "is too long: 2003 characters"),
    ("tcp", "\ud800:80"): (ValueError, "is not a valid name"),
    ("tcp", "[::1%]:0"): (ValueError, "the zone after the '%' is empty"),
    ("tcp", "[::1%4294967296]:0"): (ValueError, "zone 4294967296 is out of range"),
    ("tcp", "[fe80::1%99999999999999999999]:0"): (ValueError, "is out of range: it must be 0 to 4294967295"),
    ("tcp", "[fe80::1%\u0661]:0"): (ValueError, "no network interface '\u0661'"),
    ("tcp", "[fe80::1%-1]:0"): (ValueError, "no network interface '-1'"),
    ("unix", "/" + "x" * 200): (ValueError, "path too long"),
}


@pytest.mark.parametrize("args", LISTEN)
def test_listen_and_dial_say_what_is_wrong_with_network_and_address(args: tuple) -> None:
    error, message = LISTEN[args]
    for call in (net.listen, net.dial):
        with pytest.raises(error, match=re.escape(message)):
            call(*args)


@pytest.mark.parametrize("address", ["192.0.2.1:0", "[2001:db8::1]:0"])
def test_an_address_that_is_not_ours_is_the_systems_error_with_the_address(address: str) -> None:
    with pytest.raises(OSError, match=re.escape(f"listen tcp {address}: cannot assign requested address")):
        net.listen("tcp", address)


def test_an_address_of_the_other_ip_version_is_refused() -> None:
    for network, address in (("tcp4", "[::1]:0"), ("tcp6", "127.0.0.1:0")):
        for call in (net.listen, net.dial):
            with pytest.raises(OSError, match=re.escape(f"{network} {address}: lookup")):
                call(network, address)


@pytest.mark.parametrize("backlog", [-1, 1.5, "many"])
def test_backlog(backlog: object) -> None:
    with pytest.raises(ValueError, match=r"backlog must be an int of 0 or more"):
        net.listen("tcp", "127.0.0.1:0", backlog)  # type: ignore[arg-type]


def test_a_huge_backlog_is_lowered_by_the_kernel() -> None:
    net.listen("tcp", "127.0.0.1:0", 1 << 40).close()


@pytest.mark.parametrize(
    ("n", "error"),
    [(-1, ValueError), ("x", TypeError), (1.5, TypeError), (None, TypeError), (1 << 70, ValueError)],
)
def test_counts_of_bytes(n: object, error: type, tcp_pair) -> None:
    a, _ = tcp_pair()
    for name in ("read", "read_exactly"):
        with pytest.raises(error, match=f"^{name}: n must be "):
            getattr(a, name)(n)
    with pytest.raises(error, match=r"^send_file: offset must be "):
        a.send_file(0, n)
    if n is not None:
        with pytest.raises(error, match=r"^send_file: count must be "):
            a.send_file(0, 0, n)


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"], memoryview(b"abcdef")[::2], 1.5])
def test_what_cannot_be_written(data: object, tcp_pair) -> None:
    a, _ = tcp_pair()
    with pytest.raises(TypeError, match=r"^write: data must be .*bytes-like"):
        a.write(data)
    with pytest.raises(TypeError, match=r"^writev: each buffer must be .*bytes-like"):
        a.writev([b"fine", data])


@pytest.mark.parametrize("buffers", ["text", b"bytes", bytearray(3), memoryview(b"x"), 5, None])
def test_writev_wants_a_list(buffers: object, tcp_pair) -> None:
    a, _ = tcp_pair()
    with pytest.raises(TypeError, match=r"^writev: buffers must be a list of bytes-like objects"):
        a.writev(buffers)


@pytest.mark.parametrize("buf", [b"read only", "text", 5, None, memoryview(bytearray(8))[::2]])
def test_read_into_wants_a_writable_buffer(buf: object, tcp_pair) -> None:
    a, _ = tcp_pair()
    with pytest.raises(TypeError, match=r"^read_into: buf must be "):
        a.read_into(buf)


def test_buffers_of_other_items_are_taken_as_bytes(tcp_pair) -> None:
    a, b = tcp_pair()
    numbers = array.array("i", [1, 2, 3])
    assert a.write(numbers) == a.writev([numbers]) == 12
    back = array.array("i", [0] * 6)
    assert b.read_into(back) == 24
    assert list(back) == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("when", ["soon", [], float("nan"), 1j])
def test_times(when: object, tcp_pair) -> None:
    a, _ = tcp_pair()
    for name in ("set_deadline", "set_read_deadline", "set_write_deadline"):
        with pytest.raises(TypeError, match=r"^deadline: when must be a number of seconds"):
            getattr(a, name)(when)
    with pytest.raises(TypeError, match=r"^set_timeout: seconds must be a number of seconds"):
        a.set_timeout(when)
    for name in ("timeout", "deadline", "keep_alive", "fallback_delay"):
        with pytest.raises(TypeError, match=f"^Dialer: {name} must be a number of seconds"):
            net.Dialer(**{name: when})


def test_a_timeout_must_be_positive(tcp_pair) -> None:
    a, _ = tcp_pair()
    for seconds in (0, -1):
        with pytest.raises(
            ValueError, match=r"^set_timeout: seconds must be positive \(or None for no limit\)"
        ):
            a.set_timeout(seconds)


def test_dialers_local_addr() -> None:
    with pytest.raises(TypeError, match=r"^Dialer: local_addr must be a str"):
        net.Dialer(local_addr=80)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"local_addr '::1' is not an address of the family|too many colons"):
        net.Dialer(local_addr="::1").dial("tcp", "127.0.0.1:1")
    with pytest.raises(ValueError, match=r"is not an address of the family"):
        net.Dialer(local_addr="[::1]:0").dial("tcp", "127.0.0.1:1")


@pytest.mark.parametrize("file", ["path", None, b"bytes", object()])
def test_send_file_wants_a_file(file: object, tcp_pair) -> None:
    a, _ = tcp_pair()
    with pytest.raises(TypeError, match=r"^send_file: file must be an open binary file"):
        a.send_file(file)


def test_lookup_host_wants_a_name() -> None:
    with pytest.raises(TypeError, match=r"name must be a str"):
        net.lookup_host(b"localhost")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"name must not be empty"):
        net.lookup_host("")
