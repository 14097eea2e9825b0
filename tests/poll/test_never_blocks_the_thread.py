"""O_NONBLOCK belongs to all who share a descriptor, and another process may clear it: no call stops the thread then.

Each test runs in a Python of its own, so that a thread that does stop fails one test only."""

import pytest

from support import python

PRELUDE = """
    import fcntl, os, select, signal, socket, threading
    import gopark
    from gopark import net
    from gopark.poll.fd import FD

    signal.alarm(10)  # ends a process whose thread is stopped
    def soon(): return gopark.time.now() + 0.05
    def clear(fd): os.set_blocking(fd, True)
    def expired(call, *args):
        try:
            call(*args)
        except TimeoutError:
            return
        raise AssertionError("no timeout")
    def fill(write):
        data = b"x" * 65536
        while True:
            try:
                write(data)
            except TimeoutError:
                return
"""

CALLS = {
    "read": "a, b = net.pipe(); clear(a.fileno()); a.set_deadline(soon()); expired(a.read, 100)",
    "read of much": "a, b = net.pipe(); clear(a.fileno()); a.set_deadline(soon()); expired(a.read, 1 << 20)",
    "read_into": "a, b = net.pipe(); clear(a.fileno()); a.set_deadline(soon()); expired(a.read_into, bytearray(9))",
    "wait_readable": "a, b = net.pipe(); clear(a.fileno()); a.set_deadline(soon()); expired(a.wait_readable)",
    "write": "a, b = net.pipe(); clear(a.fileno()); a.set_deadline(soon()); fill(a.write)",
    "writev": "a, b = net.pipe(); clear(a.fileno()); a.set_deadline(soon()); fill(lambda d: a.writev([d, d]))",
    "accept": "l = net.listen('tcp', '127.0.0.1:0'); clear(l.fileno()); l.set_deadline(soon()); expired(l.accept)",
    "pipe read": """r, w = os.pipe2(os.O_NONBLOCK); fd = FD(r, stream=True, is_socket=False); fd.init(); clear(r)
        fd.set_deadline(gopark.runtime.proc.deadline_after(50_000_000), 3); expired(fd.read, 100)
        expired(fd.read_into, bytearray(9)); fd.close(); os.close(w)""",
    "pipe write": """r, w = os.pipe2(os.O_NONBLOCK); fd = FD(w, stream=True, is_socket=False); fd.init(); clear(w)
        fd.set_deadline(gopark.runtime.proc.deadline_after(50_000_000), 3); fill(fd.write)
        fd.set_deadline(gopark.runtime.proc.deadline_after(50_000_000), 3); fill(lambda d: fd.writev([d, d]))
        assert len(os.read(r, 1 << 20)) == 65536; fd.close(); os.close(r)""",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_cleared_flag_stops_no_thread_and_deadlines_hold(call: str) -> None:
    lines = "\n".join("    " + line.strip() for line in CALLS[call].splitlines())
    main = f"\ndef main():\n{lines}\n\ngopark.run(main)\n"
    python("\n".join(line[4:] for line in PRELUDE.splitlines()) + main, timeout=20)


SENDERS = {
    "write": "a, b = net.pipe(); b.close(); a.write(b'x')",
    "writev": "a, b = net.pipe(); b.close(); a.writev([b'x', b'y'])",
    "pipe write": "r, w = os.pipe2(os.O_NONBLOCK); fd = FD(w, is_socket=False); fd.init(); os.close(r); fd.write(b'x')",
    "pipe writev": "r, w = os.pipe2(os.O_NONBLOCK); fd = FD(w, is_socket=False); fd.init(); os.close(r); fd.writev([b'x'])",
}


@pytest.mark.parametrize("send", SENDERS)
def test_no_sending_path_is_killed_by_sigpipe(send: str) -> None:
    """The default action, as programs restore it for the sake of shell pipelines."""
    main = f"""
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
def main():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        {SENDERS[send]}
    except BrokenPipeError:
        pass
    else:
        raise AssertionError("no error")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before and not signal.sigpending()

gopark.run(main)
"""
    python("\n".join(line[4:] for line in PRELUDE.splitlines()) + main, timeout=20)
