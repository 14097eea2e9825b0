"""Who is connected to whom: never to itself, named as the kernel names it, from the address that was asked for."""

import ipaddress
import os
import shutil
import socket
import subprocess

import pytest

import gopark
from gopark import net
from support import python


def kernel(conn: net.Conn) -> tuple[object, object]:
    with socket.socket(fileno=os.dup(conn.fileno())) as s:
        return s.getsockname(), s.getpeername()


def can_unshare() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=30).returncode == 0


# -- itself --------------------------------------------------------------------------------------------------------


@pytest.mark.no_run
def test_no_dial_is_connected_to_itself() -> None:
    if not can_unshare():
        pytest.skip("needs a network namespace of its own (unshare -n, ip), and may not have one")
    # Two ports to dial from, both dialed: the kernel takes the very port as soon as the other is in use.
    python("""
        import ctypes, os, subprocess
        import gopark
        from gopark import net

        assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0, ctypes.get_errno()  # CLONE_NEWNET
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
            f.write("40000 40001")

        def main():
            refused = 0
            for host in ("127.0.0.1", "0.0.0.0", "", "[::1]", "[::]", "[::ffff:127.0.0.1]", "localhost"):
                for local in (None, ":0"):
                    for port in (40000, 40001) * 3:
                        try:
                            conn = net.Dialer(local_addr=local, timeout=10).dial("tcp", f"{host}:{port}")
                        except ConnectionRefusedError as e:
                            assert "connection refused" in str(e), e
                            refused += 1
                        else:
                            raise AssertionError(conn)
            assert refused == 84, refused
            # The port is free at once: no TIME_WAIT of a connection that nobody had.
            for port in (40000, 40001):
                net.listen("tcp", f"127.0.0.1:{port}").close()
            # Who asks for it gets it: TCP's simultaneous open.
            with net.Dialer(local_addr="127.0.0.1:40000").dial("tcp", "127.0.0.1:40000") as conn:
                conn.write(b"echo")
                assert conn.read() == b"echo"

        gopark.run(main)
    """)


# -- names of the ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "listen", "dial"),
    [
        ("tcp4", "0.0.0.0:0", "0.0.0.0"),
        ("tcp", "[::]:0", "[::]"),
        ("tcp6", "[::1]:0", "[::]"),
        ("tcp", ":0", ""),
        ("tcp", "127.0.0.1:0", "[::ffff:127.0.0.1]"),
        ("tcp", "127.0.0.1:0", "[::ffff:7f00:1]"),
        ("tcp", "[::ffff:0.0.0.0]:0", "127.0.0.1"),
        ("tcp", "[::ffff:127.0.0.1]:0", "127.0.0.1"),
        ("tcp", "[0:0:0:0:0:0:0:0]:0", "127.0.0.1"),
        ("tcp", "[::%lo]:0", "[::1]"),
        ("tcp", "[::1%lo]:0", "[::1%1]"),
    ],
)
def test_both_ends_have_the_addresses_that_the_kernel_says(network: str, listen: str, dial: str) -> None:
    with (
        net.listen(network, listen) as listener,
        net.dial("tcp", f"{dial}:{listener.addr[1]}", timeout=10) as a,
        listener.accept() as b,
    ):
        for conn in (a, b):
            assert (conn.local_addr, conn.remote_addr) == kernel(conn)
            assert not ipaddress.ip_address(conn.remote_addr[0]).is_unspecified


def test_an_adopted_listeners_wildcard_is_no_connections_address() -> None:
    with socket.socket(socket.AF_INET6) as s:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind(("::ffff:0.0.0.0", 0))
        s.listen()
        with net.from_socket(s) as listener:
            with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as a, listener.accept() as b:
                assert (b.local_addr, b.remote_addr) == kernel(b)
                a.close()


