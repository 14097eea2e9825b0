"""Servers on gopark under the clients that people use: curl, wrk, redis-benchmark, urllib."""

import re
import shutil
import subprocess
import urllib.request

import pytest

import gopark
from gopark import go, net

BODY = b"hello from gopark\n"


def http(conn: net.Conn) -> None:
    """HTTP/1.1 with keep-alive and pipelining; /big answers with a megabyte."""
    with conn:
        pending = b""
        try:
            while data := conn.read():
                pending += data
                out = []
                while (end := pending.find(b"\r\n\r\n")) >= 0:
                    head, pending = pending[:end].decode("latin-1"), pending[end + 4 :]
                    body = BODY if " /big " not in head else b"x" * (1 << 20)
                    out += [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]
                    if re.search(r"(?i)\nconnection: *close", head):
                        conn.writev(out)
                        return
                conn.writev(out)
        except (ConnectionResetError, BrokenPipeError):
            pass  # wrk drops its connections at the end


def redis(conn: net.Conn) -> None:
    """RESP: PING, SET, GET and what redis-benchmark asks first."""
    store: dict[bytes, bytes] = {}
    with conn:
        pending = bytearray()
        try:
            while data := conn.read():
                pending += data
                out = []
                while (request := parse(pending)) is not None:
                    command = request[0].upper()
                    if command == b"PING":
                        out.append(b"+PONG\r\n")
                    elif command == b"SET":
                        store[request[1]] = request[2]
                        out.append(b"+OK\r\n")
                    elif command == b"GET":
                        value = store.get(request[1])
                        out.append(b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value))
                    else:
                        out.append(b"*0\r\n")
                conn.write(b"".join(out))
        except (ConnectionResetError, BrokenPipeError):
            pass


def parse(pending: bytearray) -> list[bytes] | None:
    """Take one complete request off the front."""
    lines = pending.split(b"\r\n")
    if len(lines) < 2:
        return None
    if not lines[0].startswith(b"*"):
        del pending[: len(lines[0]) + 2]
        return [bytes(lines[0])]
    n = int(lines[0][1:])
    if len(lines) < 2 * n + 2:
        return None
    del pending[: sum(len(line) + 2 for line in lines[: 2 * n + 1])]
    return [bytes(lines[2 * i + 2]) for i in range(n)]


def serving(serve) -> net.Listener:
    listener = net.listen("tcp", "127.0.0.1:0")

    def accept() -> None:
        for conn in listener:
            go(serve, conn)

    go(accept)
    return listener


def command(*args: object) -> str:
    """Run a tool while the server serves; its output."""
    words = [str(a) for a in args]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = gopark.blocking(subprocess.run, words, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl_reuses_the_connection_and_gets_every_byte() -> None:
    with serving(http) as listener:
        url = f"http://127.0.0.1:{listener.addr[1]}"
        assert command("curl", "-sS", "--noproxy", "*", url + "/").encode() == BODY
        out = command(
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "-w",
            "%{num_connects} %{size_download}\\n",
            *(["-o", "/dev/null", url + "/big"] * 4),
        )
        assert out.splitlines() == ["1 1048576"] + ["0 1048576"] * 3


@pytest.mark.parametrize("connections", [1, 200])
def test_wrk_sees_no_error(connections: int) -> None:
    with serving(http) as listener:
        out = command("wrk", "-t1", f"-c{connections}", "-d1s", f"http://127.0.0.1:{listener.addr[1]}/")
        assert "Socket errors" not in out, out
        assert "Non-2xx" not in out, out
        requests = re.search(r"(\d+) requests in", out)
        assert requests is not None
        assert int(requests[1]) >= 100, out


@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark(pipeline: int) -> None:
    with serving(redis) as listener:
        out = command(
            "redis-benchmark",
            "-p",
            listener.addr[1],
            "-n",
            5000,
            "-c",
            50,
            "-P",
            pipeline,
            "-t",
            "ping_mbulk,set,get",
            "--csv",
        )
        for test in ("PING_MBULK", "SET", "GET"):
            assert f'"{test}"' in out, out
        assert "error" not in out.lower(), out


def test_urllib_on_a_thread() -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with serving(http) as listener:
        url = f"http://127.0.0.1:{listener.addr[1]}"

        def fetch(path: str) -> bytes:
            with opener.open(url + path, timeout=20) as answer:
                return answer.read()

        fetching = [go(gopark.blocking, fetch, path) for path in ("/", "/big") * 10]
        assert [len(g.result(timeout=20)) for g in fetching] == [len(BODY), 1 << 20] * 10
