"""A worker class for gunicorn: each connection is a goroutine of a patched process.

    gunicorn -k gopark.contrib.gunicorn.Worker --worker-connections 1000 myproject.wsgi

HTTP is gunicorn's own (its AsyncWorker); here is when connections are accepted, how long they may be idle, what tells the
master that the worker is alive, and how it ends.

The process is patched after the fork and before the application is imported.  Signals are gunicorn's: USR1 reopens its logs
and dumps nothing (GOPARK_DUMP_SIGNAL=USR2 does), while the descriptor that wakes the poller when one arrives stays gopark's.
"""

import contextvars
import os
import select
import signal
import ssl
from typing import Any

from gunicorn import sock as gunicorn_sock
from gunicorn import util
from gunicorn.workers.base_async import AsyncWorker

from gopark import hook
from gopark.runtime import debug, debug_signals, interrupts
from gopark.runtime.chan import Chan
from gopark.runtime.g import Cancelled, Goroutine
from gopark.runtime.proc import go, gosched, sleep
from gopark.runtime.select import select as select_case
from gopark.sync import Semaphore, WaitGroup
from gopark.time import Timer, after_func

_BEAT = 1.0  # s: between two signs of life, and between two looks whether to go on
_LINGER = (
    0.5  # s: how long a worker that stops leaves idle connections open, for a request that is on its way
)
_CANCELLED = 1.0  # s: for the clean-up of requests that are cut short

_connection: contextvars.ContextVar["_Connection"] = contextvars.ContextVar("gopark.contrib.gunicorn")


class _Connection:
    """A client, and the time that it has left to send a request.

    When that is up no more is read of it: to gunicorn it is as if the client had hung up."""

    def __init__(self, client: Any, seconds: float) -> None:
        self.client = client
        self.seconds = seconds  # 0: as much as it wants
        self.timer: Timer | None = None
        self.waiting = False

    def __enter__(self) -> None:
        self.waiting = True
        if self.timer is not None:
            self.timer.reset(self.seconds)
        elif self.seconds > 0:
            self.timer = after_func(self.seconds, self.hang_up)

    def __exit__(self, *exc: object) -> None:
        self.waiting = False
        if self.timer is not None:
            self.timer.stop()

    def hang_up(self) -> None:
        if self.waiting:
            try:
                self.client.shutdown(2)  # SHUT_RDWR
            except OSError:
                pass  # the client was faster

    def hurry(self) -> None:
        """The worker stops."""
        if self.waiting and (self.timer is None or self.seconds > _LINGER):
            self.timer = after_func(_LINGER, self.hang_up)


