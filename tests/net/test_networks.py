"""Every network and form of address: IPv4, IPv6, names, free ports, Unix paths and abstract names, adopted
sockets."""

import os
import socket
import ssl

import pytest

import gopark
from gopark import go, net


def talk(a: net.Conn, b: net.Conn) -> None:
    assert a.write(b"ping") == 4
    assert b.read() == b"ping"
    assert b.write(b"pong") == 4
    assert a.read() == b"pong"
    a.close_write()
    assert b.read() == b""


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("tcp", "127.0.0.1:0"),
        ("tcp4", "127.0.0.1:0"),
        ("tcp", "[::1]:0"),
        ("tcp6", "[::1]:0"),
        ("tcp", "localhost:0"),
        ("tcp4", "localhost:0"),
        ("tcp4", ":0"),
        ("tcp6", ":0"),
        ("tcp", ":0"),
        ("unix", f"@gopark-test-{os.getpid()}"),
    ],
)
def test_listen_dial_and_the_addresses_at_both_ends(network: str, address: str, tcp_pair) -> None:
    a, b = tcp_pair(network, address)
    assert a.local_addr == b.remote_addr
    if address[0] != ":":
        assert b.local_addr == a.remote_addr
    talk(a, b)


@pytest.mark.parametrize("target", ["127.0.0.1", "[::1]", "localhost", ""])
def test_an_empty_host_listens_on_both_ip_versions(target: str) -> None:
    with net.listen("tcp", ":0") as listener:
        assert listener.addr[0] == "::"
        with net.dial("tcp", f"{target}:{listener.addr[1]}") as a, listener.accept() as b:
            talk(a, b)
            assert a.local_addr[1] == b.remote_addr[1]


def test_tcp6_does_not_serve_ipv4() -> None:
    with net.listen("tcp6", ":0") as listener, pytest.raises(ConnectionRefusedError):
        net.dial("tcp4", f"127.0.0.1:{listener.addr[1]}")


def test_unix_path_is_removed_by_close(tmp_path, tcp_pair) -> None:
    path = str(tmp_path / "socket")
    with net.listen("unix", path) as listener:
        assert listener.addr == path
        assert os.path.exists(path)
        with net.dial("unix", path) as a, listener.accept() as b:
            assert a.remote_addr == b.local_addr == path
            assert b.remote_addr == ""
            talk(a, b)
        with pytest.raises(OSError, match=f"^.Errno 98. listen unix {path}: address already in use"):
            net.listen("unix", path)
    assert not os.path.exists(path)
    with pytest.raises(FileNotFoundError, match=f"dial unix {path}: no such file"):
        net.dial("unix", path)


def test_a_unix_client_may_have_a_path_of_its_own(tmp_path) -> None:
    with net.listen("unix", str(tmp_path / "server")) as listener:
        mine = str(tmp_path / "client")
        with net.Dialer(local_addr=mine).dial("unix", listener.addr) as a, listener.accept() as b:
            assert a.local_addr == b.remote_addr == mine


def test_an_abstract_name_leaves_no_file_and_is_free_again() -> None:
    name = f"@gopark-free-{os.getpid()}"
    for _ in range(2):
        with net.listen("unix", name) as listener, net.dial("unix", name) as a, listener.accept() as b:
            assert a.remote_addr == b"\0" + name[1:].encode()
            talk(a, b)
            assert name in repr(a)


def test_pipe_is_two_ends() -> None:
    a, b = net.pipe()
    with a, b:
        talk(a, b)


def test_from_socket_adopts_a_connection() -> None:
    s, t = socket.socketpair()
    t.settimeout(5)
    with net.from_socket(s) as conn:
        assert s.fileno() == -1
        t.send(b"hello")
        assert conn.read() == b"hello"
        conn.write(b"back")
        assert t.recv(100) == b"back"
    t.close()


