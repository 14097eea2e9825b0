"""poll_open and poll_close: one registration for a descriptor's life, errors, where PollDescs come from."""

import errno
import gc
import os
import select
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

import gopark
from gopark.runtime import netpoll, polldesc, proc
from gopark.runtime.polldesc import POLL_BLOCK_SIZE, PollDesc
from gopark.runtime.pollstate import (
    MODE_R,
    MODE_W,
    POLL_ERR_CLOSING,
    POLL_ERR_NOT_POLLABLE,
    POLL_NO_ERROR,
)
from support import IS_COMPILED, goroutines, parked, python


def counts() -> tuple[int, int]:
    s = gopark.statistics()
    return s.polldescs, s.free_polldescs


def used() -> int:
    allocated, free = counts()
    return allocated - free


@pytest.fixture
def pair() -> "tuple[socket.socket, socket.socket]":
    a, b = socket.socketpair()
    a.setblocking(False)
    return a, b


Pair = tuple[socket.socket, socket.socket]


def test_poller_is_started_once() -> None:
    """G1, G10, L1: poll_server_init calls netpollinit once; before, nothing is."""
    done = python("""
        import gopark, os
        from gopark.runtime import netpoll, poller, proc
        assert not netpoll.netpollinited()
        assert type(proc.getp().poller) is poller.Poller
        assert proc.getp().poller.netpoll(0).size == 0  # harmless
        assert not netpoll.poll_is_server_descriptor(-1)
        netpoll.poll_server_init()
        fds = proc.getp().poller.epfd, proc.getp().poller.breakfd
        netpoll.poll_server_init()
        assert netpoll.netpollinited() and fds == (proc.getp().poller.epfd, proc.getp().poller.breakfd)
        kinds = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
        assert kinds == ["anon_inode:[eventpoll]", "anon_inode:[eventfd]"], kinds
        assert not any(os.get_inheritable(fd) for fd in fds)  # EPOLL_CLOEXEC
        with open(f"/proc/self/fdinfo/{fds[0]}") as f:
            line = next(l for l in f if l.startswith("tfd:"))
        # EPOLLIN (the kernel adds ERR and HUP), level-triggered, the reserved data
        words = line.split()
        assert int(words[1]) == fds[1] and int(words[3], 16) & ~0x18 == 1, line
    """)
    assert done.returncode == 0


@goroutines
def test_pollers_own_descriptors_are_recognised(pair: Pair) -> None:
    """G2, L5: the epoll instance and the break descriptor, and no other."""
    poller: Any = proc.getp().poller
    for fd in (poller.epfd, poller.breakfd, poller.sigfd):
        assert netpoll.poll_is_server_descriptor(fd)
        assert proc.getp().poller.netpoll_is_poll_descriptor(fd)
    for fd in (-1, 0, pair[0].fileno()):
        assert not netpoll.poll_is_server_descriptor(fd)
    for s in pair:
        s.close()


@goroutines
def test_one_registration_edge_triggered_for_both_directions(pair: Pair) -> None:
    """L2, L3: one ADD with IN, OUT, RDHUP, ET (and PRI); the data is generation and index; DEL at the end."""
    fd = pair[0].fileno()
    pd = netpoll.poll_open(fd)

    def line() -> "list[str]":
        poller: Any = proc.getp().poller
        text = Path(f"/proc/self/fdinfo/{poller.epfd}").read_text()
        return next(
            (ln.split() for ln in text.splitlines() if ln.startswith("tfd:") and int(ln.split()[1]) == fd), []
        )

    words = line()
    kernels_own = select.EPOLLERR | select.EPOLLHUP
    want = select.EPOLLPRI | select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
    assert int(words[3], 16) & ~kernels_own == want & 0xFFFFFFFF
    if IS_COMPILED:
        assert int(words[5], 16) == pd.gen << 32 | pd.index
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    assert line() == []
    for s in pair:
        s.close()


@goroutines
def test_what_cannot_be_polled_is_refused_and_nothing_leaks() -> None:
    """G3: EPERM for a regular file, EBADF for what is not open; the PollDesc goes back to the cache."""
    before = used()
    with tempfile.TemporaryFile() as f:
        for _ in range(200):
            with pytest.raises(PermissionError) as e:
                netpoll.poll_open(f.fileno())
            assert e.value.errno == errno.EPERM and str(f.fileno()) in str(e.value)
    for _ in range(200):
        with pytest.raises(OSError, match="bad file descriptor") as e2:
            netpoll.poll_open(1 << 20)
        assert e2.value.errno == errno.EBADF
    assert used() == before


@goroutines
def test_close_without_unblock_is_fatal(pair: Pair) -> None:
    """G4: poll_close wants poll_unblock first."""
    pd = netpoll.poll_open(pair[0].fileno())
    with pytest.raises(gopark.FatalError, match="without unblock"):
        netpoll.poll_close(pd)
    netpoll.poll_unblock(pd)
    with pytest.raises(gopark.FatalError, match="unblock on closing"):
        netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    for s in pair:
        s.close()


