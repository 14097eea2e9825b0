"""The debug socket: what `gopark dump PID` and `gopark ps PID` talk to.

A thread answers, so that a process whose main thread is busy or stuck still does; it needs the GIL, nothing
else.  For a process whose GIL is never released there is faulthandler: a real-time signal makes it write
every thread's traceback to PID.trace, from the signal handler, in C.

The thread is started below the threading module, which never hears of it: nothing waits for it at exit, and
to the deadlock detector it is nobody who could wake somebody.  It must not call threading.current_thread(),
which would enter it there.  It blocks every signal: those are the main thread's.  No code of the program's runs on it,
which could wait for a lock that the program will never release, and that is why one looks.

A conversation: the client sends a word, the server "gopark\\n" at once (so that the client knows that the GIL
is to be had), then the answer's length in bytes, a newline, and the answer.  Several go on at a time, each as fast as
its client; whoever keeps the server waiting is dropped."""

import _socket
import _thread
import contextlib
import errno
import faulthandler
import json
import os
import select
import signal
import struct
from _thread import LockType
from collections.abc import Iterator
from itertools import chain
from time import monotonic, sleep
from types import FrameType

from gopark.runtime import _sys, debug, debug_files, output, stats

VARIABLE = "GOPARK_DEBUG_SOCKET"  # 0: none
GREETING = b"gopark\n"
TRACE_SIGNAL = int(signal.SIGRTMAX) - 3
_PATIENCE = 5.0  # s that a client may keep us waiting
_MOST = 16  # conversations at a time; who comes then waits for the end of one
_PAUSE = 0.1  # s until a connection that could not be accepted is tried again
_TURN = 0.02  # s of work at one answer, before the others are looked at
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Server:
    """One debug socket, from start to stop."""

    def __init__(self) -> None:
        """An Exception (OSError, RuntimeError if there can be no more threads) if there can be none."""
        self.pid = os.getpid()
        self.trace = -1  # the file that faulthandler writes to
        self.dirfd = -1
        # Held back for the moment when the program has used up all descriptors, and one would like to know on what.
        self.spare = -1
        self.stem = ""  # of its files' names
        self.sock: _socket.socket | None = None
        self.ended = _thread.allocate_lock()  # held while the thread runs
        try:
            self.dirfd = debug_files.make_directory(os.environ.get("XDG_RUNTIME_DIR"))
            self.sock = self.listen()
            # Here, not in the thread: a listing takes a descriptor for a moment, and the program's own numbers should not
            # depend on when another thread runs.
            debug_files.remove_stale(self.dirfd, self.stem)
            self.open_trace()
            self.hold_back()
            begun = _thread.allocate_lock()
            begun.acquire()
            self.ended.acquire()
            try:
                _thread.start_new_thread(self.serve, (self.sock, begun))
            except BaseException:
                self.ended.release()
                raise
            begun.acquire()  # until then it looks like a thread of the program's, which could wake somebody
        except BaseException:
            self.stop()
            raise

    def listen(self) -> _socket.socket:
        sock = debug_files.unix_socket()
        # Seen under its name only when it listens: before that it looks like what a dead process has left behind.
        space = debug_files.namespace()
        making = f"{self.pid}-{space}.new"
        try:
            debug_files.unlink(self.dirfd, making)
            sock.bind(debug_files.within(self.dirfd, making))
            sock.listen(8)
            for stem in debug_files.stems(self.pid, space):
                self.stem = stem
                if not debug_files.answers(self.dirfd, stem):
                    break
            # The number was another process's once: what lies there under the name is stale.
            os.rename(making, f"{self.stem}.sock", src_dir_fd=self.dirfd, dst_dir_fd=self.dirfd)
        except BaseException:
            self.stem = ""
            debug_files.unlink(self.dirfd, making)
            sock.close()
            raise
        return sock

    def path(self) -> str:
        try:
            directory = os.readlink(debug_files.within(self.dirfd, "").rstrip("/"))
        except OSError:
            directory = "?"
        return f"{directory}/{self.stem}.sock"

    def open_trace(self) -> None:
        if signal.getsignal(TRACE_SIGNAL) is not signal.SIG_DFL:
            return
        debug_files.unlink(self.dirfd, f"{self.stem}.trace")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = debug_files.above_standard(os.open(f"{self.stem}.trace", flags, 0o600, dir_fd=self.dirfd))
        try:
            os.write(fd, f"{TRACE_SIGNAL}\n".encode())
            faulthandler.register(TRACE_SIGNAL, fd, all_threads=True, chain=False)
        except BaseException:
            os.close(fd)
            raise
        self.trace = fd

    def hold_back(self) -> None:
        try:
            if self.spare < 0:
                self.spare = debug_files.above_standard(os.dup(self.dirfd))
        except OSError:
            pass  # when there is one again

    # -- the end ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """No more answers, and nothing left behind."""
        self.remove()
        if self.sock is not None:
            patience = _PATIENCE
            try:
                self.sock.shutdown(_socket.SHUT_RDWR)
            except OSError:
                patience = 0.0  # the program has closed the descriptor: the thread will never hear of it
            # The thread must have left the descriptor before it is closed, or it could come upon its successor.
            if self.ended.acquire(timeout=patience):
                self.ended.release()
            else:
                self.sock, self.spare = None, -1  # it closes the one when it comes to it
        self.forget()

    def remove(self) -> None:
        """Remove the files."""
        if self.stem:
            debug_files.unlink(self.dirfd, f"{self.stem}.sock")
            debug_files.unlink(self.dirfd, f"{self.stem}.trace")

    def forget(self) -> None:
        """Close what is this process's own: all that a forked child may do with its parent's."""
        if self.sock is not None:
            with contextlib.suppress(OSError):  # it is closed all the same
                self.sock.close()
        trace, self.trace = self.trace, -1
        if trace >= 0:
            faulthandler.unregister(TRACE_SIGNAL)
        spare, self.spare = self.spare, -1
        dirfd, self.dirfd = self.dirfd, -1
        for fd in (trace, spare, dirfd):
            if fd >= 0:
                _sys.close(fd)

    # -- the thread ------------------------------------------------------------------------------------------

    def serve(self, sock: _socket.socket, begun: LockType) -> None:
        try:
            begun.release()
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            talks: list[Talk] = []
            pause = 0.0  # until when no connection is accepted
            while True:
                try:
                    pause = self.turn(sock, talks, pause)
                except _Stopped:
                    break
                except Exception:
                    sleep(_PAUSE)  # no memory: perhaps later
            for talk in talks:
                talk.conn.close()
        finally:
            sock.close()
            self.ended.release()

    def turn(self, sock: _socket.socket, talks: "list[Talk]", pause: float) -> float:
        """Wait until something can be done, and do it.  Returns until when no connection is to be accepted."""
        now = monotonic()
        accepting = len(talks) < _MOST and now >= pause
        ready = select.poll()
        # poll, then accept: an accept that blocks has a descriptor number reserved, and a program's dup2 to that very number
        # would fail with EBUSY.  (The end of the listener is reported also if nothing is asked for.)
        ready.register(sock, select.POLLIN if accepting else 0)
        until = [pause] if now < pause else []
        for talk in talks:
            ready.register(talk.conn, talk.wants())
            until.append(now if talk.work is not None else talk.until)
        events = dict(ready.poll(max(0.0, min(until) - now) * 1000 if until else None))
        listener = events.pop(sock.fileno(), 0)
        if listener & ~select.POLLIN:
            raise _Stopped
        now = monotonic()
        for talk in talks[:]:
            try:
                talk.go_on(events.get(talk.conn.fileno(), 0))
                over = talk.over or now > talk.until
            except Exception:
                over = True  # the client has gone, or is none of ours
            if over:
                talks.remove(talk)
                talk.conn.close()
                self.hold_back()
        if listener:
            conn = self.accept(sock)
            if conn is None:
                return now + _PAUSE
            talks.append(Talk(conn))
        return pause

    def accept(self, sock: _socket.socket) -> _socket.socket | None:
        """The next client; None if there is none, or no descriptor for it."""
        for _ in range(2):
            try:
                fd, _ = sock._accept()  # type: ignore[attr-defined]
                return _socket.socket(fileno=debug_files.above_standard(fd))
            except OSError as e:
                if e.errno not in _EXHAUSTED or self.spare < 0:
                    return None  # or it has given up
                spare, self.spare = self.spare, -1
                os.close(spare)
        return None


