"""gopark.runtime.epoll, the direct binding: every call and every flag, without the scheduler."""

import errno
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from gopark.runtime import epoll, proc
from support import IS_COMPILED, python

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ep() -> Iterator[int]:
    fd = epoll.epoll_create1(epoll.EPOLL_CLOEXEC)
    yield fd
    epoll.close(fd)
    assert proc.getp().thread == 0, "the binding started the scheduler"


@pytest.fixture
def pair() -> Iterator[Pair]:
    a, b = socket.socketpair()
    a.setblocking(False)
    yield a, b
    a.close()
    b.close()


def add(ep: int, sock: socket.socket, events: int, data: int = 0) -> None:
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, sock.fileno(), events, data)


def poll(ep: int, maxevents: int = 8) -> list[tuple[int, int]]:
    return epoll.epoll_wait(ep, maxevents, 0)


def test_create_ignores_size_but_wants_it_positive() -> None:
    """E1: epoll_create(size) and epoll_create1(flags)."""
    for size in (1, 10**9):
        fd = epoll.epoll_create(size)
        assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventpoll]"
        assert os.get_inheritable(fd)
        epoll.close(fd)
    for size in (0, -1):
        with pytest.raises(OSError, match="epoll_create: invalid argument"):
            epoll.epoll_create(size)
    for flags, inheritable in ((0, True), (epoll.EPOLL_CLOEXEC, False)):
        fd = epoll.epoll_create1(flags)
        assert os.get_inheritable(fd) is inheritable
        epoll.close(fd)


@pytest.mark.skipif(not IS_COMPILED, reason="Python's select.epoll takes no flags")
def test_create1_refuses_unknown_flags() -> None:
    with pytest.raises(OSError, match="epoll_create1: invalid argument"):
        epoll.epoll_create1(1)


def test_add_modify_delete(ep: int, pair: Pair) -> None:
    """E2, E5: ctl's three operations, and what wait reports."""
    a, b = pair
    add(ep, a, epoll.EPOLLIN, 7)
    assert poll(ep) == []
    b.send(b"x")
    assert poll(ep) == [(epoll.EPOLLIN, 7)]
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_MOD, a.fileno(), epoll.EPOLLIN | epoll.EPOLLOUT, 8)
    assert poll(ep) == [(epoll.EPOLLIN | epoll.EPOLLOUT, 8)]
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_DEL, a.fileno())
    assert poll(ep) == []


def test_ctl_errors_are_the_systems(ep: int, pair: Pair) -> None:
    a, _ = pair
    add(ep, a, epoll.EPOLLIN)
    with pytest.raises(FileExistsError, match="epoll_ctl"):
        add(ep, a, epoll.EPOLLIN)
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_DEL, a.fileno())
    for op in (epoll.EPOLL_CTL_MOD, epoll.EPOLL_CTL_DEL):
        with pytest.raises(FileNotFoundError):
            epoll.epoll_ctl(ep, op, a.fileno(), epoll.EPOLLIN)
    with tempfile.TemporaryFile() as f, pytest.raises(PermissionError):
        epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, f.fileno(), epoll.EPOLLIN)
    for epfd, fd in ((ep, 1 << 20), (1 << 20, a.fileno())):
        with pytest.raises(OSError, match="bad file descriptor") as e:
            epoll.epoll_ctl(epfd, epoll.EPOLL_CTL_ADD, fd, epoll.EPOLLIN)
        assert e.value.errno == errno.EBADF
    with pytest.raises(OSError, match="invalid argument"):
        epoll.epoll_ctl(ep, 99, a.fileno(), epoll.EPOLLIN)
    with pytest.raises(OSError, match="bad file descriptor"):
        epoll.epoll_wait(1 << 20, 1, 0)


def test_wrong_arguments_name_themselves(ep: int) -> None:
    with pytest.raises(TypeError, match="fd must be an int"):
        epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, "0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="data must be from 0"):
        epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, 0, 0, 1 << 64)
    with pytest.raises(ValueError, match="events must be from 0"):
        epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, 0, 1 << 32)
    with pytest.raises(TypeError, match="timeout"):
        epoll.epoll_wait(ep, 1, "soon")  # type: ignore[arg-type]
    for maxevents in (0, -1):
        with pytest.raises(OSError, match="invalid argument"):
            epoll.epoll_wait(ep, maxevents, 0)


