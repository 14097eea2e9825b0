"""The contract for other OS threads (docs/runtime.md, "Other threads"): what is handed over, refused, or just works."""

import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import gopark
from gopark import go, net, sync
from gopark.net.conn import Conn
from support import eventually, parked, python


def in_thread(call: Callable[[], Any]) -> Any:
    """What *call* returned, or raised, on a thread; the goroutines go on meanwhile."""
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.append(call())
        except BaseException as e:
            outcome.append(e)

    t = threading.Thread(target=body)
    t.start()
    while t.is_alive():
        gopark.sleep(0.001)
    return outcome[0]


def ended(g: gopark.Goroutine) -> BaseException | None:
    assert g.join(5), "still blocked"
    return g.exception


def test_close_by_a_thread_wakes_who_is_blocked_and_frees_the_descriptor() -> None:
    a, b = net.pipe()
    inode = os.fstat(a.fileno()).st_ino
    fd = a.fileno()
    reader = parked(go(a.read))
    waiter = parked(go(a.read))  # for the read lock
    assert in_thread(a.close) is None
    assert isinstance(ended(reader), net.ClosedError)
    assert isinstance(ended(waiter), net.ClosedError)

    def gone() -> bool:
        try:
            return os.fstat(fd).st_ino != inode
        except OSError:
            return True

    eventually(gone)
    assert in_thread(a.close) is None, "closing twice does nothing"
    b.close()


def test_close_of_a_listener_by_a_thread_ends_its_accept_loop() -> None:
    """The thread acts while all goroutines are parked and no timer is set: it must wake the poller."""
    listener = net.listen("tcp", "127.0.0.1:0")
    threading.Timer(0.05, listener.close).start()
    assert list(listener) == []


def test_close_does_not_wait_for_a_runtime_that_waits_for_its_thread() -> None:
    python(
        """
        import threading
        import gopark
        from gopark import net, go

        def main():
            a, b = net.pipe()
            reader = go(a.read)
            gopark.sleep(0.01)
            t = threading.Thread(target=a.close)
            t.start()
            t.join()  # blocks the thread that the goroutines run on
            try:
                b.write(b"x")
                a.read()
            except net.ClosedError:  # no operation begins any more
                pass
            else:
                raise AssertionError
            assert reader.join(5) and isinstance(reader.exception, net.ClosedError), reader

        gopark.run(main)
        """
    )


@pytest.mark.parametrize("name", ["set_deadline", "set_read_deadline"])
@pytest.mark.parametrize("delay", [-1.0, 0.02])
def test_a_threads_read_deadline_wakes_the_blocked_reader_in_time(name: str, delay: float) -> None:
    """Nothing else wakes the poller: the main goroutine is the reader."""
    a, b = net.pipe()
    due: list[float] = []

    def set_it() -> None:
        due.append(gopark.time.now() + max(delay, 0))
        getattr(a, name)(gopark.time.now() + delay)

    for _ in range(5):
        threading.Timer(0.005, set_it).start()
        with pytest.raises(net.DeadlineExceeded):
            a.read()
        assert gopark.time.now() - due.pop() < 0.7  # whoever only looks once a second comes later
        a.set_deadline(None)
    a.close()
    b.close()


def test_a_threads_write_deadline_wakes_the_blocked_writer_and_none_clears_it() -> None:
    a, b = net.pipe()
    writer = parked(go(a.write, bytes(8 << 20)))
    assert in_thread(lambda: a.set_write_deadline(gopark.time.now() + 0.02)) is None
    assert isinstance(ended(writer), net.DeadlineExceeded)
    assert in_thread(lambda: a.set_write_deadline(None)) is None
    gopark.sleep(0.001)
    reader = go(b.read_exactly, 100)
    assert len(reader.result(5)) == 100
    a.close()
    b.close()


def test_deadlines_of_a_thread_take_effect_in_its_order() -> None:
    a, b = net.pipe()

    def several() -> None:
        for _ in range(100):
            a.set_deadline(0)
            a.set_deadline(None)

    assert in_thread(several) is None
    gopark.sleep(0.001)
    b.write(b"x")
    assert a.read() == b"x"
    a.close()
    b.close()


