"""Out of descriptors: the listener survives, warns once, goes on when some are free, and can be closed
meanwhile."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.no_run

PRELUDE = """
import os, resource, socket, warnings
import gopark
from gopark import net, go
caught = []
warnings.showwarning = lambda message, *rest: caught.append(message)
warnings.simplefilter("always", RuntimeWarning)

def exhaust():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        return held

def until(condition):
    end = gopark.time.now() + 20
    while not condition():
        assert gopark.time.now() < end
        gopark.sleep(0.001)

def parked(g, reason):
    until(lambda: repr(g).endswith("[%s]>" % reason))
"""


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, timeout=50, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok", done.stderr


def test_the_listener_survives_warns_once_and_goes_on() -> None:
    run("""
def main():
    with net.listen("tcp", "127.0.0.1:0") as listener:
        waiting = [socket.create_connection(listener.addr) for _ in range(3)]
        held = exhaust()
        accepting = go(listener.accept)
        parked(accepting, "accept backoff")
        gopark.sleep(0.1)  # several rounds of the back-off
        assert not accepting.done
        assert len(caught) == 1, caught
        assert issubclass(type(caught[0]), RuntimeWarning) and "ulimit -n" in str(caught[0]), caught
        assert "accept tcp 127.0.0.1:" in str(caught[0])
        while held:
            os.close(held.pop())
        accepting.result(timeout=10).close()
        for _ in range(2):
            listener.accept().close()
        for s in waiting:
            s.close()
    print("ok")
gopark.run(main)
""")


def test_close_during_the_back_off_returns_closed_error_at_once() -> None:
    run("""
def main():
    listener = net.listen("tcp", "127.0.0.1:0")
    s = socket.create_connection(listener.addr)
    held = exhaust()
    accepting = go(listener.accept)
    parked(accepting, "accept backoff")
    listener.close()
    gopark.gosched()
    assert accepting.join(0.5)
    assert isinstance(accepting.exception, net.ClosedError), accepting.exception
    print("ok")
gopark.run(main)
""")


def test_a_deadline_is_seen_during_the_back_off() -> None:
    run("""
def main():
    with net.listen("tcp", "127.0.0.1:0") as listener:
        s = socket.create_connection(listener.addr)
        held = exhaust()
        listener.set_deadline(gopark.time.now() + 0.05)
        try:
            listener.accept()
        except net.DeadlineExceeded:
            print("ok")
gopark.run(main)
""")


# In these, who backs off does so for a minute: what ends it is what the test does.
LONG = """
from gopark.net import listener as module
module._BACKOFF_MIN = module._BACKOFF_MAX = 60_000_000_000

def backing_off():
    listener = net.listen("tcp", "127.0.0.1:0")
    s = socket.create_connection(listener.addr)
    held = exhaust()
    accepting = go(listener.accept)
    parked(accepting, "accept backoff")
    return listener, accepting, held, s
"""


def test_a_deadline_that_passes_or_is_moved_ends_the_back_off() -> None:
    run(
        LONG
        + """
def main():
    listener, accepting, held, s = backing_off()
    listener.set_deadline(gopark.time.now() + 0.02)
    assert accepting.join(10) and isinstance(accepting.exception, net.DeadlineExceeded)
    listener.set_deadline(gopark.time.now() + 0.02)
    try:
        listener.accept()
    except net.DeadlineExceeded:
        pass
    listener.set_deadline(None)
    accepting = go(listener.accept)
    parked(accepting, "accept backoff")
    listener.set_deadline(-1)
    assert accepting.join(10) and isinstance(accepting.exception, net.DeadlineExceeded)
    listener.set_deadline(None)
    while held:
        os.close(held.pop())
    listener.accept().close()
    listener.close()
    print("ok")
gopark.run(main)
"""
    )


def test_close_from_a_thread_or_a_signal_handler_ends_the_back_off() -> None:
    run(
        LONG
        + """
import signal, threading
def main():
    for how in ("thread", "handler"):
        listener, accepting, held, s = backing_off()
        while held:
            os.close(held.pop())
        if how == "thread":
            thread = threading.Thread(target=listener.close)
            thread.start()
        else:
            signal.signal(signal.SIGUSR1, lambda *_: listener.close())
            os.kill(os.getpid(), signal.SIGUSR1)
        assert accepting.join(10), how
        assert isinstance(accepting.exception, net.ClosedError), accepting.exception
        s.close()
    print("ok")
gopark.run(main)
"""
    )


def test_the_warning_as_an_error_does_not_end_the_server() -> None:
    run("""