class Worker(AsyncWorker):  # type: ignore[misc]
    """`gunicorn -k gopark.contrib.gunicorn.Worker`."""

    def init_process(self) -> None:
        hook.patch()
        self.ended: Chan = Chan()  # closed when the worker is to stop
        self.slots = Semaphore(self.worker_connections)
        self.requests = WaitGroup()
        self.connections: dict[_Connection, Goroutine] = {}
        self.context: ssl.SSLContext | None = None
        super().init_process()

    # -- signals -------------------------------------------------------------------------------------------------------

    def init_signals(self) -> None:
        super().init_signals()
        # gunicorn's descriptor is a pipe that nothing of ours waits for: a signal would be seen only when something else
        # happens.
        signal.set_wakeup_fd(-1)
        interrupts.watch_signals()
        debug_signals.install()  # where gunicorn has no handler

    # What handlers do may park, and wait for locks that the goroutine that was interrupted holds: not there, therefore.

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.alive = False
        go(self.stop).name = "gunicorn: stop"

    def handle_quit(self, sig: int, frame: Any) -> None:
        go(super().handle_quit, sig, frame).name = "gunicorn: quit"

    def handle_usr1(self, sig: int, frame: Any) -> None:
        go(super().handle_usr1, sig, frame).name = "gunicorn: reopen logs"

    def handle_abort(self, sig: int, frame: Any) -> None:
        """The master has heard nothing for too long: something blocks the thread.  What did everybody do?"""
        self.log.critical("Worker timeout (pid:%s), goroutines:\n%s", self.pid, debug.stack())
        super().handle_abort(sig, frame)

    # -- its life ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        if self.cfg.is_ssl:
            self.context = gunicorn_sock.ssl_context(self.cfg)
        heart = go(self.beat)
        heart.name = "gunicorn: heartbeat"
        listeners = [go(self.serve, listener) for listener in self.sockets]
        for goroutine, listener in zip(listeners, self.sockets, strict=True):
            goroutine.name = f"gunicorn: accept {listener}"
        while self.alive:
            select_case(self.ended.on_recv(), timeout=_BEAT)
        for goroutine in listeners:
            goroutine.cancel()
        for goroutine in listeners:
            goroutine.join()
        for listener in self.sockets:
            listener.close()
        self.finish()
        heart.cancel()

    def stop(self) -> None:
        """Nothing is accepted any more; run goes on from there."""
        self.alive = False
        if not self.ended.closed:
            self.ended.close()

    def finish(self) -> None:
        """What has been accepted is served to its end, if that comes in time."""
        for connection in list(self.connections):
            connection.hurry()
        # The master kills what is left after graceful_timeout: what is cancelled is to have been by then.
        limit: float = self.cfg.graceful_timeout
        if self.over(max(limit - _CANCELLED, limit / 2)):
            return
        self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
        for goroutine in list(self.connections.values()):
            goroutine.cancel()
        self.over(_CANCELLED)

    def over(self, seconds: float) -> bool:
        """Wait until no connection is left, at most *seconds*."""
        waiting = go(self.requests.wait)
        if waiting.join(seconds):
            return True
        waiting.cancel()
        return False

    def beat(self) -> None:
        seconds = min(_BEAT, self.cfg.timeout / 4 or _BEAT)  # (a time-out of 0 is none)
        while True:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.stop()
            sleep(seconds)

    # -- connections ---------------------------------------------------------------------------------------------------

    def serve(self, listener: Any) -> None:
        """Accept connections for as long as there is room for one more.

        The listener stays non-blocking: it is shared with other workers, one of which may have been faster."""
        poll = select.poll()
        poll.register(listener.fileno(), select.POLLIN)
        while True:
            self.slots.acquire()
            try:
                client, address = self.accept(listener, poll)
            except BaseException:
                self.slots.release()
                raise
            self.requests.add(1)
            connection = _Connection(client, self.cfg.keepalive)
            goroutine = go(self.handle_connection, listener, connection, address)
            self.connections[connection] = goroutine
            gosched()

    def accept(self, listener: Any, poll: "select.poll") -> tuple[Any, Any]:
        while True:
            try:
                client, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                poll.poll()
            except OSError as e:  # out of descriptors: there will be some when connections end
                self.log.error("Cannot accept a connection: %s", e)
                sleep(0.1)
            else:
                return client, address

    def handle_connection(self, listener: Any, connection: _Connection, address: Any) -> None:
        client = connection.client
        _connection.set(connection)
        try:
            client.setblocking(True)
            util.close_on_exec(client)
            if self.context is not None:
                # In two steps: the first takes the descriptor away from the socket that we could hang up on.
                client = connection.client = self.wrapped(client)
                with connection:
                    client.do_handshake()
            self.handle(listener, client, address)
        except (OSError, Cancelled) as e:  # in the handshake: the rest is handle's
            self.log.debug("Closing connection. %s", e)
        finally:
            del self.connections[connection]
            util.close(client)
            self.slots.release()
            self.requests.done()

    def wrapped(self, client: Any) -> Any:
        assert self.context is not None
        return self.context.wrap_socket(
            client,
            server_side=True,
            suppress_ragged_eofs=self.cfg.suppress_ragged_eofs,
            do_handshake_on_connect=False,
        )

    def timeout_ctx(self) -> _Connection:
        """In which a request is waited for and read."""
        return _connection.get()

    def handle_request(self, *args: Any) -> Any:
        try:
            return super().handle_request(*args)
        except Cancelled:
            raise StopIteration from None  # the worker ends, and with it the connection
        finally:
            if not self.alive:
                self.stop()  # that was the last of max_requests, or the code has changed
