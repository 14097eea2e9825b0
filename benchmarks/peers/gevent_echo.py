"""gevent: StreamServer, one greenlet a connection, recv and sendall on the gevent socket."""

import socket

import _serve
import gevent
from gevent.server import StreamServer


def handle(sock, address):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := sock.recv(_serve.READ_SIZE):
            sock.sendall(data)
    except ConnectionError:
        pass  # the client went away


def yielding():
    while True:
        gevent.sleep(0)


options = _serve.start()
server = StreamServer((_serve.HOST, options.port), handle, backlog=_serve.BACKLOG)
server.start()
_serve.announce(server.server_port)
for _ in range(options.yielding):
    gevent.spawn(yielding)
for _ in range(options.spinning):
    gevent.spawn(_serve.spin)
server.serve_forever()
