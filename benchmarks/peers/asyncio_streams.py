"""asyncio streams: one task a connection, StreamReader.read, StreamWriter.write and drain."""

import asyncio

import _serve


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_serve.READ_SIZE):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the client went away
    finally:
        writer.close()


async def yielding() -> None:
    while True:
        await asyncio.sleep(0)


async def spinning() -> None:
    _serve.spin()


async def main() -> None:
    options = _serve.start()
    server = await asyncio.start_server(handle, _serve.HOST, options.port, backlog=_serve.BACKLOG)
    _serve.announce(server.sockets[0].getsockname()[1])
    busy = [asyncio.create_task(yielding()) for _ in range(options.yielding)]
    busy += [asyncio.create_task(spinning()) for _ in range(options.spinning)]
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