@pytest.mark.parametrize("data", [0, 1, 1 << 31, 1 << 40, (1 << 63) + 5, (1 << 64) - 1])
def test_data_is_64_bits_of_the_users_choice(ep: int, pair: Pair, data: int) -> None:
    """E4: what epoll_ctl was given comes back with each event, whichever call waits."""
    add(ep, pair[0], epoll.EPOLLOUT, data)
    assert poll(ep) == [(epoll.EPOLLOUT, data)]
    assert epoll.epoll_pwait(ep, 8, 0) == [(epoll.EPOLLOUT, data)]
    assert epoll.epoll_pwait(ep, 8, 0, [signal.SIGUSR1]) == [(epoll.EPOLLOUT, data)]
    assert epoll.epoll_pwait2(ep, 8, 0) == [(epoll.EPOLLOUT, data)]


def test_level_triggered_reports_while_the_condition_holds(ep: int, pair: Pair) -> None:
    """E7: an item whose condition still holds goes back on the ready list."""
    a, b = pair
    add(ep, a, epoll.EPOLLIN)
    b.send(b"xy")
    for _ in range(3):
        assert poll(ep) == [(epoll.EPOLLIN, 0)]
    a.recv(1)
    assert poll(ep) == [(epoll.EPOLLIN, 0)]
    a.recv(1)
    assert poll(ep) == []


def test_edge_triggered_reports_each_wake_up_once(ep: int, pair: Pair) -> None:
    """E3, E7: EPOLLET: only a new wake-up puts it on the list again."""
    a, b = pair
    add(ep, a, epoll.EPOLLIN | epoll.EPOLLET)
    b.send(b"x")
    assert poll(ep) == [(epoll.EPOLLIN, 0)]
    assert poll(ep) == []
    b.send(b"y")
    assert poll(ep) == [(epoll.EPOLLIN, 0)]
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_MOD, a.fileno(), epoll.EPOLLIN | epoll.EPOLLET)
    assert poll(ep) == [(epoll.EPOLLIN, 0)]  # MOD looks again


def test_oneshot_is_disarmed_until_mod(ep: int, pair: Pair) -> None:
    """E3, E7: EPOLLONESHOT."""
    a, b = pair
    events = epoll.EPOLLIN | epoll.EPOLLONESHOT
    add(ep, a, events, 3)
    b.send(b"x")
    assert poll(ep) == [(epoll.EPOLLIN, 3)]
    b.send(b"y")
    b.close()
    assert poll(ep) == []
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_MOD, a.fileno(), events, 4)
    (got,) = poll(ep)
    assert got[0] & epoll.EPOLLIN and got[1] == 4
    assert poll(ep) == []


def test_rdhup_hup_err_and_pri(ep: int, pair: Pair) -> None:
    """E3: EPOLLRDHUP when the peer shut down, EPOLLHUP when it is gone, EPOLLERR, EPOLLPRI (urgent data)."""
    a, b = pair
    add(ep, a, epoll.EPOLLRDHUP)
    assert poll(ep) == []
    b.shutdown(socket.SHUT_WR)
    assert poll(ep) == [(epoll.EPOLLRDHUP, 0)]
    b.close()
    assert poll(ep) == [(epoll.EPOLLRDHUP | epoll.EPOLLHUP, 0)]  # HUP is reported unasked
    r, w = os.pipe()
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, w, 0, 9)
    os.close(r)
    assert (epoll.EPOLLERR, 9) in poll(ep)
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_DEL, w)
    os.close(w)
    with socket.create_server(("127.0.0.1", 0)) as server:
        c = socket.create_connection(server.getsockname())
        d, _ = server.accept()
        add(ep, d, epoll.EPOLLPRI, 11)
        c.send(b"!", socket.MSG_OOB)
        got = epoll.epoll_wait(ep, 8, 5)
        assert (epoll.EPOLLPRI, 11) in got
        c.close()
        d.close()


def test_exclusive_wakes_one_of_the_waiting_instances() -> None:
    """E3: EPOLLEXCLUSIVE: not every epoll instance that waits for the file is woken."""
    a, b = socket.socketpair()
    instances = [epoll.epoll_create1() for _ in range(4)]
    for fd in instances:
        add(fd, a, epoll.EPOLLIN | epoll.EPOLLEXCLUSIVE | epoll.EPOLLET)
        with pytest.raises(OSError, match="invalid argument"):
            epoll.epoll_ctl(fd, epoll.EPOLL_CTL_MOD, a.fileno(), epoll.EPOLLIN | epoll.EPOLLEXCLUSIVE)
    with pytest.raises(OSError, match="invalid argument"):
        spare = epoll.epoll_create1()
        try:
            add(spare, a, epoll.EPOLLIN | epoll.EPOLLEXCLUSIVE | epoll.EPOLLONESHOT)
        finally:
            epoll.close(spare)
    b.send(b"x")
    assert sum(len(poll(fd)) for fd in instances) >= 1
    for fd in instances:
        epoll.close(fd)
    a.close()
    b.close()


