"""Every system call of the main path fails in turn: a clear error, nothing left open, and the runtime goes on.

Each run is a fresh process that starts the runtime, listens, dials, reads, writes, sends a file, closes, meets on channels
and locks, waits for timers, calls a thread, forks, and ends; and then does it all again without a fault."""

import pytest

from faults.running import main_path

CALLS = {
    "recv": "EINTR,ENOMEM,ECONNRESET,ETIMEDOUT",
    "send": "EINTR,ENOMEM,ENOBUFS,EPIPE,ECONNRESET",
    "read": "EINTR,EIO",
    "write": "EINTR,ENOSPC,EIO",
    "writev": "EINTR,ENOMEM,EPIPE",
    "sendfile": "EINTR,EIO,ENOMEM,EINVAL",
    "accept": "EINTR,ECONNABORTED,EPROTO,EMFILE,ENFILE,ENOBUFS,ENOMEM",
    "socket": "EMFILE,ENFILE,ENOBUFS,ENOMEM",
    "bind": "EADDRINUSE,ENOMEM",
    "listen": "EADDRINUSE,ENOMEM",
    "connect": "EINTR,ECONNREFUSED,ENOMEM,EAGAIN",
    "getsockopt": "ENOBUFS",
    "setsockopt": "ENOBUFS,ENOMEM",
    "getsockname": "ENOBUFS",
    "fcntl": "EMFILE,ENOMEM",
    "dup": "EMFILE",
    "pipe": "EMFILE,ENFILE",
    "eventfd": "EMFILE,ENOMEM",
    "epoll_create": "EMFILE,ENOMEM",
    "epoll_ctl": "ENOSPC,ENOMEM",
    "epoll_wait": "EINTR",
    "close": "EINTR,EIO",
    "pthread_create": "EAGAIN",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_system_call_that_fails_is_a_clear_error_and_the_runtime_goes_on(call: str, shim: str) -> None:
    assert main_path("call", call, CALLS[call], LD_PRELOAD=shim) == ""
