"""Out of descriptors: the listener survives, warns once, goes on when some are free, and can be closed
meanwhile."""

import os
import subprocess
import sys

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
