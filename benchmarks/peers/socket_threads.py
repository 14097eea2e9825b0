"""The standard library alone: a thread a connection.  `gopark run` and gevent's monkey patch are given it, too, as it is."""

import socket
import sys
import threading
import time

import _serve


def handle(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := sock.recv(4096):
            sock.sendall(data)
    except ConnectionError:
        pass  # the client went away
    finally:
        sock.close()


def yielding() -> None:
    while True:
        time.sleep(0)


def start(target, *args) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


options = _serve.start()
if "gevent" not in sys.modules:
    threading.stack_size(64 * 1024)  # of address space; else 10,000 threads are 80 GB of it
listener = socket.create_server((_serve.HOST, options.port), backlog=_serve.BACKLOG)
_serve.announce(listener.getsockname()[1])
for _ in range(options.yielding):
    start(yielding)
for _ in range(options.spinning):
    start(_serve.spin)
while True:
    connection, _ = listener.accept()
    start(handle, connection)