def test_at_most_maxevents(ep: int) -> None:
    """E5: and the rest comes with the next call."""
    pairs = [socket.socketpair() for _ in range(10)]
    for i, (a, _) in enumerate(pairs):
        add(ep, a, epoll.EPOLLOUT | epoll.EPOLLET, i)
    got: list[int] = []
    for _ in range(4):
        events = epoll.epoll_wait(ep, 3, 0)
        assert len(events) <= 3
        got += [data for _, data in events]
    assert sorted(got) == list(range(10))
    for a, b in pairs:
        a.close()
        b.close()


@pytest.mark.parametrize("wait", [epoll.epoll_wait, epoll.epoll_pwait, epoll.epoll_pwait2])
def test_timeout_is_never_short(ep: int, wait: "type[object]") -> None:
    """E5: an empty list, not before the time; milliseconds are rounded up, pwait2 takes nanoseconds."""
    for seconds in (0.000001, 0.0005, 0.0021, 0.01):
        begin = time.monotonic_ns()
        assert wait(ep, 8, seconds) == []  # type: ignore[call-arg]
        assert time.monotonic_ns() - begin >= seconds * 1e9 * 0.999


def test_pwait2_takes_less_than_a_millisecond(ep: int) -> None:
    """E6: a hundred waits of 50 us; in milliseconds they would take 100 ms at least."""
    best = 1e9
    for _ in range(5):
        begin = time.monotonic()
        for _ in range(100):
            assert epoll.epoll_pwait2(ep, 1, 50e-6) == []
        best = min(best, time.monotonic() - begin)
    assert 0.005 <= best < 0.1


@pytest.mark.parametrize("wait", [epoll.epoll_wait, epoll.epoll_pwait, epoll.epoll_pwait2])
def test_waiting_releases_the_gil(ep: int, pair: Pair, wait: "type[object]") -> None:
    a, b = pair
    add(ep, a, epoll.EPOLLIN, 5)
    t = threading.Thread(target=b.send, args=(b"x",))
    t.start()
    assert wait(ep, 8, None) == [(epoll.EPOLLIN, 5)]  # type: ignore[call-arg]
    t.join()


@pytest.mark.parametrize("call", ["epoll_pwait", "epoll_pwait2"])
def test_signal_mask_is_swapped_in_atomically(call: str) -> None:
    """E6: a blocked signal that is pending is delivered in the wait only, where the mask lets it through; the
    mask is back afterwards; and one that the mask blocks does not disturb the wait."""
    done = python(f"""
        import os, signal, sys
        from gopark.runtime import epoll
        wait = epoll.{call}
        ep = epoll.epoll_create1()
        seen = []
        signal.signal(signal.SIGUSR1, lambda s, f: seen.append(s))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == []
        assert wait(ep, 1, 0.01) == [] and seen == []            # no mask: still blocked
        assert wait(ep, 1, 0.01, [signal.SIGUSR1]) == [] and seen == []  # a mask that blocks it
        try:
            wait(ep, 1, None, [])                                # delivered, although it was pending before
        except InterruptedError:
            pass
        else:
            sys.exit("not interrupted")
        assert seen == [signal.SIGUSR1], seen
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert len(seen) == 1, "the mask was not swapped back"
    """)
    assert done.returncode == 0


def test_signal_masks_want_signal_numbers(ep: int) -> None:
    for wrong in ([0], [65], [-1]):
        with pytest.raises(ValueError, match="sigmask"):
            epoll.epoll_pwait(ep, 1, 0, wrong)
    with pytest.raises(TypeError, match="sigmask"):
        epoll.epoll_pwait(ep, 1, 0, ["INT"])  # type: ignore[list-item]


def test_nested_instances(ep: int, pair: Pair) -> None:
    """An epoll instance is a file that can be polled itself."""
    inner = epoll.epoll_create1()
    epoll.epoll_ctl(inner, epoll.EPOLL_CTL_ADD, pair[0].fileno(), epoll.EPOLLOUT, 1)
    epoll.epoll_ctl(ep, epoll.EPOLL_CTL_ADD, inner, epoll.EPOLLIN, 2)
    assert poll(ep) == [(epoll.EPOLLIN, 2)]
    epoll.close(inner)


def test_close_is_once() -> None:
    fd = epoll.epoll_create1()
    epoll.close(fd)
    with pytest.raises(OSError, match="bad file descriptor"):
        epoll.close(fd)