def test_from_socket_adopts_a_tcp_connection_and_keeps_both_addresses_after_a_reset(blocked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        s = socket.create_connection(server.getsockname())
        t, _ = server.accept()
        names = (s.getsockname(), s.getpeername())
        with net.from_socket(s) as conn:
            reader = blocked(conn.read)
            t.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            t.close()
            with pytest.raises(ConnectionResetError, match="{}:{}->{}:{}".format(*names[0], *names[1])):
                reader.result(timeout=10)
            assert (conn.local_addr, conn.remote_addr) == names


def test_from_socket_adopts_a_listener() -> None:
    s = socket.create_server(("127.0.0.1", 0))
    addr = s.getsockname()
    listener = net.from_socket(s)
    assert isinstance(listener, net.Listener)
    assert listener.addr == addr
    with listener, net.dial("tcp", "{}:{}".format(*addr)) as a, listener.accept() as b:
        talk(a, b)


@pytest.mark.parametrize("kind", ["datagram", "closed", "file", "number", "tls"])
def test_from_socket_refuses_what_is_no_stream_socket(kind: str) -> None:
    made: list = []
    if kind == "datagram":
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    elif kind == "closed":
        made.append(socket.socket())
        made[0].close()
    elif kind == "file":
        made.append(open(os.devnull))
    elif kind == "tls":
        made.append(ssl.create_default_context().wrap_socket(socket.socket(), server_hostname="x"))
    else:
        made.append(0)
    with pytest.raises((TypeError, ValueError), match=r"^from_socket: sock "):
        net.from_socket(made[0])
    if kind != "number":
        made[0].close()


def test_many_connect_before_anyone_accepts() -> None:
    n = 1000  # more than the 128 of socket.SOMAXCONN's old default
    limit = int(open("/proc/sys/net/core/somaxconn").read())
    n = min(n, limit)
    with net.listen("tcp", "127.0.0.1:0") as listener:
        dialed = [net.dial("tcp", f"127.0.0.1:{listener.addr[1]}", timeout=10) for _ in range(n)]
        for conn in dialed:
            conn.close()


def test_the_accept_queue_is_as_long_as_the_kernel_allows() -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        with socket.socket(fileno=os.dup(listener.fileno())) as s:
            info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        # tcpi_sacked is the backlog of a listening socket
        assert int.from_bytes(info[28:32], "little") == int(open("/proc/sys/net/core/somaxconn").read())


def test_no_delay_and_keep_alive_are_on_at_both_ends(tcp_pair) -> None:
    def options(conn: net.Conn) -> tuple[int, ...]:
        with socket.socket(fileno=os.dup(conn.fileno())) as s:
            return (
                s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            )

    for host in ("127.0.0.1:0", "[::1]:0"):
        for conn in tcp_pair("tcp", host):
            assert options(conn) == (1, 1, 15, 15)
            conn.set_no_delay(False)
            assert options(conn)[0] == 0
            conn.set_no_delay(True)
            assert options(conn)[0] == 1
    adopted = net.from_socket(socket.create_server(("127.0.0.1", 0)))
    with (
        adopted,
        net.Dialer(keep_alive=0).dial("tcp", f"127.0.0.1:{adopted.addr[1]}") as a,
        adopted.accept() as b,
    ):
        assert options(b) == (1, 1, 15, 15)
        assert options(a)[1] == 0
    with net.listen("tcp", "127.0.0.1:0") as listener:
        for seconds, interval in ((1e9, 32767), (0.1, 1), (60, 60)):
            with net.Dialer(keep_alive=seconds).dial("tcp", f"127.0.0.1:{listener.addr[1]}") as a:
                assert options(a)[1:] == (1, interval, interval)


def test_descriptors_are_not_inherited_and_do_not_block(tcp_pair) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        assert not os.get_inheritable(listener.fileno())
        for conn in (*tcp_pair(), *tcp_pair("tcp", "[::1]:0")):
            assert not os.get_inheritable(conn.fileno())
            assert not os.get_blocking(conn.fileno())


def test_lookup_host() -> None:
    assert net.lookup_host("127.0.0.1") == ["127.0.0.1"]
    assert set(net.lookup_host("localhost")) <= {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror, match=r"lookup does-not-exist.invalid: "):
        net.lookup_host("does-not-exist.invalid")


def test_echo_server_with_many_clients() -> None:
    def serve(conn: net.Conn) -> None:
        with conn:
            while data := conn.read():
                conn.write(data)

    def client(number: int) -> bytes:
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as conn:
            for i in range(5):
                message = b"%d/%d" % (number, i)
                conn.write(message)
                assert conn.read_exactly(len(message)) == message
        return message

    with net.listen("tcp", "127.0.0.1:0") as listener:
        accepting = go(lambda: [go(serve, conn) for conn in listener])
        clients = [go(client, i) for i in range(200)]
        assert [g.result(timeout=20) for g in clients] == [b"%d/4" % i for i in range(200)]
    accepting.join()
    assert gopark.num_goroutine() >= 1
