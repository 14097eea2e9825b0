"""The servers that are written in Python: `peers.py http|websocket|s3|zmq|grpc` prints its port and serves until killed.

Each answers a text and a number with that text so many times; and has a meeting: a question that is answered when so
many have come that are answered together, so nobody who asks one after the other gets an answer."""

import asyncio
import http.server
import socketserver
import sys
import threading
import urllib.parse
from typing import Any

people: dict[str, int] = {}
met = threading.Condition()


def meet(name: str, number: int) -> str:
    """Return when *number* have come to that meeting."""
    with met:
        people[name] = people.get(name, 0) + 1
        met.notify_all()
        met.wait_for(lambda: people[name] >= number, 40)
        return str(people[name])


def answer(question: str) -> str:
    """meet:NAME:NUMBER, or TEXT:TIMES."""
    word, _, rest = question.partition(":")
    if word == "meet":
        name, _, number = rest.partition(":")
        return meet(name, int(number))
    return word * int(rest)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        body = answer(urllib.parse.unquote(self.path[1:])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 500


def serve_http() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def serve_websocket() -> None:
    from websockets.sync.server import serve

    def handle(ws: Any) -> None:
        for question in ws:
            ws.send(answer(question))

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def serve_s3() -> None:
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


def serve_zmq() -> None:
    import zmq

    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
    waiting: dict[bytes, list[Any]] = {}
    while True:
        who, empty, question = router.recv_multipart()
        word, _, rest = question.partition(b":")
        if word != b"meet":
            router.send_multipart([who, empty, word * int(rest)])
            continue
        name, _, number = rest.partition(b":")
        there = waiting.setdefault(name, [])
        there.append(who)
        if len(there) == int(number):
            for one in there:
                router.send_multipart([one, empty, number])


def serve_grpc() -> None:
    import grpc

    async def ask(request: bytes, context: Any) -> bytes:
        return (await asyncio.to_thread(answer, request.decode())).encode()

    async def main() -> None:
        server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(ask)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Test", {"Ask": method}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        asyncio.get_running_loop().set_default_executor(_executor())
        print(port, flush=True)
        await server.wait_for_termination()

    asyncio.run(main())


def _executor() -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(100)


if __name__ == "__main__":
    globals()[f"serve_{sys.argv[1]}"]()
