"""Preemption: nobody can keep the others from running, and who is interrupted notices nothing."""

import decimal
import json
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

import pytest

import gopark
from gopark import go, net
from gopark.runtime import sysmon
from support import IS_COMPILED, eventually, goroutines, python

CLIENT = """
import socket, sys, time
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
times = []
for i in range(40):
    start = time.perf_counter()
    sock.sendall(b"x")
    assert sock.recv(1) == b"x"
    times.append(time.perf_counter() - start)
    time.sleep(0.002)
print(times)
"""


@pytest.fixture
def short_slice():
    """Preemptions every 0.2 ms: the same code, fifty times as often."""
    sysmon.set_slice(200_000)
    yield
    sysmon.set_slice(sysmon.SLICE_NS)


def test_an_echo_server_answers_beside_three_goroutines_that_only_compute() -> None:
    stop = threading.Event()

    def hog() -> None:
        while not stop.is_set():
            sum(range(100))

    def echo(conn: net.Conn) -> None:
        with conn:
            while data := conn.read():
                conn.write(data)

    def main() -> list[float]:
        with net.listen("tcp", "127.0.0.1:0") as listener:
            go(lambda: [go(echo, conn) for conn in listener])
            for _ in range(3):
                go(hog)
            client = subprocess.Popen(
                [sys.executable, "-c", CLIENT, str(listener.addr[1])], stdout=subprocess.PIPE, text=True
            )
            try:
                out = gopark.blocking(client.communicate, timeout=40)[0]
            finally:
                client.kill()
                stop.set()
            return list(json.loads(out))

    before = gopark.statistics().preemptions
    times = gopark.run(main)
    assert len(times) == 40  # every one was answered; without preemption none is
    assert gopark.statistics().preemptions > before
    print(f"median {statistics.median(times) * 1e3:.1f} ms")


@goroutines
def test_a_hog_is_not_kept_out_by_one_that_only_calls_gosched(short_slice: None) -> None:
    """The preempted come last, but not never."""
    count = 0

    def hog() -> None:
        nonlocal count
        before = gopark.statistics().preemptions
        while gopark.statistics().preemptions < before + 20:
            count += 1

    g = go(hog)
    while not g.done:
        gopark.gosched()
    g.result()
    assert count > 0


def sorting(rng: random.Random) -> None:
    data = [rng.random() for _ in range(300)]
    assert sorted(data, key=lambda x: -x) == sorted(data)[::-1]


def jsons(rng: random.Random) -> None:
    obj = {str(i): [rng.random(), {"a": None}] for i in range(50)}
    assert json.loads(json.dumps(obj)) == obj


def regex(rng: random.Random) -> None:
    text = " ".join(str(rng.randrange(1000)) for _ in range(200))
    assert re.sub(r"\d+", lambda m: m.group(), text) == text


def decimals(rng: random.Random) -> None:
    with decimal.localcontext() as ctx:
        ctx.prec = 50
        x = decimal.Decimal(rng.randrange(2, 1000))
        assert abs(x.sqrt() ** 2 - x) < decimal.Decimal(10) ** -40


def dicts(rng: random.Random) -> None:
    d: dict[int, int] = {}
    for i in range(500):
        d[i % 97] = d.get(i % 97, 0) + 1
        if i % 3 == 0:
            d.pop(rng.randrange(97), None)
    assert all(v > 0 for v in d.values())


def generators(rng: random.Random) -> None:
    def numbers(n: int):
        try:
            yield from range(n)
        finally:
            done.append(n)

    done: list[int] = []
    assert sum(x for x in numbers(300)) == 300 * 299 // 2
    assert done == [300]


def exceptions(rng: random.Random) -> None:
    for i in range(100):
        try:
            try:
                raise ValueError(i)
            except ValueError as e:
                assert sys.exc_info()[1] is e
                raise KeyError(i) from e
        except KeyError as e:
            assert isinstance(e.__cause__, ValueError) and e.__cause__.args == (i,)
    assert sys.exc_info() == (None, None, None)


WORK = (sorting, jsons, regex, decimals, dicts, generators, exceptions)


