"""epoll(7) as the kernel has it: every call, every flag, the 64-bit data, signal masks, nanoseconds.

The direct binding, for programs that want epoll itself.  It works without the scheduler, and blocks the calling thread
(with the GIL released): in a goroutine use gopark.net, which never needs it.

    import gopark.runtime.epoll as epoll
    epfd = epoll.epoll_create1(epoll.EPOLL_CLOEXEC)
    epoll.epoll_ctl(epfd, epoll.EPOLL_CTL_ADD, sock.fileno(), epoll.EPOLLIN | epoll.EPOLLET, data=1 << 40)
    for events, data in epoll.epoll_wait(epfd, 128, 1.5): ...

How the kernel does it: an epoll instance keeps its interest set in a red-black tree keyed by (file, descriptor number), and
a list of items that are ready.  A file's wake-up callback puts its item on that list; epoll_wait copies events from the
list to user space (it copies: no memory is shared with the kernel) and empties it.  An item whose condition still holds
goes back on the list if it is level-triggered; an edge-triggered one waits for the next wake-up; a one-shot one is
disarmed until EPOLL_CTL_MOD.  See epoll(7), epoll_ctl(2), epoll_wait(2).

Every function raises the OSError that the system call reports.  EINTR: the wait is not restarted, as in C: it raises
InterruptedError after Python's signal handlers have run (so a program can look at what they did).
"""

import os
from collections.abc import Iterable
from typing import Final

from gopark.runtime import _sys

EPOLLIN: Final = 0x001
EPOLLPRI: Final = 0x002
EPOLLOUT: Final = 0x004
EPOLLERR: Final = 0x008
EPOLLHUP: Final = 0x010
EPOLLRDNORM: Final = 0x040
EPOLLRDBAND: Final = 0x080
EPOLLWRNORM: Final = 0x100
EPOLLWRBAND: Final = 0x200
EPOLLMSG: Final = 0x400
EPOLLRDHUP: Final = 0x2000
EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
EPOLL_CLOEXEC: Final = os.O_CLOEXEC
EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3

_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result).lower()}")
    return result


def _number(value: object, name: str, low: int, high: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")
    return value


def epoll_create(size: int) -> int:
    """A new epoll instance: its descriptor (not close-on-exec).  *size* is ignored by the kernel but must be > 0."""
    return _check(_sys.epoll_create(_number(size, "size", -(2**31), 2**31 - 1)), "epoll_create")


def epoll_create1(flags: int = 0) -> int:
    """A new epoll instance: its descriptor.  *flags*: 0 or EPOLL_CLOEXEC."""
    return _check(_sys.epoll_create1(_number(flags, "flags", 0, 2**31 - 1)), "epoll_create1")


def epoll_ctl(epfd: int, op: int, fd: int, events: int = 0, data: int = 0) -> None:
    """Add (EPOLL_CTL_ADD), change (MOD) or remove (DEL) *fd*.

    *events*: EPOLL* flags.  *data*: any 64-bit unsigned number; it comes back with each event.  FileExistsError for an ADD of
    what is there, FileNotFoundError for a MOD or DEL of what is not, PermissionError for a file that cannot be polled."""
    _number(epfd, "epfd", -(2**31), 2**31 - 1)
    _number(op, "op", -(2**31), 2**31 - 1)
    _number(fd, "fd", -(2**31), 2**31 - 1)
    result = _sys.epoll_ctl(epfd, op, fd, _number(events, "events", 0, _U32), _number(data, "data", 0, _U64))
    _check(result, "epoll_ctl")


def epoll_wait(epfd: int, maxevents: int, timeout: float | None = None) -> list[tuple[int, int]]:
    """Wait for events: at most *maxevents* (> 0) pairs (events, data), none if *timeout* seconds passed first.

    None waits for ever, 0 only looks.  Rounded up to the millisecond, as the system call takes it."""
    return _wait("epoll_wait", epfd, maxevents, timeout, None, False)


def epoll_pwait(
    epfd: int, maxevents: int, timeout: float | None = None, sigmask: Iterable[int] | None = None
) -> list[tuple[int, int]]:
    """epoll_wait with *sigmask* (signal numbers to block) as the thread's signal mask, swapped in and out atomically."""
    return _wait("epoll_pwait", epfd, maxevents, timeout, sigmask, False)


def epoll_pwait2(
    epfd: int, maxevents: int, timeout: float | None = None, sigmask: Iterable[int] | None = None
) -> list[tuple[int, int]]:
    """epoll_pwait with *timeout* to the nanosecond.  Linux 5.11; OSError (ENOSYS) before."""
    return _wait("epoll_pwait2", epfd, maxevents, timeout, sigmask, True)


def _wait(
    what: str,
    epfd: int,
    maxevents: int,
    timeout: float | None,
    sigmask: Iterable[int] | None,
    nanoseconds: bool,
) -> list[tuple[int, int]]:
    _number(epfd, "epfd", -(2**31), 2**31 - 1)
    _number(maxevents, "maxevents", -(2**31), 1 << 20)
    ns = -1
    if timeout is not None:
        if not isinstance(timeout, (int, float)):
            raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
        if timeout >= 0:
            ns = min(-int(-timeout * 1_000_000_000), 2**63 - 1)
    mask = None if sigmask is None else [_number(s, "sigmask: each signal", 1, 64) for s in sigmask]
    result = _sys.epoll_wait_raw(epfd, maxevents, ns, mask, nanoseconds)
    if isinstance(result, int):
        _sys.check_signals()
        _check(-result, what)
        raise AssertionError("unreachable")
    return result


def close(epfd: int) -> None:
    """Close an epoll instance."""
    _check(_sys.close(_number(epfd, "epfd", -(2**31), 2**31 - 1)), "close")