def test_set_timeout_by_a_thread_counts_for_the_next_call() -> None:
    a, b = net.pipe()
    assert in_thread(lambda: a.set_timeout(0.02)) is None
    with pytest.raises(net.DeadlineExceeded):
        a.read()
    assert in_thread(lambda: a.set_timeout(None)) is None
    gopark.sleep(0.001)
    b.write(b"x")
    assert a.read() == b"x"
    a.close()
    b.close()


def test_a_deadline_handed_over_for_a_connection_that_is_closed_first_hits_nobody_else() -> None:
    a, b = net.pipe()

    def late() -> None:
        a.set_deadline(0)

    t = threading.Thread(target=late)
    t.start()
    t.join()  # handed over, not done: nothing has been scheduled since
    a.close()
    c, d = net.pipe()  # may have its poll descriptor
    d.write(b"x")
    gopark.sleep(0.001)
    assert c.read() == b"x"
    for each in (b, c, d):
        each.close()


def test_close_read_and_close_write_work_on_a_thread() -> None:
    a, b = net.pipe()
    reader = parked(go(a.read))
    assert in_thread(a.close_read) is None
    assert reader.result(5) == b""
    assert in_thread(a.close_write) is None
    assert b.read() == b""
    a.close()
    b.close()


REFUSED: dict[str, Callable[[Conn], Any]] = {
    "read": lambda c: c.read(),
    "read of nothing": lambda c: c.read(0),
    "read_into": lambda c: c.read_into(bytearray(3)),
    "read_exactly": lambda c: c.read_exactly(1),
    "wait_readable": lambda c: c.wait_readable(),
    "raw_read": lambda c: c.raw_read(lambda fd: True),
    "write": lambda c: c.write(b"no"),
    "write of a view": lambda c: c.write(bytearray(b"no")),
    "writev": lambda c: c.writev([b"no", b"no"]),
    "raw_write": lambda c: c.raw_write(lambda fd: True),
    "send_file": lambda c: c.send_file(Path(__file__).open("rb")),
}


@pytest.mark.parametrize("timeout", [None, 0.05])
@pytest.mark.parametrize("name", REFUSED)
def test_what_may_park_is_refused_on_a_thread_before_any_effect(name: str, timeout: float | None) -> None:
    a, b = net.pipe()
    a.set_timeout(timeout)
    b.write(b"x")  # the edge has come; a refused read must not take it, nor the byte
    gopark.sleep(0.001)
    state = a.fd.pd.state()
    error = in_thread(lambda: REFUSED[name](a))
    assert type(error) is RuntimeError
    assert "gopark runs on another thread" in str(error)
    assert a.fd.pd.state() == state
    assert a.fd.fdmu.state == 0
    assert (a.fd.pd.rd, a.fd.pd.wd) == (0, 0), "a deadline was set"
    assert a.read() == b"x"
    b.set_read_deadline(0)
    with pytest.raises(net.DeadlineExceeded):
        b.read()
    a.close()
    b.close()


def test_accept_and_dial_are_refused_on_a_thread_before_any_effect() -> None:
    listener = net.listen("tcp", "127.0.0.1:0")
    address = f"127.0.0.1:{listener.addr[1]}"
    with socket.create_connection(listener.addr) as client:
        assert type(in_thread(listener.accept)) is RuntimeError
        accepted = listener.accept()
        assert accepted.remote_addr == client.getsockname()
        accepted.close()
    descriptors = len(os.listdir("/proc/self/fd"))
    assert type(in_thread(lambda: net.dial("tcp", address))) is RuntimeError
    assert len(os.listdir("/proc/self/fd")) == descriptors
    listener.set_deadline(0)
    with pytest.raises(net.DeadlineExceeded):
        listener.accept()
    listener.close()


def test_go_cancel_and_channel_operations_that_do_not_wait_are_done_at_once() -> None:
    ch: gopark.Chan[int] = gopark.Chan(2)
    sleeper = parked(go(gopark.sleep, 100))

    def several() -> tuple[gopark.Goroutine, int]:
        ch.send(1)
        assert ch.try_send(2) and not ch.try_send(3)
        sleeper.cancel()
        return go(threading.get_ident), ch.recv()

    started, received = in_thread(several)
    assert started.result(5) == threading.get_ident(), "goroutines run on the P"
    assert received == 1 and ch.recv() == 2
    assert isinstance(ended(sleeper), gopark.Cancelled)


