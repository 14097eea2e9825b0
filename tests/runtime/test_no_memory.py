"""Each allocation of an operation fails in turn: MemoryError somewhere, nobody is lost, and the runtime goes on."""

import sys

import pytest

from support import IS_COMPILED, python

pytest.importorskip("_testcapi")

PROGRAM = """
    import _testcapi, gc, os, signal, sys
    import gopark
    from gopark import time

    def go(): gopark.go(int).join()
    def sleep(): gopark.sleep(0.0001)
    def chan():
        ch = gopark.Chan()
        g = gopark.go(ch.send, 1)
        try: ch.recv()
        finally: g.cancel()
        g.join()
    def select():
        a, b = gopark.Chan(), gopark.Chan(1)
        gopark.select(a.on_recv(), timeout=0.0001)
        gopark.select(b.on_send(1), a.on_recv())
    def timer():
        t = time.after_func(0.0001, int)
        try: gopark.sleep(0.0003)
        finally: t.stop()

    operation = OPERATION
    gopark.excepthook = lambda goroutine, exc: None
    sys.unraisablehook = lambda u: None

    def main(n):
        for _ in range(3): operation()
        gc.disable()
        failed = ""
        _testcapi.set_nomemory(n, n + 1)
        try:
            operation()
        except MemoryError:
            pass
        except BaseException as e:
            failed = repr(e)
        _testcapi.remove_mem_hooks()
        for _ in range(3): operation()
        gopark.sleep(0.0005)
        s = gopark.statistics()
        if failed or s.goroutines != 1 or s.timers or s.netpoll_waiters or s.runqueue:
            return f"{failed} {s}"
        return ""

    fine = 0
    for n in range(1, 90):
        r, w = os.pipe()
        if (pid := os.fork()) == 0:
            signal.alarm(20)
            os.dup2(w, 2)
            os.close(w)
            try: said = gopark.run(main, n)
            except BaseException as e: said = "run: " + repr(e)
            os.write(2, said.encode())
            os._exit(1 if said else 0)
        os.close(w)
        text = b""
        while data := os.read(r, 65536): text += data
        os.close(r)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # A greenlet cannot do without memory to save its stack in: greenlet itself ends the process then.
        if status and b"slp_switch" not in text:
            print(n, status, text.decode(errors="replace")[:2000])
        fine += status == 0
    print("fine" if fine > 40 else fine)
"""


@pytest.mark.skipif(not IS_COMPILED, reason="the interpreted core's every bytecode allocates")
@pytest.mark.skipif(sys.version_info >= (3, 15), reason="set_nomemory is about to change there")
@pytest.mark.parametrize("operation", ["go", "sleep", "chan", "select", "timer"])
def test_every_allocation_fails_once(operation: str) -> None:
    done = python(PROGRAM.replace("OPERATION", operation), timeout=55)
    assert done.stdout.strip() == "fine"