@pytest.mark.parametrize("mode", [MODE_R, MODE_W])
@goroutines
def test_close_with_a_parked_goroutine_is_fatal(pair: Pair, mode: int) -> None:
    """G4: somebody parked although it was unblocked (poll_wait_canceled): an error, not a lost goroutine."""
    pd = netpoll.poll_open(pair[0].fileno())
    proc.getp().poller.netpoll(0)
    netpoll.poll_reset(pd, mode)
    netpoll.poll_unblock(pd)
    g = parked(gopark.go(netpoll.poll_wait_canceled, pd, mode), "IO wait")
    with pytest.raises(gopark.FatalError, match=r"blocked (read|write) on closing polldesc"):
        netpoll.poll_close(pd)
    netpoll.netpollgoready(netpoll.netpollunblock(pd, mode, True))
    assert g.join(5)
    netpoll.poll_close(pd)
    for s in pair:
        s.close()


@goroutines
def test_wait_canceled_ignores_close_and_deadline(pair: Pair) -> None:
    """G7: only I/O ends it."""
    pd = netpoll.poll_open(pair[0].fileno())
    netpoll.poll_reset(pd, MODE_R)
    netpoll.poll_set_deadline(pd, -1, MODE_R)
    g = parked(gopark.go(netpoll.poll_wait_canceled, pd, MODE_R), "IO wait")
    netpoll.poll_unblock(pd)
    gopark.sleep(0.001)
    assert not g.done
    pair[1].send(b"x")
    assert g.join(5)
    netpoll.poll_close(pd)
    for s in pair:
        s.close()


@goroutines
def test_unblock_wakes_both_sides_with_the_closing_error(pair: Pair) -> None:
    """G9: marks closing, wakes reader and writer; G5, G6: the code is closing from then on."""
    a, _ = pair
    while True:
        try:
            a.send(b"x" * 65536)
        except BlockingIOError:
            break
    pd = netpoll.poll_open(a.fileno())
    proc.getp().poller.netpoll(0)
    for mode in (MODE_R, MODE_W):
        assert netpoll.poll_reset(pd, mode) == POLL_NO_ERROR
    gs = [parked(gopark.go(netpoll.poll_wait, pd, mode), "IO wait") for mode in (MODE_R, MODE_W)]
    netpoll.poll_unblock(pd)
    assert [g.result(5) for g in gs] == [POLL_ERR_CLOSING] * 2
    assert netpoll.poll_reset(pd, MODE_R) == netpoll.poll_wait(pd, MODE_W) == POLL_ERR_CLOSING
    netpoll.poll_close(pd)
    for s in pair:
        s.close()


@goroutines
def test_reader_of_a_write_only_pipe_end_is_told_that_it_is_not_pollable() -> None:
    """The state machine's third error: for reading only, when the event was exactly EPOLLERR."""
    r, w = os.pipe()
    os.set_blocking(w, False)
    pd = netpoll.poll_open(w)
    netpoll.poll_reset(pd, MODE_R)
    while True:
        try:
            os.write(w, b"x" * 65536)
        except BlockingIOError:
            break
    proc.getp().poller.netpoll(0)
    netpoll.poll_reset(pd, MODE_R)
    os.close(r)  # EPOLLERR alone: the pipe stays full
    g = gopark.go(netpoll.poll_wait, pd, MODE_R)
    assert g.result(5) in (POLL_NO_ERROR, POLL_ERR_NOT_POLLABLE)
    assert netpoll.poll_reset(pd, MODE_R) == (POLL_ERR_NOT_POLLABLE if pd.everr else POLL_NO_ERROR)
    assert netpoll.poll_reset(pd, MODE_W) == POLL_NO_ERROR
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)
    os.close(w)


def test_polldescs_come_in_blocks_and_are_never_freed() -> None:
    """K2, K4, K5: a block of POLL_BLOCK_SIZE at a time; type-stable; the free list is last in, first out."""
    assert POLL_BLOCK_SIZE == 4096
    cache = polldesc.PollCache()
    per_block = max(1, POLL_BLOCK_SIZE // PollDesc.__basicsize__)
    first = cache.alloc()
    assert cache.counts() == (per_block, per_block - 1)
    rest = [cache.alloc() for _ in range(per_block - 1)]
    assert cache.counts() == (per_block, 0)
    assert len({id(pd) for pd in (first, *rest)}) == per_block
    assert sorted(pd.index for pd in (first, *rest)) == list(range(per_block))
    another = cache.alloc()
    assert cache.counts() == (2 * per_block, per_block - 1)
    cache.put(another)
    cache.put(first)
    assert cache.alloc() is first and cache.alloc() is another


@pytest.mark.skipif(not IS_COMPILED, reason="every object of the interpreted core is tracked")
def test_polldescs_are_outside_the_garbage_collectors_care() -> None:
    """K4: the collector never looks at them."""
    pd = polldesc.PollCache().alloc()
    assert not gc.is_tracked(pd)