@pytest.mark.slow
def test_right_results_across_thousands_of_preemptions(short_slice: None) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    enough = 20_000 if IS_COMPILED else 500
    before = gopark.statistics().preemptions
    deadline = time.monotonic() + 25

    def worker(i: int) -> int:
        rng = random.Random(seed + i)
        rounds = 0
        while gopark.statistics().preemptions - before < enough and time.monotonic() < deadline:
            WORK[(i + rounds) % len(WORK)](rng)
            rounds += 1
        return rounds

    def main() -> int:
        return sum(g.result() for g in [go(worker, i) for i in range(2 * len(WORK))])

    assert gopark.run(main) > 0
    count = gopark.statistics().preemptions - before
    print(f"{count} preemptions")
    assert count > enough // 20


def test_no_preemption_in_a_no_preempt_block(short_slice: None) -> None:
    def main() -> bool:
        ran: list[int] = []
        go(ran.append, 1)
        with gopark.no_preempt():
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
            quiet = not ran
        eventually(lambda: ran)
        return quiet

    assert gopark.run(main)


def test_no_preemption_in_a_finalizer_or_an_import(short_slice: None) -> None:
    program = """
        import builtins, gopark, sys, time
        from gopark.runtime import sysmon
        sysmon.set_slice(200_000)
        trace = []
        def busy(name):
            trace.append("enter " + name)
            end = time.monotonic() + 0.05
            while time.monotonic() < end: pass
            trace.append("leave " + name)
        class Finalized:
            def __del__(self): busy("del")
        import weakref
        class Referenced: pass
        def callback(ref): busy("weakref")
        def other():
            while True:
                if trace and trace[-1].startswith("enter"): trace.append("OTHER RAN")
                gopark.gosched()
        def main():
            sysmon.set_slice(200_000)
            gopark.go(other)
            x = Finalized()
            x = None
            y = Referenced(); r = weakref.ref(y, callback)
            y = None
            sys.path.insert(0, sys.argv[1])
            builtins.busy = busy
            import preempted_module
        gopark.run(main)
        assert trace == ["enter del", "leave del", "enter weakref", "leave weakref", "enter import", "leave import"], trace
        print("ok")
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/preempted_module.py", "w") as f:
            f.write("busy('import')\n")
        assert python(program.replace("sys.argv[1]", repr(folder))).stdout.strip() == "ok"


def test_a_programs_own_sigurg_handler_still_gets_its_signals() -> None:
    program = """
        import gopark, os, signal
        got = []
        signal.signal(signal.SIGURG, lambda s, f: got.append(s))
        def main():
            for _ in range(3):
                n = len(got)
                os.kill(os.getpid(), signal.SIGURG)
                while len(got) == n: gopark.sleep(0.001)
        gopark.run(main)
        n = len(got)
        os.kill(os.getpid(), signal.SIGURG)     # and after the runtime has ended
        assert len(got) == n + 1
        print("ok")
    """
    assert python(program).stdout.strip() == "ok"


def test_asyncpreempt_0_turns_it_off() -> None:
    program = """
        import gopark, time, signal
        def main():
            ran = []
            gopark.go(ran.append, 1)
            end = time.monotonic() + 0.1
            while time.monotonic() < end: pass
            assert not ran
            assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
        gopark.run(main)
        print(gopark.statistics().preemptions)
    """
    assert python(program, GOPARK_ASYNCPREEMPT="0").stdout.strip() == "0"


def test_off_the_main_thread_it_says_once_that_preemption_is_off() -> None:
    program = """
        import gopark, threading
        def run(): gopark.run(gopark.sleep, 0.001)
        for _ in range(2):
            t = threading.Thread(target=run); t.start(); t.join()
    """
    done = python(program)
    assert done.stderr.count("preemption is off") == 1


def test_system_calls_of_the_preempted_are_not_cut(short_slice: None) -> None:
    """A blocking read in C goes on after the signal (SA_RESTART)."""
    a, b = socket.socketpair()

    def main() -> bytes:
        timer = threading.Timer(0.1, b.send, (b"x",))
        timer.start()
        go(gopark.sleep, 1)
        return a.recv(1)  # blocks the thread: that is the point

    assert gopark.run(main) == b"x"
    a.close()
    b.close()


@goroutines
def test_the_handler_is_given_back() -> None:
    assert signal.getsignal(signal.SIGURG) is not signal.SIG_DFL


def test_sigurg_is_free_again_after_run() -> None:
    gopark.run(gopark.sleep, 0)
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
