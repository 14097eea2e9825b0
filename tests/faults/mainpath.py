"""What the fault tests run, in a process of its own, again and again: everything that a network program does once.

`python mainpath.py`, with the shim preloaded or not; what it is to do comes as arguments.  It prints one line for each fault
that was not survived, and nothing else.
"""

import ctypes
import errno
import faulthandler
import gc
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gopark
from gopark import go, net, sync

ALLOCATIONS = 4000  # about as many as a part makes, the start of the runtime included
PATIENCE = 20  # s that one run may take: no deadline in it is longer than 2
LEAKS = sys.argv[1:2] == ["call"]  # are descriptors looked for that stay open?
# What may come of a fault: errors of the system, of memory, of a peer that is gone; a thread that cannot be started.
# (SystemError: a function of CPython's own that has met a MemoryError and forgot to say so.)
CLEAR = (OSError, EOFError, MemoryError, RuntimeError, ExceptionGroup, SystemError)

payload = tempfile.TemporaryFile()
payload.write(b"from a file" * 100)
payload.flush()


def exchange() -> None:
    """A listener, a dial, both directions, a half-close, and the end."""
    with net.listen("tcp", "127.0.0.1:0") as listener:
        listener.set_deadline(gopark.time.now() + 2)

        def serve() -> None:
            with listener.accept() as conn:
                conn.set_timeout(2)
                while data := conn.read():
                    conn.write(data)

        server = go(serve)
        try:
            with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}", timeout=2) as conn:
                conn.set_timeout(2)
                conn.set_no_delay(True)
                conn.write(b"one")
                assert conn.read_exactly(3) == b"one"
                conn.writev([b"two", b"three"])
                assert conn.read_exactly(8) == b"twothree"
                assert conn.send_file(payload) == 1100
                assert conn.read_exactly(1100) == b"from a file" * 100
                conn.close_write()
                assert conn.read() == b""
        finally:
            listener.close()
            server.join(5)
            assert server.done, "the server hangs"
            assert server.exception is None or isinstance(server.exception, CLEAR), repr(server.exception)


def meet() -> None:
    """Channels, select, locks, timers, a thread, a pipe."""
    first, second = net.pipe()
    with first, second:
        second.set_timeout(2)
        first.write(b"x")
        assert second.read() == b"x"
    ch, done, mutex = gopark.Chan(), gopark.Chan(1), sync.Mutex()

    def worker() -> None:
        with mutex:
            gopark.sleep(0.0002)
            ch.send(1)

    with mutex:
        g = go(worker)
        gopark.gosched()
    _, value, ok = gopark.select(ch.on_recv(), done.on_recv(), timeout=2)
    assert (value, ok) == (1, True) or (g.join(2) and g.exception is not None)
    timer = gopark.time.Timer(0.0002)
    assert timer.c.recv_ok()[1]


def thread() -> None:
    """A blocking call."""
    assert gopark.blocking(len, b"four") == 4


def child() -> None:
    """A forked child whose runtime goes on."""
    pid = os.fork()
    if pid == 0:
        try:
            gopark.sleep(0.0001)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


PARTS: dict[str, Callable[[], None]] = {"exchange": exchange, "meet": meet, "thread": thread, "child": child}


def quiet(goroutine: gopark.Goroutine, exc: BaseException) -> None:
    if not isinstance(exc, CLEAR):
        raise SystemExit(f"a goroutine ended with {exc!r}")


usual: dict[Callable[[], None], int] = {}  # how many descriptors are open after a part without a fault


def learn(part: Callable[[], None]) -> tuple[str, int]:
    """Run *part* twice, without a fault: how many descriptors are open then."""
    gopark.run(part)
    gopark.run(part)
    gc.collect()
    return "", len(os.listdir("/proc/self/fd"))


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return fd


