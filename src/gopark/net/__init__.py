"""Network connections whose calls park the goroutine (Go's net package)."""

from gopark.net.conn import Conn
from gopark.net.dial import Dialer, dial
from gopark.net.listener import Listener, listen
from gopark.net.resolver import lookup_host
from gopark.net.sockets import from_socket, pipe
from gopark.poll.errors import ClosedError, DeadlineExceeded

__all__ = [
    "ClosedError",
    "Conn",
    "DeadlineExceeded",
    "Dialer",
    "Listener",
    "dial",
    "from_socket",
    "listen",
    "lookup_host",
    "pipe",
]
