"""epoll_pwait and epoll_pwait2 for the interpreted twin: the two calls that Python's select module does not have.

Only what the public epoll binding needs when there is no compiled core; the scheduler never comes here.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

_SYS_EPOLL_PWAIT2 = 441  # the same number on every architecture
_SIGSET_BYTES = 8  # _NSIG / 8 on Linux
_MS_MAX = 2**31 - 1


# struct epoll_event: the kernel packs it on x86-64 alone.
_EVENT = struct.Struct("=IQ" if os.uname().machine == "x86_64" else "@IQ")


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_int64), ("tv_nsec", ctypes.c_int64))


_libc = ctypes.CDLL(None, use_errno=True)


def pwait(
    epfd: int, maxevents: int, timeout_ns: int, sigmask: Iterable[int] | None, nanoseconds: bool
) -> "list[tuple[int, int]] | int":
    """A list of (events, low 32 bits of data: the descriptor, as select.epoll registers it), or errno."""
    events = ctypes.create_string_buffer(max(1, maxevents * _EVENT.size))
    mask = None
    if sigmask is not None:
        bits = 0
        for sig in sigmask:
            if not 1 <= sig <= 64:
                return errno.EINVAL
            bits |= 1 << (sig - 1)
        mask = ctypes.byref((ctypes.c_uint64 * 16)(bits))  # glibc's sigset_t is 1024 bits
    if nanoseconds:
        ts = None if timeout_ns < 0 else ctypes.byref(_Timespec(*divmod(timeout_ns, 10**9)))
        n = _libc.syscall(
            _SYS_EPOLL_PWAIT2, epfd, events, maxevents, ts, mask, ctypes.c_size_t(_SIGSET_BYTES)
        )
    else:
        ms = -1 if timeout_ns < 0 else min(_MS_MAX, -(-timeout_ns // 10**6))
        n = _libc.epoll_pwait(epfd, events, maxevents, ms, mask)
    if n < 0:
        return ctypes.get_errno()
    found = _EVENT.iter_unpack(events.raw[: n * _EVENT.size])
    return [(mask, data & 0xFFFFFFFF) for mask, data in found]
