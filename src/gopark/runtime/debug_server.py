"""The debug socket: what `gopark dump PID` and `gopark ps PID` talk to.

A thread answers, so that a process whose main thread is busy or stuck still does; it needs the GIL, nothing
else.  For a process whose GIL is never released there is faulthandler: a real-time signal makes it write
every thread's traceback to PID.trace, from the signal handler, in C.

The thread is started below the threading module, which never hears of it: nothing waits for it at exit, and
to the deadlock detector it is nobody who could wake somebody.  It must not call threading.current_thread(),
which would enter it there.  It blocks every signal: those are the main thread's.

A conversation: the client sends a word, the server "gopark\\n" at once (so that the client knows that the GIL
is to be had), then the answer's length in bytes, a newline, and the answer."""

import _socket
import _thread
import faulthandler
import json
import os
import re
import select
import signal
import struct
from _thread import LockType
from dataclasses import asdict
from types import FrameType

from gopark.runtime import debug, debug_files

VARIABLE = "GOPARK_DEBUG_SOCKET"  # 0: none
GREETING = b"gopark\n"
TRACE_SIGNAL = int(signal.SIGRTMAX) - 3
_PATIENCE = 5.0  # s that a client may keep the thread waiting


class Server:
    """One debug socket, from start to stop."""

    def __init__(self) -> None:
        """OSError if there can be none."""
        self.pid = os.getpid()
        self.trace: int | None = None  # the file that faulthandler writes to
        self.dirfd = debug_files.make_directory(os.environ.get("XDG_RUNTIME_DIR"))
        try:
            self.sock = self.listen()
            try:
                # Here, not in the thread: a listing takes a descriptor for a moment, and the program's own numbers should not
                # depend on when another thread runs.
                remove_stale(self.dirfd, self.pid)
                self.open_trace()
                begun = _thread.allocate_lock()
                begun.acquire()
                _thread.start_new_thread(self.serve, (begun,))
                begun.acquire()  # until then it looks like a thread of the program's, which could wake somebody
            except BaseException:
                self.close()
                raise
        except BaseException:
            os.close(self.dirfd)
            raise

    def listen(self) -> _socket.socket:
        # The number was another process's once: what lies there is stale.
        _unlink(self.dirfd, f"{self.pid}.sock")
        # Not socket.socket, which may have been replaced by one that parks, and heeds setdefaulttimeout.
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(None)
            sock.bind(debug_files.within(self.dirfd, f"{self.pid}.sock"))
            sock.listen(8)
        except BaseException:
            sock.close()
            raise
        return sock

    def open_trace(self) -> None:
        if signal.getsignal(TRACE_SIGNAL) is not signal.SIG_DFL:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self.trace = os.open(f"{self.pid}.trace", flags, 0o600, dir_fd=self.dirfd)
        os.write(self.trace, f"{TRACE_SIGNAL}\n".encode())
        faulthandler.register(TRACE_SIGNAL, self.trace, all_threads=True, chain=False)

    def stop(self) -> None:
        """No more answers, and nothing left behind."""
        self.remove()
        self.close()
        os.close(self.dirfd)

    def remove(self) -> None:
        _unlink(self.dirfd, f"{self.pid}.sock")
        _unlink(self.dirfd, f"{self.pid}.trace")

    def close(self) -> None:
        try:
            self.sock.shutdown(_socket.SHUT_RDWR)  # accept returns; close alone would leave the thread in it
        except OSError:
            pass
        self.forget()

    def forget(self) -> None:
        """Close what is this process's own: all that a forked child may do with its parent's."""
        self.sock.close()
        if self.trace is not None:
            faulthandler.unregister(TRACE_SIGNAL)
            os.close(self.trace)
            self.trace = None

    # -- the thread ------------------------------------------------------------------------------------------

    def serve(self, begun: LockType) -> None:
        begun.release()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        # poll, then accept: an accept that blocks has a descriptor number reserved, and a program's dup2 to that very number
        # would fail with EBUSY.
        ready = select.poll()
        try:
            self.sock.setblocking(False)
            ready.register(self.sock.fileno(), select.POLLIN)
        except (OSError, ValueError):
            return  # stopped before it began
        while True:
            try:
                ready.poll()
                fd, _ = self.sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                continue  # the client has given up
            except OSError:
                return  # stopped
            conn = _socket.socket(fileno=fd)
            try:
                answer(conn)
            except Exception:
                pass  # the client has gone, or is none of ours
            finally:
                conn.close()


def answer(conn: _socket.socket) -> None:
    """Serve one client: a process of this user, or of root."""
    conn.settimeout(_PATIENCE)
    _, uid, _ = struct.unpack("3i", conn.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    if uid not in (os.geteuid(), 0):
        return
    word = conn.recv(64).strip()
    conn.sendall(GREETING)
    if word == b"dump":
        body = debug.stack()
    elif word == b"ps":
        body = json.dumps([asdict(seen) for seen in debug.snapshots()])
    else:
        body = f"unknown request: {word.decode(errors='replace')}\n"
    data = body.encode(errors="backslashreplace")
    conn.sendall(b"%d\n" % len(data))
    conn.sendall(data)


def _unlink(dirfd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=dirfd)
    except OSError:
        pass


def remove_stale(dirfd: int, mine: int) -> None:
    """Remove the files of processes that are no more."""
    try:
        names = os.listdir(dirfd)
    except OSError:
        return
    for name in names:
        match = re.fullmatch(r"(\d+)\.(sock|trace)", name)
        if match is None or int(match[1]) == mine:
            continue
        try:
            os.kill(int(match[1]), 0)
        except ProcessLookupError:
            _unlink(dirfd, name)
        except (OSError, OverflowError):
            pass


# -- the one of this process ---------------------------------------------------------------------------------

_server: Server | None = None
failure: OSError | None = None  # why there is none, although it was asked for


def start() -> None:
    """Open the debug socket.  Without one everything else works, so a failure is only remembered."""
    global _server, failure
    if _server is not None or os.environ.get(VARIABLE) == "0":
        return
    try:
        _server = Server()
        failure = None
    except OSError as e:
        failure = e


def stop() -> None:
    """Close it and remove its files."""
    global _server
    server, _server = _server, None
    if server is not None:
        server.stop()


def remove() -> None:
    """The process is about to end without stop: remove the files."""
    if _server is not None and _server.pid == os.getpid():
        _server.remove()


def forked() -> None:
    """In a forked child: the socket is the parent's."""
    global _server
    server, _server = _server, None
    if server is not None:
        server.forget()
        os.close(server.dirfd)


def serves(frame: FrameType) -> bool:
    """Is *frame* the top one of a debug socket's thread?

    Known by its code rather than by its ident: an ident is another thread's as soon as a thread has ended."""
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code is Server.serve.__code__
