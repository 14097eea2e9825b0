"""Dialing: time limits, refusals, cancellation, the race of the two IP versions; nothing leaks."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import gopark
from gopark import net
from gopark.net import resolver
from support import descriptors

TIMEOUT = 0.15


@contextmanager
def full_backlog(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that answers no SYN: its accept queue is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as filler:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that nobody listens on, kept from others."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.bind((host, 0))
        yield s.getsockname()[1]


@pytest.fixture(autouse=True)
def descriptors_are_back() -> Iterator[None]:
    socket.create_server(("127.0.0.1", 0)).close()
    gopark.run(gopark.gosched)  # the poller has its descriptors
    before = len(descriptors())
    yield
    end = time.monotonic() + 10
    while (now := len(descriptors())) > before:
        assert time.monotonic() < end, f"{now} descriptors are open, {before} were"
        time.sleep(0.01)


@pytest.fixture
def two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name "both" has an IPv6 and an IPv4 address, in this order."""
    real = resolver.resolve

    def resolve(host: str, port: int, family: int) -> list[resolver.IPAddr]:
        if host != "both":
            return real(host, port, family)
        return [
            resolver.IPAddr(socket.AF_INET6, ("::1", port, 0, 0)),
            resolver.IPAddr(socket.AF_INET, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(resolver, "resolve", resolve)


def test_refused_names_network_and_address() -> None:
    with refusing_port() as port:
        with pytest.raises(
            ConnectionRefusedError, match=f"^.Errno 111. dial tcp 127.0.0.1:{port}: connection refused$"
        ):
            net.dial("tcp", f"127.0.0.1:{port}")
        with pytest.raises(ConnectionRefusedError, match=f"dial tcp4 127.0.0.1:{port}: connection refused$"):
            net.dial("tcp4", f":{port}", timeout=10)


def test_timeout_to_a_full_accept_queue() -> None:
    with full_backlog() as port:
        began = time.monotonic()
        with pytest.raises(net.DeadlineExceeded, match=f"^dial tcp 127.0.0.1:{port}: i/o timeout$"):
            net.dial("tcp", f"127.0.0.1:{port}", timeout=TIMEOUT)
        assert time.monotonic() - began >= TIMEOUT
        with pytest.raises(net.DeadlineExceeded):
            net.Dialer(deadline=gopark.time.now() + TIMEOUT).dial("tcp", f"127.0.0.1:{port}")
        with pytest.raises(net.DeadlineExceeded):  # the earlier one counts
            net.Dialer(timeout=100, deadline=gopark.time.now() + TIMEOUT).dial("tcp", f"127.0.0.1:{port}")


@pytest.mark.parametrize("dialer", [{"timeout": 0}, {"timeout": -1}, {"deadline": 0.0}, {"deadline": 1e-3}])
def test_a_time_in_the_past_fails_at_once(dialer: dict[str, float]) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(net.DeadlineExceeded, match=r"^dial tcp .*: i/o timeout"):
                net.Dialer(**dialer).dial("tcp", f"{host}:{listener.addr[1]}")


def test_the_deadline_of_the_dial_does_not_stay_on_the_connection(blocked) -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}", timeout=0.05) as a, listener.accept() as b:
            gopark.sleep(0.07)
            assert a.write(b"x") == 1
            reader = blocked(a.read)
            b.write(b"y")
            assert reader.result(timeout=10) == b"y"


def test_cancel_ends_a_dial_at_once(blocked) -> None:
    with full_backlog() as port:
        dialing = blocked(net.dial, "tcp", f"127.0.0.1:{port}")
        dialing.cancel()
        assert dialing.join(10)
        assert isinstance(dialing.exception, gopark.Cancelled)


def test_cancel_ends_a_race_at_once(two_versions) -> None:
    with full_backlog() as port, full_backlog("::1", port):
        before = gopark.num_goroutine()
        dialing = gopark.go(net.Dialer(fallback_delay=0.01).dial, "tcp", f"both:{port}")
        while gopark.num_goroutine() < before + 3:  # both contenders
            gopark.sleep(0.001)
        dialing.cancel()
        assert dialing.join(10)
        assert isinstance(dialing.exception, gopark.Cancelled)


@pytest.mark.parametrize("how", ["plain", "context", "race", "timeout"])
def test_a_dial_given_up_at_any_moment_leaves_no_connection(how: str, two_versions) -> None:
    """The client's end is closed, whether it was connected already or not."""
    with net.listen("tcp", ":0") as listener:
        port = listener.addr[1]
        accepted = gopark.go(lambda: [conn for conn in listener])
        for moments in range(60):
            address = f"both:{port}" if how == "race" else f"127.0.0.1:{port}"
            ctx = gopark.context.with_cancel()
            dialer = net.Dialer(fallback_delay=0, timeout=10 if how == "timeout" else None)
            dialing = gopark.go(dialer.dial, "tcp", address, ctx if how == "context" else None)
            for _ in range(moments // 4):
                gopark.gosched()
            (ctx if how == "context" else dialing).cancel()
            assert dialing.join(10)
            ctx.cancel()
            if dialing.exception is None:
                dialing.result().close()
        while gopark.num_goroutine() > 2:  # the losers of races
            gopark.sleep(0.001)
        gopark.sleep(0)
        listener.close()
        for conn in accepted.result(timeout=10):
            with conn:
                conn.set_deadline(gopark.time.now() + 10)
                with contextlib.suppress(ConnectionResetError):
                    assert conn.read() == b""


def test_a_silent_address_leaves_time_for_the_next(monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["gopark.net.dial"], "_SANE_MINIMUM", 0)
    with full_backlog() as port, net.listen("tcp", f"127.0.0.2:{port}") as listener:
        both = [resolver.IPAddr(socket.AF_INET, (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(resolver, "resolve", lambda *args: both)
        with net.dial("tcp", f"name:{port}", timeout=2 * TIMEOUT) as a, listener.accept():
            assert a.remote_addr == ("127.0.0.2", port)
        with full_backlog("127.0.0.3", port):
            both[1] = resolver.IPAddr(socket.AF_INET, ("127.0.0.3", port))
            with pytest.raises(net.DeadlineExceeded, match=rf"^dial tcp 127.0.0.1:{port}: i/o timeout$"):
                net.dial("tcp", f"name:{port}", timeout=TIMEOUT)


def test_a_contender_that_is_raised_in_by_a_signal_handler_is_no_hang(two_versions, monkeypatch) -> None:
    class Alarm(BaseException):
        pass

    def interrupted(*args: object) -> None:
        raise Alarm

    monkeypatch.setattr(net.Dialer, "_dial_serial", interrupted)
    with pytest.raises(Alarm):
        net.Dialer(fallback_delay=0).dial("tcp", "both:9")


def test_the_other_version_is_tried_at_once_when_the_preferred_one_refuses(two_versions) -> None:
    with net.listen("tcp4", "127.0.0.1:0") as listener:
        port = listener.addr[1]
        with net.Dialer(fallback_delay=1000, timeout=20).dial("tcp", f"both:{port}") as a, listener.accept():
            assert a.remote_addr == ("127.0.0.1", port)


def test_the_other_version_is_tried_beside_a_silent_one(two_versions) -> None:
    with net.listen("tcp4", "127.0.0.1:0") as listener, full_backlog("::1", listener.addr[1]):
        port = listener.addr[1]
        with net.Dialer(fallback_delay=0.02, timeout=20).dial("tcp", f"both:{port}") as a, listener.accept():
            assert a.remote_addr == ("127.0.0.1", port)


def test_the_preferred_version_wins_if_it_answers(two_versions) -> None:
    with net.listen("tcp", ":0") as listener:
        for _ in range(20):
            with (
                net.Dialer(fallback_delay=0.2).dial("tcp", f"both:{listener.addr[1]}") as a,
                listener.accept(),
            ):
                assert a.remote_addr[0] == "::1"


def test_of_two_that_connect_together_the_loser_is_closed(two_versions, eventually) -> None:
    with net.listen("tcp", ":0") as listener:
        for _ in range(30):
            with net.Dialer(fallback_delay=0).dial("tcp", f"both:{listener.addr[1]}") as a:
                a.write(b"winner")
                eventually(lambda: gopark.num_goroutine() == 1)
                listener.set_deadline(None)
                with listener.accept() as first:
                    if first.read() == b"winner":
                        continue
                with listener.accept() as second:
                    assert second.read() == b"winner"


def test_the_error_is_the_preferred_versions_when_both_fail(two_versions) -> None:
    with refusing_port() as port:
        with pytest.raises(ConnectionRefusedError, match=rf"dial tcp \[::1\]:{port}: connection refused$"):
            net.Dialer(fallback_delay=0).dial("tcp", f"both:{port}")
        with pytest.raises(ConnectionRefusedError, match=rf"dial tcp \[::1\]:{port}: connection refused$"):
            net.Dialer(fallback_delay=-1).dial("tcp", f"both:{port}")
    with full_backlog() as port, full_backlog("::1", port):
        with pytest.raises(net.DeadlineExceeded, match=rf"^dial tcp \[::1\]:{port}: i/o timeout"):
            net.Dialer(fallback_delay=0.01, timeout=TIMEOUT).dial("tcp", f"both:{port}")


def test_one_after_the_other_when_the_fallback_delay_is_negative(two_versions) -> None:
    with net.listen("tcp4", "127.0.0.1:0") as listener:
        port = listener.addr[1]
        with net.Dialer(fallback_delay=-1, timeout=20).dial("tcp", f"both:{port}") as a:
            assert a.remote_addr == ("127.0.0.1", port)


@pytest.mark.parametrize("timeout", [None, 20])
def test_unknown_host_is_a_gaierror_that_names_network_and_address(timeout: float | None) -> None:
    with pytest.raises(
        socket.gaierror, match=r"dial tcp does-not-exist.invalid:80: lookup does-not-exist.invalid: "
    ):
        net.dial("tcp", "does-not-exist.invalid:80", timeout=timeout)
    with pytest.raises(
        socket.gaierror, match=r"listen tcp does-not-exist.invalid:0: lookup does-not-exist.invalid: "
    ):
        net.listen("tcp", "does-not-exist.invalid:0")


def test_local_addr() -> None:
    with refusing_port() as mine, net.listen("tcp", "127.0.0.1:0") as listener:
        target = f"127.0.0.1:{listener.addr[1]}"
        with net.Dialer(local_addr="127.0.0.2:0").dial("tcp", target) as a, listener.accept() as b:
            assert a.local_addr == b.remote_addr
            assert a.local_addr[0] == "127.0.0.2"
        with net.Dialer(local_addr=":0").dial("tcp", target) as a, listener.accept() as b:
            assert a.local_addr == b.remote_addr
        with pytest.raises(OSError, match=f"dial tcp {target}: address already in use"):
            net.Dialer(local_addr=f"127.0.0.1:{mine}").dial("tcp", target)


def test_a_dial_is_never_connected_to_itself() -> None:
    # The kernel goes through the even ports, one a dial: dialing an even one, it would come to that very
    # port.
    low, high = map(int, open("/proc/sys/net/ipv4/ip_local_port_range").read().split())
    with refusing_port() as port:
        even = port + 1 if port % 2 else port - 1
        for _ in range((high - low) // 2 + 10):
            with pytest.raises(ConnectionRefusedError):
                net.dial("tcp", f"127.0.0.1:{even}").close()


def test_hundreds_of_dials_at_once() -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        target = f"127.0.0.1:{listener.addr[1]}"
        dialing = [gopark.go(net.dial, "tcp", target, timeout=20) for _ in range(300)]
        accepted = [listener.accept() for _ in dialing]
        dialed = [g.result() for g in dialing]
        assert {c.local_addr for c in dialed} == {c.remote_addr for c in accepted}
        for conn in dialed + accepted:
            conn.close()
