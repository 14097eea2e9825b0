"""An operation makes its system call first, parks only on EAGAIN, and then only itself."""

import threading

import gopark
from gopark import net


def test_read_and_write_that_need_not_wait_do_not_park(tcp_pair, eventually) -> None:
    """S2: FD.read and FD.write make the system call first."""
    a, b = tcp_pair()
    a.write(b"hello")
    b.wait_readable()
    parks = gopark.statistics().parks
    assert b.read() == b"hello"
    assert b.write(b"hello") == 5
    assert gopark.statistics().parks == parks


def test_read_that_must_wait_parks_in_the_poller(tcp_pair, blocked) -> None:
    """S2: only on EAGAIN does it wait on the PollDesc."""
    a, b = tcp_pair()
    waiting = gopark.statistics().netpoll_waiters
    g = blocked(b.read)
    assert gopark.statistics().netpoll_waiters == waiting + 1
    a.write(b"late")
    assert g.result(10) == b"late"
    assert gopark.statistics().netpoll_waiters == waiting


def test_a_blocked_read_leaves_the_thread_to_the_others(blocked) -> None:
    """S4: the caller's code reads as blocking, and the one thread that there is goes on."""
    a, b = net.pipe()
    log: list[object] = []

    def reader() -> None:
        log.append(threading.get_ident())
        log.append(b.read())
        log.append(threading.get_ident())

    g = blocked(reader)
    log.append("others ran")
    a.write(b"now")
    g.result(10)
    here = threading.get_ident()
    assert log == [here, "others ran", b"now", here]
    a.close()
    b.close()