warnings.simplefilter("error", RuntimeWarning)
def main():
    with net.listen("tcp", "127.0.0.1:0") as listener:
        s = socket.create_connection(listener.addr)
        held = exhaust()
        accepting = go(lambda: next(iter(listener)))
        parked(accepting, "accept backoff")
        while held:
            os.close(held.pop())
        accepting.result(timeout=10).close()
    print("ok")
gopark.run(main)
""")


# The kernel is told to refuse a system call of this thread: with *errno*, if its argument number *arg* is *value*.
REFUSE = """
import ctypes, struct
def refuse(call, errno, arg, value):
    numbers = {"x86_64": {"accept4": 288, "epoll_ctl": 233}, "aarch64": {"accept4": 242, "epoll_ctl": 21}}
    number = numbers[os.uname().machine][call]
    code = [
        (0x20, 0, 0, 0), (0x15, 0, 3, number),
        (0x20, 0, 0, 16 + 8 * arg), (0x15, 0, 1, value),
        (0x06, 0, 0, 0x00050000 | errno), (0x06, 0, 0, 0x7FFF0000),
    ]
    filter = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *c) for c in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(filter))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, ctypes.get_errno()
    assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
"""
seccomp = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64") or not os.path.exists("/proc/sys/kernel/seccomp"),
    reason="needs seccomp on a machine whose system calls' numbers are known here",
)


@seccomp
@pytest.mark.parametrize(
    "name", ["EPROTO", "ENETDOWN", "EHOSTUNREACH", "EOPNOTSUPP", "EPERM", "ENOBUFS", "ENOMEM"]
)
def test_what_befell_one_connection_does_not_end_accept(name: str) -> None:
    run(
        REFUSE
        + LONG
        + f"""
def main():
    import errno
    with net.listen("tcp", "127.0.0.1:0") as well:
        ill = net.listen("tcp", "127.0.0.1:0")
        clients = [socket.create_connection(l.addr) for l in (ill, well)]
        refuse("accept4", errno.{name}, 0, ill.fileno())
        accepting = go(ill.accept)
        parked(accepting, "accept backoff")
        well.accept().close()
        ill.close()
        assert accepting.join(10) and isinstance(accepting.exception, net.ClosedError), accepting.exception
    print("ok")
gopark.run(main)
"""
    )


@seccomp
def test_an_error_of_the_listener_itself_is_raised() -> None:
    run(
        REFUSE
        + """
def main():
    import errno
    with net.listen("tcp", "127.0.0.1:0") as listener:
        refuse("accept4", errno.EFAULT, 0, listener.fileno())
        try:
            listener.accept()
        except OSError as e:
            assert e.errno == errno.EFAULT and str(e).startswith("[Errno 14] accept tcp 127.0.0.1:"), e
            print("ok")
gopark.run(main)
"""
    )


@seccomp
@pytest.mark.parametrize("name", ["ENOSPC", "ENOMEM"])
def test_a_connection_that_cannot_be_polled_is_closed_and_the_others_are_accepted(name: str) -> None:
    run(
        REFUSE
        + f"""
def main():
    import errno
    with net.listen("tcp", "127.0.0.1:0") as listener:
        first, second = [socket.create_connection(listener.addr) for _ in range(2)]
        second.sendall(b"the second")
        number = os.dup(0)
        os.close(number)
        refuse("epoll_ctl", errno.{name}, 2, number)  # the number that the next descriptor will have
        taken = []

        def warned(message, *rest):
            caught.append(message)
            taken.append(os.dup(0))  # before accept tries again: the second is to have another number

        warnings.showwarning = warned
        accepting = go(listener.accept)
        with accepting.result(timeout=20) as conn:
            assert conn.read() == b"the second"
        assert taken == [number], "left open"
        first.settimeout(10)
        assert first.recv(1) == b""
        assert len(caught) == 1 and "accept tcp 127.0.0.1:" in str(caught[0]), caught
        if "{name}" == "ENOSPC":
            assert "max_user_watches" in str(caught[0])
    print("ok")
gopark.run(main)
"""
    )


def test_dial_and_listen_name_the_address_when_there_is_no_descriptor() -> None:
    run("""
def main():
    with net.listen("tcp", "127.0.0.1:0") as listener:
        exhaust()
        for call, op in ((net.dial, "dial"), (net.listen, "listen")):
            try:
                call("tcp", "127.0.0.1:5")
            except OSError as e:
                assert e.errno == 24 and f"{op} tcp 127.0.0.1:5: too many open files" in str(e), e
    print("ok")
gopark.run(main)
""")