# -- local_addr ----------------------------------------------------------------------------------------------------


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What getaddrinfo says of the names six-first, four-first and only-six."""
    real = socket.getaddrinfo
    six = lambda port: (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))  # noqa: E731
    four = lambda port: (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))  # noqa: E731
    known = {"six-first": (six, four), "four-first": (four, six), "only-six": (six,)}

    def getaddrinfo(host: str, port: int, *args: object) -> object:
        return [f(port) for f in known[host]] if host in known else real(host, port, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("delay", [0, -1, 100])
@pytest.mark.parametrize("name", ["six-first", "four-first"])
@pytest.mark.parametrize(
    "local", ["127.0.0.1:0", "[::1]:0", "[::1%lo]:0", "six-first:0", "four-first:0", "only-six:0", ":0"]
)
def test_only_addresses_of_local_addrs_version_are_dialed(names, local: str, name: str, delay: float) -> None:
    with net.listen("tcp", ":0") as listener:
        dialer = net.Dialer(local_addr=local, timeout=10, fallback_delay=delay)
        with dialer.dial("tcp", f"{name}:{listener.addr[1]}") as conn:
            assert (conn.local_addr, conn.remote_addr) == kernel(conn)
            host = conn.remote_addr[0]
            if "127" in local:
                assert host == "127.0.0.1"
            elif "::1" in local or local == "only-six:0":
                assert host == "::1"


def test_local_addr_of_another_version_than_all_addresses_says_so(names) -> None:
    with pytest.raises(
        OSError, match=r"dial tcp only-six:9: local_addr '127.0.0.1:0' is not an address of the family"
    ):
        net.Dialer(local_addr="127.0.0.1:0").dial("tcp", "only-six:9")
    with pytest.raises(ValueError, match=r"local_addr 'only-six:0' is not an address of the family"):
        net.Dialer(local_addr="only-six:0").dial("tcp", "127.0.0.1:9")
    with pytest.raises(
        socket.gaierror, match=r"dial tcp 127.0.0.1:9: local_addr: lookup does-not-exist.invalid: "
    ):
        net.Dialer(local_addr="does-not-exist.invalid:0").dial("tcp", "127.0.0.1:9")


def test_the_local_port_is_what_was_asked_for(names) -> None:
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    with net.listen("tcp", ":0") as listener:
        dialer = net.Dialer(local_addr=f"four-first:{port}")
        with dialer.dial("tcp", f"four-first:{listener.addr[1]}") as conn:
            assert conn.local_addr[1] == port


# -- zones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["lo", str(socket.if_nametoindex("lo"))])
def test_a_zone_is_kept_and_shown(zone: str) -> None:
    with net.listen("tcp", f"[::1%{zone}]:0") as listener:
        port = listener.addr[1]
        with net.dial("tcp", f"[::1%{zone}]:{port}", timeout=10), listener.accept():
            pass
    with pytest.raises(
        ConnectionRefusedError, match=rf"^\[Errno 111\] dial tcp \[::1%lo\]:{port}: connection refused$"
    ):
        net.dial("tcp", f"[::1%{zone}]:{port}")
    assert net.lookup_host(f"fe80::1%{zone}") == ["fe80::1%lo"]
    assert net.lookup_host(f"::1%{zone}") == ["::1%lo"]


def test_a_zone_without_an_interface_is_the_systems_error_and_shown() -> None:
    with pytest.raises(OSError, match=r"dial tcp \[fe80::1%4294967295\]:9: "):
        net.dial("tcp", "[fe80::1%4294967295]:9", timeout=10)


@pytest.mark.parametrize(
    "zone", ["", "4294967296", "99999999999999999999", "-1", "nosuch", "\u0661", "\ud800", "x" * 500, "l\0o"]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    for call in (
        net.lookup_host,
        lambda host: net.dial("tcp", f"[{host}]:9"),
        lambda host: net.listen("tcp", f"[{host}]:0"),
    ):
        with pytest.raises(ValueError, match=r"zone|interface|unexpected character"):
            call(f"fe80::1%{zone}")


def test_local_addr_may_have_a_zone() -> None:
    with net.listen("tcp", "[::1]:0") as listener:
        with net.Dialer(local_addr="[::1%lo]:0").dial("tcp", f"[::1]:{listener.addr[1]}") as conn:
            assert conn.local_addr[0] == "::1"
    with pytest.raises(ValueError, match="out of range"):
        net.Dialer(local_addr="[::1%4294967296]:0").dial("tcp", "[::1]:9")


# -- from where ----------------------------------------------------------------------------------------------------


def test_another_thread_may_listen_adopt_and_look_up() -> None:
    listener = gopark.blocking(net.listen, "tcp", "localhost:0")
    assert set(gopark.blocking(net.lookup_host, "localhost")) <= {"127.0.0.1", "::1"}
    s = socket.create_connection(listener.addr[:2])
    with listener, gopark.blocking(net.from_socket, s) as a, listener.accept() as b:
        a.write(b"adopted")
        assert b.read() == b"adopted"
    c, d = gopark.blocking(net.pipe)
    with c, d:
        c.write(b"piped")
        assert d.read() == b"piped"


@pytest.mark.no_run
def test_a_dial_from_another_thread_is_refused_before_anything_is_sent() -> None:
    def main() -> None:
        with net.listen("tcp", "127.0.0.1:0") as listener:
            before = len(os.listdir("/proc/self/fd"))
            for address in (f"127.0.0.1:{listener.addr[1]}", f"localhost:{listener.addr[1]}"):
                with pytest.raises(RuntimeError):
                    gopark.blocking(net.dial, "tcp", address)
                with pytest.raises(RuntimeError):
                    gopark.blocking(net.Dialer().dial, "tcp", address, gopark.context.background())
            assert len(os.listdir("/proc/self/fd")) == before
            listener.set_deadline(-1)
            with pytest.raises(net.DeadlineExceeded):
                listener.accept()

    gopark.run(main)