def test_join_result_channels_and_locks_block_the_thread_alone() -> None:
    ch: gopark.Chan[str] = gopark.Chan()
    mutex = sync.Mutex()
    mutex.lock()
    g = go(lambda: gopark.sleep(0.01) or "result")
    blocked: list[str] = []

    def several() -> tuple[bool, Any, str]:
        joined, result = g.join(), g.result()
        blocked.append("channel")
        received = ch.recv()
        blocked.append("lock")
        with mutex:
            return joined, result, received

    outcome = go(in_thread, several)
    eventually(lambda: blocked == ["channel"])
    ch.send("received")
    eventually(lambda: blocked == ["channel", "lock"])
    gopark.sleep(0.005)
    assert not outcome.done, "the lock did not hold"
    mutex.unlock()
    assert outcome.result(5) == (True, "result", "received")


def test_listen_from_socket_pipe_and_lookup_host_are_done_at_once() -> None:
    def several() -> tuple[net.Listener, net.Conn, tuple[net.Conn, net.Conn]]:
        assert net.lookup_host("127.0.0.1") == ["127.0.0.1"]
        assert "127.0.0.1" in net.lookup_host("localhost")
        listener = net.listen("tcp", "127.0.0.1:0")
        return listener, net.from_socket(socket.create_connection(listener.addr)), net.pipe()

    listener, conn, (a, b) = in_thread(several)
    accepted = listener.accept()
    conn.write(b"x")
    a.write(b"y")
    assert accepted.read() == b"x" and b.read() == b"y"
    for each in (listener, conn, accepted, a, b):
        each.close()


@pytest.mark.parametrize("call", [gopark.gosched, partial(gopark.sleep, 0), partial(gopark.sleep, 1)])
def test_sleep_and_gosched_are_refused_on_a_thread(call: Callable[[], object]) -> None:
    before = gopark.statistics().timers
    error = in_thread(call)
    assert type(error) is RuntimeError and "gopark runs on another thread" in str(error)
    assert gopark.statistics().timers <= before + 1, "a timer was left"  # in_thread's own


def test_names_and_options_just_work_on_a_thread() -> None:
    a, b = net.pipe()
    assert in_thread(lambda: (a.local_addr, a.remote_addr, a.fileno() >= 0)) == ("", "", True)
    assert in_thread(lambda: a.set_option(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)) is None
    assert in_thread(lambda: repr(a)).startswith("<gopark.net.Conn <fd=")
    a.close()
    b.close()


def test_close_and_deadlines_work_on_every_thread_while_gopark_does_not_run() -> None:
    python(
        """
        import threading
        import gopark
        from gopark import net

        kept, errors = [], []

        def main():
            kept.extend(net.pipe())
            kept.append(net.listen("tcp", "127.0.0.1:0"))

        gopark.run(main)
        a, b, listener = kept

        def other():
            try:
                a.set_deadline(gopark.time.now() + 60)
                a.set_timeout(5)
                a.set_timeout(None)
                a.close_write()
                listener.set_deadline(0)
                listener.close()
                a.close()
            except BaseException as e:
                errors.append(e)

        t = threading.Thread(target=other)
        t.start()
        t.join()
        assert errors == [], errors
        assert a.fd.sysfd == -1
        assert gopark.run(b.read) == b""
        b.close()
        """
    )


def test_many_closes_and_deadlines_by_threads_beside_the_runtimes_own_leave_nothing() -> None:
    """Threads switch all the time: the interpreted core's heap and lists must not be touched by two."""
    import sys

    before = gopark.statistics().timers
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        pairs = [net.pipe() for _ in range(150)]
        keep = [net.pipe() for _ in range(10)]

        def closer(mine: list[tuple[Conn, Conn]]) -> None:
            for pair in mine:
                for c in pair:
                    c.set_deadline(gopark.time.now() + 30)
                for c in pair:
                    c.close()

        threads = [threading.Thread(target=closer, args=(pairs[i::2],)) for i in range(2)]
        for a, b in pairs:
            a.set_read_deadline(gopark.time.now() + 20)
            b.set_deadline(gopark.time.now() + 25)
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            for a, _ in keep:
                a.set_read_deadline(gopark.time.now() + 5)
            gopark.sleep(1e-4)
        eventually(lambda: all(c.fd.sysfd == -1 for pair in pairs for c in pair))
        for a, b in keep:
            a.close()
            b.close()
        eventually(lambda: gopark.statistics().timers <= before)
    finally:
        sys.setswitchinterval(interval)
