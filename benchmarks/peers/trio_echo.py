"""trio: serve_listeners, one task a connection, receive_some and send_all."""

import _serve
import trio


async def handle(stream: trio.SocketStream) -> None:
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass  # the client went away


async def yielding() -> None:
    while True:
        await trio.lowlevel.checkpoint()


async def spinning() -> None:
    _serve.spin()


async def main() -> None:
    options = _serve.start()
    listeners = await trio.open_tcp_listeners(options.port, host=_serve.HOST, backlog=_serve.BACKLOG)
    _serve.announce(listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        for _ in range(options.yielding):
            nursery.start_soon(yielding)
        for _ in range(options.spinning):
            nursery.start_soon(spinning)
        await trio.serve_listeners(handle, listeners)


trio.run(main)
