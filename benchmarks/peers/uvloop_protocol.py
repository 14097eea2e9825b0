"""uvloop with a Protocol: callbacks, no task and no stream objects. The fastest way to use asyncio."""

import asyncio

import _serve
import uvloop


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main() -> None:
    options = _serve.start()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, _serve.HOST, options.port, backlog=_serve.BACKLOG)
    _serve.announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


uvloop.run(main())
