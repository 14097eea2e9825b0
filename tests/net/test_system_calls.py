"""What an echo server asks of the kernel, counted by strace: one ADD and one DEL a connection, one read a
message."""

import collections
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.no_run

CONNECTIONS = 5
MESSAGES = 200

SERVER = f"""
import gopark
from gopark import net, go

def serve(conn):
    with conn:
        while data := conn.read():
            conn.write(data)

def main():
    with net.listen("tcp", "127.0.0.1:0") as listener:
        print(listener.addr[1], flush=True)
        serving = [go(serve, listener.accept()) for _ in range({CONNECTIONS})]
        for g in serving:
            g.result()

gopark.run(main)
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """The system calls of the server's thread, in order, from when it listens to its end; those of its other
    threads."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path_factory.mktemp("strace") / "log"
    server = subprocess.Popen(
        ["strace", "-ff", "-o", str(log), sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            _, err = server.communicate(timeout=10)
            if "ptrace" in err.lower():
                pytest.skip(f"strace may not trace here: {err.strip()}")
            raise AssertionError(err)
        for _ in range(CONNECTIONS):
            with socket.create_connection(("127.0.0.1", int(line)), timeout=20) as s:
                for i in range(MESSAGES):
                    s.sendall(b"message %d" % i)
                    assert s.recv(100) == b"message %d" % i
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.communicate()
    # A file a thread: in one file, calls that overlap would be cut in two.
    texts = [path.read_text() for path in log.parent.glob("log.*")]
    main = next(text for text in texts if "listen(" in text)
    others = [line for text in texts if text is not main for line in text.splitlines()]
    return main[main.index("listen(") :].splitlines(), others


@pytest.fixture
def calls(traced: tuple[list[str], list[str]]) -> list[str]:
    return traced[0]


@pytest.fixture
def others(traced: tuple[list[str], list[str]]) -> list[str]:
    return traced[1]


def count(calls: list[str], pattern: str) -> int:
    return sum(1 for line in calls if re.search(pattern, line))


def test_one_add_and_one_delete_a_connection_and_no_mod(calls: list[str]) -> None:
    added = collections.Counter(re.findall(r"EPOLL_CTL_ADD, (\d+)", "\n".join(calls)))
    deleted = collections.Counter(re.findall(r"EPOLL_CTL_DEL, (\d+)", "\n".join(calls)))
    assert added == deleted
    assert added.total() == CONNECTIONS + 1  # and the listener
    assert count(calls, "EPOLL_CTL_MOD") == 0
    assert count(calls, r"EPOLL_CTL_ADD, .*EPOLLET") == CONNECTIONS + 1


def test_one_read_and_one_write_a_message(calls: list[str]) -> None:
    reads = [line for line in calls if re.search(r"^(recvfrom|read)\(\d+, (\"message|.* EAGAIN)", line)]
    messages = CONNECTIONS * MESSAGES
    assert count(calls, r"^(sendto|write)\(\d+, \"message") == messages
    assert count(calls, r"^(recvfrom|read)\(\d+, \"message") == messages
    # Nothing had come when a connection was accepted, perhaps: at most two tries in vain a connection.
    assert len(reads) - messages <= 2 * CONNECTIONS + 2, collections.Counter(
        line[:60] for line in reads if "EAGAIN" in line
    )


def test_at_most_one_poll_a_message_and_no_futex_storm(calls: list[str], others: list[str]) -> None:
    messages = CONNECTIONS * MESSAGES
    assert count(calls, r"^epoll_p?wait") <= messages * 1.1 + 50
    # What sysmon costs goes with time, not with messages (the interpreted one waits for a lock, then for the GIL): on a busy
    # machine the same messages see more of it.
    wakes = count(others, r"^futex\(.*ETIMEDOUT") + count(others, r"^clock_nanosleep\(")
    kinds = collections.Counter(re.sub(r"^(\w+).*", r"\1", line) for line in calls)
    assert count(calls, r"^futex\(") < messages / 5 + 4 * wakes, kinds
    assert len(calls) < messages * 3 * 1.15 + 1000 + 8 * wakes, kinds
