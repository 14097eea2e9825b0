"""Contexts and network calls: dial takes one, attach puts one around reads, writes and accepts."""

import socket

import pytest

import gopark
from gopark import context, net
from support import goroutines, parked


def full_listener() -> tuple[socket.socket, list[socket.socket], str]:
    """A listener whose queue is full, so that dialing it hangs."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    fill = []
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(sock.getsockname())
        fill.append(s)
    return sock, fill, f"127.0.0.1:{sock.getsockname()[1]}"


def test_dial_with_a_context_connects() -> None:
    def main() -> None:
        with net.listen("tcp", "127.0.0.1:0") as listener, context.with_timeout(10) as ctx:
            host, port = listener.addr
            with net.dial("tcp", f"{host}:{port}", ctx=ctx) as conn, listener.accept() as peer:
                ctx.cancel()
                conn.write(b"the connection stays")
                assert peer.read(100) == b"the connection stays"
            assert len(ctx._listeners) == 0

    gopark.run(main)


@pytest.mark.parametrize("kind", [context.Canceled, context.DeadlineExceeded])
def test_dial_ends_with_its_context(kind: type[Exception]) -> None:
    def main() -> None:
        sock, fill, address = full_listener()
        ctx = context.with_cancel() if kind is context.Canceled else context.with_timeout(0.02)
        if kind is context.Canceled:
            gopark.time.after_func(0.02, ctx.cancel)
        with pytest.raises(kind, match="dial tcp 127"):
            net.dial("tcp", address, ctx=ctx)
        for s in [sock, *fill]:
            s.close()

    gopark.run(main)


def test_dial_with_an_ended_context_does_not_begin() -> None:
    ctx = context.with_cancel()
    ctx.cancel()
    with pytest.raises(context.Canceled):
        net.Dialer().dial("tcp", "127.0.0.1:1", ctx=ctx)
    with pytest.raises(TypeError, match="ctx"):
        net.dial("tcp", "127.0.0.1:1", ctx=1)


def test_dial_with_a_context_still_reports_the_systems_errors() -> None:
    def main() -> None:
        with net.listen("tcp", "127.0.0.1:0") as listener:
            host, port = listener.addr
        with context.with_cancel() as ctx, pytest.raises(ConnectionRefusedError):
            net.dial("tcp", f"{host}:{port}", ctx=ctx)

    gopark.run(main)


def test_attached_read_ends_with_the_context() -> None:
    def main() -> None:
        a, b = net.pipe()
        with a, b, context.with_cancel() as ctx:
            gopark.time.after_func(0.005, ctx.cancel)
            with pytest.raises(context.Canceled), context.attach(ctx, a):
                a.read()
            a.set_deadline(None)
            b.write(b"usable again")
            assert a.read() == b"usable again"

    gopark.run(main)


def test_attached_accept_ends_with_the_context() -> None:
    def main() -> None:
        with net.listen("tcp", "127.0.0.1:0") as listener:
            with (
                pytest.raises(context.DeadlineExceeded),
                context.attach(context.with_timeout(0.005), listener),
            ):
                listener.accept()

    gopark.run(main)


def test_context_that_ends_after_the_block_does_nothing_to_the_connection() -> None:
    def main() -> None:
        a, b = net.pipe()
        with a, b, context.with_cancel() as ctx:
            with context.attach(ctx, a, b):
                b.write(b"x")
                assert a.read() == b"x"
            ctx.cancel()
            b.write(b"y")
            assert a.read() == b"y"

    gopark.run(main)


def test_connections_own_deadline_is_still_reported_as_such() -> None:
    def main() -> None:
        a, b = net.pipe()
        with a, b, context.with_cancel() as ctx:
            a.set_deadline(0)
            with pytest.raises(net.DeadlineExceeded), context.attach(ctx, a):
                a.read()

    gopark.run(main)


@goroutines
def test_an_object_that_fails_keeps_no_other_from_being_told() -> None:
    class Own:
        def set_deadline(self, when: float | None) -> None:
            raise ValueError("not mine")

    a, b = net.pipe()
    ctx = context.with_cancel()

    def read() -> None:
        with context.attach(ctx, Own(), a):
            a.read()

    with a, b:
        reader = parked(gopark.go(read))
        with pytest.raises(ValueError, match="not mine"):
            ctx.cancel()
        with pytest.raises(context.Canceled):
            reader.result(10)
