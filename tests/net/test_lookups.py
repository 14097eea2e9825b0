"""Name look-ups: they can be given up at any time, every failure says what was looked up, forked children can do them."""

import errno
import socket
import threading
from collections.abc import Iterator

import pytest

import gopark
from gopark import go, net
from support import parked, python


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Names that end in .silent get no answer until this is set."""
    answer = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: object) -> object:
        if not host.endswith(".silent"):
            return real(host, port, *args)  # type: ignore[arg-type]
        assert answer.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answer
    answer.set()


CALLS = {
    "lookup_host": lambda: net.lookup_host("a.silent"),
    "dial": lambda: net.dial("tcp", "a.silent:9"),
    "dial with a timeout": lambda: net.dial("tcp", "a.silent:9", timeout=60),
    "dial with a context": lambda: net.dial("tcp", "a.silent:9", ctx=gopark.context.background()),
    "dial from a name": lambda: net.Dialer(local_addr="a.silent:0").dial("tcp", "127.0.0.1:9"),
    "listen": lambda: net.listen("tcp", "a.silent:0"),
}


@pytest.mark.parametrize("call", CALLS)
def test_cancel_ends_it_at_once(call: str, silent: threading.Event) -> None:
    looking = parked(go(CALLS[call]))
    looking.cancel()
    assert looking.join(10)
    assert isinstance(looking.exception, gopark.Cancelled)
    assert not silent.is_set()


def test_a_dials_time_includes_its_look_ups(silent: threading.Event) -> None:
    with pytest.raises(net.DeadlineExceeded, match=r"^dial tcp a.silent:9: lookup a.silent: i/o timeout$"):
        net.dial("tcp", "a.silent:9", timeout=0.02)
    with pytest.raises(
        net.DeadlineExceeded, match=r"^dial tcp 127.0.0.1:9: local_addr: lookup b.silent: i/o timeout$"
    ):
        net.Dialer(timeout=0.02, local_addr="b.silent:0").dial("tcp", "127.0.0.1:9")
    with (
        gopark.context.with_timeout(0.02) as ctx,
        pytest.raises(gopark.context.DeadlineExceeded, match=r"^dial tcp a.silent:9: "),
    ):
        net.dial("tcp", "a.silent:9", ctx=ctx)
    assert not silent.is_set()


def test_an_answer_that_comes_after_the_end_of_the_context_dials_nobody(silent: threading.Event) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener, gopark.context.with_cancel() as ctx:
        dialing = parked(go(net.dial, "tcp", f"a.silent:{listener.addr[1]}", ctx=ctx))
        ctx.cancel()
        with pytest.raises(gopark.context.Canceled):
            dialing.result(timeout=10)
        silent.set()
        with net.dial("tcp", f"b.silent:{listener.addr[1]}", timeout=10) as conn, listener.accept() as first:
            assert first.remote_addr == conn.local_addr


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EAGAIN])
def test_the_systems_own_errors_keep_their_class_and_say_what_was_looked_up(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise OSError(number, "What the system says")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    for call, before in (
        (lambda: net.lookup_host("n"), ""),
        (lambda: net.dial("tcp", "n:9"), "dial tcp n:9: "),
        (lambda: net.dial("tcp", "n:9", timeout=20), "dial tcp n:9: "),
        (lambda: net.listen("tcp", "n:9"), "listen tcp n:9: "),
    ):
        with pytest.raises(OSError) as e:
            call()
        assert type(e.value) is type(OSError(number, ""))
        assert str(e.value) == f"[Errno {number}] {before}lookup n: what the system says"


@pytest.mark.parametrize(
    "name",
    [
        "", "..", "a..b", ".", "x" * 300, "x" * 2000, "a" * 64 + ".invalid", "a\0b.invalid", "\0", "\ud800", "\u3002",
        "b\u00fccher.invalid", "a b.invalid", "host\n.invalid", "%", "lo%lo", "1.2.3.4.5", "256.1.1.1", "::1::", "fe80::1%",
        "-", "\x1b[1m.invalid",
    ],
)  # fmt: skip
def test_what_is_no_name_is_an_error_that_says_so_on_one_line(name: str) -> None:
    for call in (
        lambda: net.lookup_host(name),
        lambda: net.dial("tcp", f"{name or '?'}:9", timeout=20),
        lambda: net.listen("tcp", f"{name or '?'}:0"),
    ):
        with pytest.raises((ValueError, socket.gaierror)) as e:
            call()
        assert str(e.value).isprintable(), str(e.value)
        assert len(str(e.value)) < 5000


def test_hundreds_of_look_ups_at_once() -> None:
    looking = [go(net.lookup_host, "localhost") for _ in range(300)]
    assert all(set(g.result(timeout=30)) <= {"127.0.0.1", "::1"} for g in looking)


@pytest.mark.no_run
def test_a_forked_child_can_look_names_up_also_when_its_parent_was_about_to() -> None:
    python("""
        import os, socket, threading
        import gopark
        from gopark import go, net

        real, started, answer = socket.getaddrinfo, threading.Event(), threading.Event()

        def slow(host, *args):
            if host == "slow.test":
                started.set()
                answer.wait(20)
            return real("localhost", *args)

        socket.getaddrinfo = slow

        def main():
            looking = [go(net.lookup_host, "slow.test") for _ in range(100)]  # more than may look at once
            gopark.blocking(started.wait)
            pid = os.fork()
            if pid == 0:
                answer.set()
                with net.listen("tcp", "localhost:0") as listener:
                    net.dial("tcp", f"localhost:{listener.addr[1]}", timeout=20).close()
                os._exit(0)
            assert gopark.blocking(os.waitpid, pid, 0)[1] == 0
            answer.set()
            for g in looking:
                g.result(20)

        gopark.run(main)
    """)