class _Stopped(Exception):
    """The listener has been shut down."""


class Talk:
    """One conversation."""

    def __init__(self, conn: _socket.socket) -> None:
        conn.setblocking(False)
        self.conn = conn
        self.until = monotonic() + _PATIENCE  # then it is dropped
        self.heard = False
        self.work: Iterator[bytes] | None = None  # the answer in the making
        self.made: list[bytes] = []  # what there is of it
        self.rest = memoryview(b"")  # what is still to be sent
        self.over = False

    def wants(self) -> int:
        if not self.heard:
            return select.POLLIN
        return select.POLLOUT if self.work is None else 0

    def go_on(self, events: int) -> None:
        """Whatever can be done without waiting.  Raises whatever, if that is the end."""
        if events and not self.heard:
            self.hear()
        elif self.work is not None:
            if events:  # it has hung up
                self.over = True
            self.make(self.work)
        elif events:
            self.rest = self.rest[self.conn.send(self.rest, _socket.MSG_NOSIGNAL) :]
            self.until = monotonic() + _PATIENCE
            self.over = not self.rest

    def hear(self) -> None:
        # A process of this user, or of root.
        _, uid, _ = struct.unpack("iII", self.conn.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        word = self.conn.recv(64).strip()
        if not word or uid not in (os.geteuid(), 0):
            self.over = True
            return
        self.heard = True
        self.conn.send(GREETING, _socket.MSG_NOSIGNAL)
        self.work = answer(word)

    def make(self, work: Iterator[bytes]) -> None:
        """Some more of the answer: dumps of many goroutines take long, beside a busy program."""
        end = monotonic() + _TURN
        for part in work:
            self.made.append(part)
            if monotonic() > end:
                break
        else:
            body = b"".join(self.made)
            self.rest = memoryview(b"%d\n%b" % (len(body), body))
            self.made = []
            self.work = None
        self.until = monotonic() + _PATIENCE


def answer(word: bytes) -> Iterator[bytes]:
    """The answer to a word, in parts."""
    if word == b"dump":
        return (part.encode(errors="backslashreplace") for part in chain(debug.parts(), stats.parts()))
    if word == b"ps":
        return _json_list(map(debug.as_dict, debug.snapshots()))
    if word == b"stats":
        return iter([json.dumps(stats.as_dict()).encode()])
    return iter([f"unknown request: {output.printable(word.decode(errors='replace'))}\n".encode()])


def _json_list(items: Iterator[object]) -> Iterator[bytes]:
    before = "["
    for item in items:
        yield (before + json.dumps(item)).encode()
        before = ","
    yield b"[]" if before == "[" else b"]"


# -- the one of this process ---------------------------------------------------------------------------------

_server: Server | None = None
_said = False
failure: Exception | None = None  # why there is none, although it was asked for


def start() -> None:
    """Open the debug socket.  Without one everything else works, so a failure is only remembered, for statistics.

    But that somebody else has taken the directory's name is said: it may be meant to keep this process from view, or
    to see what it leaves there."""
    global _server, failure, _said
    if _server is not None or os.environ.get(VARIABLE) == "0":
        return
    try:
        _server = Server()
        failure = None
        debug_files.where = output.printable(_server.path())
    except Exception as e:
        failure = e
        debug_files.where = output.printable(f"none: {e}")
        if isinstance(e, debug_files.NotPrivate) and not _said:
            _said = True
            output.write(
                2,
                f"gopark: `gopark ps` and `gopark dump` cannot look into process {os.getpid()}: {output.printable(str(e))}"
                f" ({VARIABLE}=0: do not try)\n",
            )


def stop() -> None:
    """Close it and remove its files."""
    global _server
    if _server is not None:
        _server.stop()  # may be called again, if a signal handler raises in it
        _server = None
    debug_files.where = "none"


def remove() -> None:
    """The process is about to end without stop: remove the files."""
    if _server is not None and _server.pid == os.getpid():
        _server.remove()


def forked() -> None:
    """In a forked child: the socket is the parent's."""
    global _server
    server, _server = _server, None
    debug_files.where = "none"
    if server is not None:
        server.forget()


def serves(frame: FrameType) -> bool:
    """Is *frame* the top one of a debug socket's thread?

    Known by its code rather than by its ident: an ident is another thread's as soon as a thread has ended."""
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code is Server.serve.__code__
