"""Events of a descriptor that was closed meanwhile are dropped: the new owner is not woken."""

import contextlib
import ctypes
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gopark
from gopark.runtime import netpoll, polldesc, proc
from gopark.runtime.g import GList
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.pollstate import MODE_R
from support import IS_COMPILED, eventually, goroutines, parked

EPOLL = {"x86_64": (232, 281, 441), "aarch64": (22, 441)}.get(os.uname().machine)  # epoll_wait, pwait, pwait2
FUTEX = {"x86_64": (202,), "aarch64": (98,)}.get(os.uname().machine)


def stale() -> int:
    return proc.getp().poller.counters()[2]


def pair() -> tuple[socket.socket, socket.socket]:
    a, b = socket.socketpair()
    a.setblocking(False)
    return a, b


def close(pd: PollDesc) -> None:
    netpoll.poll_unblock(pd)
    netpoll.poll_close(pd)


@pytest.mark.skipif(
    not IS_COMPILED, reason="the interpreted core keeps data by descriptor, not in the kernel"
)
@goroutines
def test_kernel_reports_an_old_registration_after_reuse() -> None:
    """A duplicate keeps the old registration alive in the kernel; number and PollDesc have a new owner."""
    a, b = pair()
    c, d = pair()
    pd = netpoll.poll_open(a.fileno())
    duplicate = os.dup(a.fileno())
    number = a.detach()
    os.close(number)  # before poll_close: the kernel keeps the registration, and DEL finds nothing
    close(pd)
    os.dup2(c.fileno(), number)
    again = netpoll.poll_open(number)
    assert again is pd, "the PollDesc was not reused"
    netpoll.poll_reset(again, MODE_R)
    reader = parked(gopark.go(netpoll.poll_wait, again, MODE_R), "IO wait")
    before = stale()
    b.send(b"for the old one")
    eventually(lambda: stale() > before)
    assert not reader.done and again.state()[0] == "G"
    d.send(b"for the new one")
    assert reader.result(5) == 0
    close(again)
    os.close(number)
    os.close(duplicate)
    for s in (b, c, d):
        s.close()


class Between:
    """The real event buffer; *then* runs when epoll_wait has returned, before anything is delivered."""

    def __init__(self, real: Any, then: Callable[[], object]) -> None:
        self.real = real
        self.then = then
        self.mask = real.mask
        self.data = real.data

    def wait(self, epfd: int, delay: int) -> int:
        n = self.real.wait(epfd, delay)
        self.then()
        return n


@pytest.mark.skipif(IS_COMPILED, reason="the interpreted core's buffer is within reach")
@goroutines
def test_reuse_between_epoll_wait_and_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    c, d = pair()
    pd = netpoll.poll_open(a.fileno())
    number = a.fileno()
    proc.getp().poller.netpoll(0)  # takes the first edge: it is writable
    b.send(b"for the old one")

    def reuse() -> None:
        monkeypatch.undo()
        close(pd)
        a.close()
        os.dup2(c.fileno(), number)
        assert netpoll.poll_open(number) is pd

    poller: Any = proc.getp().poller
    monkeypatch.setattr(poller, "buffer", Between(poller.buffer, reuse))
    before = stale()
    torun = proc.getp().poller.netpoll(0)
    assert (stale() - before, torun.size, pd.state()) == (1, 0, ("nil", "nil"))
    close(pd)
    os.close(number)
    for s in (b, c, d):
        s.close()


@pytest.mark.skipif(not IS_COMPILED, reason="the interpreted core's system calls release the GIL")
def test_reuse_while_a_blocked_netpoll_returns() -> None:
    """epoll_wait has the event but not the GIL yet; whoever holds that closes and reuses the descriptor."""
    libc = ctypes.PyDLL(None)  # calls that keep the GIL
    syscall = os.open(f"/proc/self/task/{threading.get_native_id()}/syscall", os.O_RDONLY)
    text = ctypes.create_string_buffer(64)

    def waiting_in(calls: tuple[int, ...] | None) -> bool:
        n = libc.pread(syscall, text, 63, ctypes.c_long(0))
        return n > 0 and int(text.raw[:n].split()[0].replace(b"running", b"-1")) in (calls or ())

    try:
        if EPOLL is None or os.read(syscall, 64) == b"":
            pytest.skip("cannot see another thread's system call")
    except PermissionError:
        pytest.skip("cannot see another thread's system call")
    seen: dict[str, object] = {}

    def until(condition: Callable[[], bool], pause: Callable[[], object]) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end
            pause()

    def main() -> None:
        me = gopark.current()
        a, b = pair()
        c, d = pair()
        number = a.fileno()
        pd = netpoll.poll_open(number)
        proc.getp().poller.netpoll(0)  # takes the first edge: it is writable
        netpoll.poll_reset(pd, MODE_R)

        def intruder() -> None:
            try:
                until(lambda: waiting_in(EPOLL), lambda: time.sleep(0.001))
                sys.setswitchinterval(100)  # nobody makes this thread give up the GIL from here on
                libc.write(b.fileno(), b"x", 1)
                until(lambda: waiting_in(FUTEX), libc.sched_yield)  # it has the event, and wants the GIL
                netpoll.poll_unblock(pd)
                netpoll.poll_close(pd)
                libc.close(number)
                libc.dup2(c.fileno(), number)
                seen["same"] = netpoll.poll_open(number) is pd
                seen["before"] = stale()
            finally:
                sys.setswitchinterval(0.005)
                me.cancel()

        thread = threading.Thread(target=intruder)
        thread.start()
        with contextlib.suppress(gopark.Cancelled):
            gopark.sleep(20)
        thread.join(10)
        seen["stale"] = stale()
        seen["state"] = pd.state()[0]
        a.detach()
        close(pd)
        os.close(number)
        for s in (b, c, d):
            s.close()

    gopark.run(main)
    os.close(syscall)
    assert seen["same"] is True
    assert seen["stale"] == int(str(seen["before"])) + 1, "the event was delivered to the new owner"
    assert seen["state"] == "nil"


@goroutines
def test_generation_changes_with_each_owner() -> None:
    a, b = pair()
    generations = []
    for _ in range(5):
        pd = netpoll.poll_open(a.fileno())
        generations.append((pd.index, pd.gen))
        close(pd)
    assert len(set(generations)) == 5 and len({i for i, _ in generations}) == 1
    assert proc.getp().poller.netpoll(0).size == len(GList()) == 0
    assert polldesc.waiters() == 0
    a.close()
    b.close()


@pytest.mark.skipif(
    not IS_COMPILED, reason="the interpreted core keeps data by descriptor, not in the kernel"
)
@goroutines
def test_descriptor_that_somebody_else_puts_into_the_epoll_instance_is_stale() -> None:
    """Its data is its number, by which no poll descriptor is found: neither beyond the table nor a wrong one."""
    poller: Any = proc.getp().poller
    r, w = os.pipe()
    high = os.dup2(r, 900)
    os.write(w, b"x")
    before = stale()
    foreign = select.epoll.fromfd(os.dup(poller.epfd))
    foreign.register(high, select.EPOLLIN)
    foreign.register(r, select.EPOLLIN)
    assert poller.netpoll(0).size == 0
    assert stale() == before + 2
    foreign.unregister(high)
    foreign.unregister(r)
    foreign.close()
    for fd in (r, w, high):
        os.close(fd)