def survive(
    part: Callable[[], None], arm: Callable[[], object], disarm: Callable[[], Any]
) -> tuple[str, Any]:
    """Run *part* with a fault in it: what was wrong with how it went ("": nothing), and what disarm said.

    Nothing may be left of it, and afterwards the same must work without a fault."""
    wrong = ""
    arm()
    try:
        gopark.run(part)
    except CLEAR as e:
        disarmed = disarm()
        if not str(e) and not isinstance(e, MemoryError):
            wrong = f"an error without a text: {e!r}"
        del e
    except BaseException as e:
        disarmed = disarm()
        wrong = f"{type(e).__name__}: {e}"
    else:
        disarmed = disarm()
    gc.collect()
    if not wrong:
        try:
            gopark.run(part)
        except BaseException as e:
            wrong = f"then, without a fault, {type(e).__name__}: {e}"
        gc.collect()
        # (With no memory for what they return, os.pipe2 and its like lose the descriptors that they have opened.)
        if not wrong and LEAKS and len(os.listdir("/proc/self/fd")) > usual[part]:
            wrong = f"left open: {sorted(map(_target, os.listdir('/proc/self/fd')))}"
    return wrong, disarmed


def ours(crash: str) -> bool:
    """Was it our C code, or what that has just called?  greenlet crashes when it has no memory for a new stack or for the
    copy of one, CPython where it has none for a frame, and in places of its own."""
    frames = [line for line in crash.splitlines() if line.endswith("]") and ".so" in line]
    inner = [line for line in frames if "shim.so" not in line and "libc.so" not in line][:2]
    return not inner or any("/gopark/" in line for line in inner)


def forked(run: Callable[[], tuple[str, Any]]) -> tuple[str, int]:
    """run() in a child that has not started the runtime yet: what was wrong, and the number that it gave."""
    r, w = os.pipe()
    with tempfile.TemporaryFile() as stderr:
        pid = os.fork()
        if pid == 0:
            os.close(r)
            os.dup2(stderr.fileno(), 2)
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            wrong, number = run()
            os.write(w, f"{number} {wrong}".encode()[:4000])
            os._exit(0)
        os.close(w)
        with os.fdopen(r, "rb") as stream:
            said = stream.read().decode()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not said:
            stderr.seek(0)
            last = stderr.read().decode(errors="replace")[-3000:]
            if status < 0 and not ours(last):
                return "", 0
            how = (
                f"killed by {signal.Signals(-status).name}" if status < 0 else f"hung, or ended with {status}"
            )
            return f"{how}\n{last}", 0
    number, _, wrong = said.partition(" ")
    return wrong, int(number)


def system_call(name: str, errors: list[str]) -> None:
    """Every call of *name* on the main path fails in turn, with each of *errors*."""
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    for part_name, part in PARTS.items():
        for error in errors:
            code = getattr(errno, error)
            n = 0
            while True:
                n += 1
                wrong, calls = forked(
                    partial(survive, part, partial(shim.fault_arm, name.encode(), n, code), shim.fault_disarm)
                )
                if wrong:
                    print(f"{part_name}: call {n} of {name} says {error}: {wrong}", flush=True)
                if calls < n:
                    break


def allocations(count: int, seed: int) -> None:
    """*count* allocations of each part, chosen by *seed*, fail: one in each run."""
    import _testcapi

    ctypes.CDLL(os.environ["LD_PRELOAD"]).fault_crashes()

    def restored() -> int:
        _testcapi.remove_mem_hooks()
        return 0

    chosen = random.Random(seed)
    for part_name, part in PARTS.items():
        if part is thread and sys.version_info >= (3, 12):
            continue  # CPython 3.12 and 3.13 corrupt their heap when there is no memory to list a thread (_DummyThread)
        for n in sorted(chosen.sample(range(1, ALLOCATIONS), count)):
            wrong, _ = forked(partial(survive, part, partial(_testcapi.set_nomemory, n, n + 1), restored))
            if wrong:
                print(f"{part_name}: allocation {n} fails: {wrong}", flush=True)


def main() -> None:
    gopark.excepthook = quiet
    warnings.simplefilter("ignore")  # EMFILE's, where accept waits
    if LEAKS:
        for part in PARTS.values():
            wrong, usual[part] = forked(partial(learn, part))
            assert not wrong, wrong
    kind, *rest = sys.argv[1:]
    if kind == "call":
        system_call(rest[0], rest[1].split(","))
    else:
        allocations(int(rest[0]), int(rest[1]))


main()
