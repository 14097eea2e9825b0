"""close works in every state and from everywhere: it wakes whoever is blocked, frees the descriptor, and never waits for what
will not come."""

import _thread
import gc
import os
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import greenlet
import pytest

import gopark
from gopark import go, net
from gopark.net.conn import Conn
from gopark.poll.fd import FD
from gopark.runtime import lifecycle
from support import IS_COMPILED, eventually, goroutines, parked, python


def ended(g: gopark.Goroutine) -> BaseException | None:
    assert g.join(5), "still blocked"
    return g.exception


def is_open(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


@goroutines
def test_a_connection_whose_descriptor_was_closed_behind_its_back_closes_and_wakes() -> None:
    a, b = net.pipe()
    reader = parked(go(a.read))
    os.close(a.fileno())
    a.close()
    assert isinstance(ended(reader), net.ClosedError)
    a.close()
    assert a.fd.sysfd == -1
    b.close()


@goroutines
def test_the_unclosed_warning_as_an_error_does_not_keep_the_descriptor_open() -> None:
    a, b = net.pipe()
    fd = a.fileno()
    inode = os.fstat(fd).st_ino
    free = gopark.statistics().free_polldescs
    raised = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda u: raised.append(u.exc_type)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del a
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert raised == [ResourceWarning]
    assert not is_open(fd, inode)
    assert gopark.statistics().free_polldescs == free + 1
    b.close()


def test_the_unclosed_warning_as_an_error_is_told_once() -> None:
    done = python(
        """
        import warnings, gopark
        from gopark import net
        warnings.simplefilter("error")
        def main():
            a, b = net.pipe()
            b.close()
            del a
        gopark.run(main)
        """
    )
    assert done.stderr.count("ResourceWarning: unclosed") == 1, done.stderr


def test_a_descriptor_object_without_init_goes_in_silence() -> None:
    done = python("import gopark\nfrom gopark.poll.fd import FD\nFD.__new__(FD)\n")
    assert done.stderr == ""


@goroutines
def test_close_by_the_readers_own_callback_does_not_wait_for_itself() -> None:
    a, b = net.pipe()

    def closes(fd: int) -> bool:
        a.close()
        return True

    go(a.raw_read, closes).result(5)
    assert a.fd.sysfd == -1
    b.close()


@goroutines
def test_close_in_a_signal_handler_works_while_everybody_is_parked_and_nothing_is_left_of_it() -> None:
    a, b = net.pipe()
    listener = net.listen("tcp", "127.0.0.1:0")
    before = signal.signal(signal.SIGALRM, lambda *_: (a.close(), listener.close()))
    try:
        reader, accepter = go(a.read), go(listener.accept)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert isinstance(ended(reader), net.ClosedError)
        assert isinstance(ended(accepter), net.ClosedError)
        gopark.sleep(0.001)
        assert a.fd.sysfd == -1
    finally:
        signal.signal(signal.SIGALRM, before)
    b.close()


def test_a_connection_whose_reader_was_abandoned_can_be_closed_in_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "_CANCEL_GRACE", 0.05)
    monkeypatch.setattr(lifecycle, "_CANCEL_AGAIN", 0.01)
    conns: list[Conn] = []

    def stubborn(c: Conn) -> None:
        while True:
            try:
                c.read()
            except BaseException:
                pass

    def first() -> None:
        conns.extend(net.pipe())
        parked(go(stubborn, conns[0]))

    def second() -> None:
        reader = parked(go(conns[1].read))
        conns[0].close()
        assert conns[0].fd.sysfd == -1
        assert reader.result(5) == b""
        conns[1].close()

    with pytest.warns(RuntimeWarning, match="abandoned"):
        gopark.run(first)
    gopark.run(second)


class Struck(BaseException):
    pass


@pytest.mark.skipif(IS_COMPILED, reason="no Python code runs in a compiled close")
@goroutines
def test_an_exception_at_any_call_of_an_interpreted_close_still_closes() -> None:
    """A signal handler's, that is: the interpreter runs them where functions begin."""
    moment = 0
    struck = True
    while struck:
        moment += 1
        a, b = net.pipe()
        fd = a.fileno()
        inode = os.fstat(fd).st_ino
        reader = parked(go(a.read))
        struck = strike(a.fd.close, moment)
        if not a.fd.fdmu.closed:
            a.close()  # it had not begun
        assert isinstance(ended(reader), net.ClosedError), moment
        assert not is_open(fd, inode), moment
        b.close()


def strike(call: Callable[[], Any], moment: int) -> bool:
    """Run *call*, and raise Struck where its *moment*-th function of the poll folder begins; False: it has fewer."""
    left = moment
    mine = greenlet.getcurrent()

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if f"{os.sep}poll{os.sep}" in frame.f_code.co_filename and greenlet.getcurrent() is mine:
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise Struck

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Struck:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


def lingering() -> tuple[Conn, socket.socket]:
    """A connection that lingers 3 s in close(2), because its peer does not read."""
    server = socket.create_server(("127.0.0.1", 0))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    conn = net.dial("tcp", f"127.0.0.1:{server.getsockname()[1]}")
    peer, _ = server.accept()
    server.close()
    conn.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
    conn.set_write_deadline(gopark.time.now() + 0.05)
    with pytest.raises(net.DeadlineExceeded):
        conn.write(bytes(64 << 20))
    return conn, peer


@goroutines
def test_a_close_that_lingers_keeps_nobody_waiting() -> None:
    conn, peer = lingering()
    fd = conn.fileno()
    inode = os.fstat(fd).st_ino
    begun = time.monotonic()
    conn.close()
    gopark.sleep(0.001)
    assert time.monotonic() - begun < 1
    peer.close()  # resets it: close(2) returns
    eventually(lambda: not is_open(fd, inode))


@goroutines
def test_a_close_that_lingers_is_made_even_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    conn, peer = lingering()
    fd = conn.fileno()
    inode = os.fstat(fd).st_ino
    closer = threading.Timer(0.1, peer.close)
    closer.start()

    def none(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", none)
    conn.close()
    monkeypatch.undo()
    assert not is_open(fd, inode)


def test_a_descriptor_is_initialised_once() -> None:
    if IS_COMPILED:
        fd = FD(-1)
        with pytest.raises(RuntimeError, match="has a descriptor already"):
            FD.__init__(fd, 7)


def test_unclosed_connections_of_other_threads_and_of_no_run_are_closed_by_their_finalizers() -> None:
    python(
        """
        import gc, os, threading, warnings
        import gopark
        from gopark import net
        warnings.simplefilter("ignore")

        def dropped(box):
            box.clear()
            gc.collect()

        def main():
            box = list(net.pipe())
            fds = [c.fileno() for c in box]
            t = threading.Thread(target=dropped, args=(box,))
            t.start()
            while t.is_alive():
                gopark.sleep(0.001)
            gopark.sleep(0.001)
            for fd in fds:
                try:
                    os.fstat(fd)
                except OSError:
                    continue
                raise AssertionError(fd)
            left.extend(net.pipe())

        left = []
        gopark.run(main)
        fds = [c.fileno() for c in left]
        dropped(left)
        for fd in fds:
            try:
                os.fstat(fd)
            except OSError:
                continue
            raise AssertionError(fd)
        """
    )
