"""Each example does what its first line says."""

import hashlib
import runpy
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gopark import go, net
from support import goroutines

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of plain threads: its address.  *serve* gets each connection."""

    def one(conn: socket.socket) -> None:
        with conn:
            serve(conn)

    def accept() -> None:
        while True:
            try:
                conn = listener.accept()[0]
            except OSError:
                return
            conn.settimeout(30)
            threading.Thread(target=one, args=(conn,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield "{}:{}".format(*listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)


def echo(conn: socket.socket) -> None:
    try:
        while data := conn.recv(65536):
            conn.sendall(data)
    except OSError:
        pass


def lines(conn: socket.socket) -> Iterator[str]:
    conn.settimeout(30)
    with conn.makefile("r") as file:
        for line in file:
            yield line.rstrip("\n")


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.py") if p.name != "echo_server.py"))
def test_help_says_what_it_does(name: str, example) -> None:
    status, out, err = example(name, "--help").end()
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {name}")


@goroutines
def test_echo_server_echoes_and_ends_with_its_client() -> None:
    handler = runpy.run_path(str(EXAMPLES / "echo_server.py"))["echo"]
    ours, theirs = net.pipe()
    g = go(handler, theirs)
    with ours:
        ours.write(b"hello")
        assert ours.read_exactly(5) == b"hello"
    g.result(timeout=10)


def test_pipeline_hashes_every_file(tmp_path: Path, example) -> None:
    expected = set()
    for i in range(40):
        path = tmp_path / f"{i % 5}" / f"{i}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * i)
        expected.add(f"{hashlib.sha256(b'x' * i).hexdigest()} {path}")
    status, out, err = example("pipeline.py", "--hashers", 3, tmp_path).end()
    assert (status, err) == (0, "")
    assert set(out.splitlines()) == expected


def test_worker_pool_asks_every_server_and_says_what_failed(example) -> None:
    def serve(conn: socket.socket) -> None:
        request = conn.recv(65536)
        status = b"404 Not Found" if b"/missing" in request else b"200 OK"
        conn.sendall(b"HTTP/1.0 " + status + b"\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = unused.getsockname()[1]
    with server(serve) as address:
        urls = [f"http://{address}/{i}" for i in range(10)]
        urls += [f"http://{address}/missing", f"http://127.0.0.1:{nobody}/"]
        status, out, err = example("worker_pool.py", "--workers", 3, *urls).end()
    assert (status, err) == (0, "")
    answers = dict(line.split(": ", 1) for line in out.splitlines())
    assert set(answers) == set(urls)
    assert [answers[url] for url in urls[:10]] == ["HTTP/1.0 200 OK"] * 10
    assert answers[urls[10]] == "HTTP/1.0 404 Not Found"
    assert "connection refused" in answers[urls[11]]


def test_rate_limiter_sends_all_and_never_faster_than_its_rate(example) -> None:
    with server(echo) as address:
        start = time.monotonic()
        arguments = ("--rate", 50, "--burst", 5, "--count", 15, address)
        status, out, err = example("rate_limiter.py", *arguments).end()
        took = time.monotonic() - start
    assert (status, err) == (0, "")
    assert [line.split()[-1] for line in out.splitlines()] == [str(i) for i in range(15)]
    assert took >= (15 - 5) / 50


def test_chat_server_passes_lines_on_and_tells_who_comes_and_goes(example) -> None:
    program = example("chat_server.py", "--listen", "127.0.0.1:0")
    address = program.address()
    with socket.create_connection(address) as first:
        heard = lines(first)
        assert next(heard) == "* welcome, guest1; 1 here"
        with socket.create_connection(address) as second:
            heard_by_second = lines(second)
            assert next(heard_by_second) == "* welcome, guest2; 2 here"
            assert next(heard) == "* guest2 has come"
            second.sendall(b"hel")
            second.sendall(b"lo\r\nbye\n")
            assert next(heard) == "guest2: hello"
            assert next(heard) == "guest2: bye"
            first.sendall(b"good bye\n")
            assert next(heard_by_second) == "guest1: good bye"
            heard_by_second.close()
        assert next(heard) == "* guest2 has left"
        assert program.end(signal.SIGINT) == (0, "", "")


def test_chat_server_throws_out_who_does_not_read_and_the_others_go_on(example) -> None:
    program = example("chat_server.py", "--listen", "127.0.0.1:0")
    address = program.address()
    with socket.create_connection(address) as talker, socket.create_connection(address) as deaf:
        deaf.settimeout(30)
        heard = lines(talker)
        assert next(heard) == "* welcome, guest1; 1 here"
        assert next(heard) == "* guest2 has come"
        sent = 0
        talker.settimeout(30)
        stop = threading.Event()

        def talk() -> None:
            nonlocal sent
            try:
                while not stop.is_set():
                    talker.sendall(b"x" * 4000 + b"\n")
                    sent += 1
            except OSError:
                pass

        talking = threading.Thread(target=talk)
        talking.start()
        try:
            assert next(heard) == "* guest2 has left"
        finally:
            stop.set()
            talking.join(30)
        assert sent > 64
        assert program.end(signal.SIGINT) == (0, "", "")


def test_port_scanner_finds_what_listens(example) -> None:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        ports = sorted(s.getsockname()[1] for s in (a, b))
        first, last = max(1, ports[0] - 100), min(65535, ports[0] + 100)
        status, out, err = example("port_scanner.py", "--ports", f"{first}-{last}", "--workers", 20).end()
        assert (status, err) == (0, "")
        assert str(ports[0]) in out.splitlines()
        assert (str(ports[1]) in out.splitlines()) == (first <= ports[1] <= last)


def test_port_scanner_takes_no_other_address(example) -> None:
    status, _, err = example("port_scanner.py", "--host", "192.0.2.1").end()
    assert status == 2
    assert "invalid choice" in err


def test_tcp_proxy_passes_everything_on_and_half_closes(example) -> None:
    def count(conn: socket.socket) -> None:
        total = 0
        while data := conn.recv(65536):
            total += len(data)
        conn.sendall(f"{total}".encode())

    with server(count) as upstream:
        program = example("tcp_proxy.py", "--listen", "127.0.0.1:0", upstream)
        with socket.create_connection(program.address(), timeout=30) as client:
            client.sendall(b"x" * 3_000_000)
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as file:
                assert file.read() == b"3000000"
        assert program.end(signal.SIGINT) == (0, "", "")


def test_tcp_proxy_ends_an_idle_connection_and_serves_the_next(example) -> None:
    with server(echo) as upstream:
        program = example("tcp_proxy.py", "--listen", "127.0.0.1:0", "--idle-timeout", 0.2, upstream)
        address = program.address()
        with socket.create_connection(address, timeout=30) as idle:
            assert idle.recv(1) == b""
        assert "i/o timeout" in program.line()
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_tcp_proxy_says_that_the_upstream_refuses(example) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = "{}:{}".format(*unused.getsockname())
    program = example("tcp_proxy.py", "--listen", "127.0.0.1:0", nobody)
    with socket.create_connection(program.address(), timeout=30) as client:
        assert client.recv(1) == b""
    assert "connection refused" in program.line()
