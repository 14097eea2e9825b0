"""After a fork only the goroutine that forked exists: nobody waits for, or hands anything to, the others."""

import os
from collections.abc import Callable

import gopark
from gopark.errgroup import Group
from gopark.sync import Mutex, RWMutex, Semaphore


def in_child(fn: Callable[[], object]) -> None:
    """fn() in a forked child, which must end within 20 s; AssertionError here if it failed there."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fn()
            status = 0
        finally:
            os._exit(status)
    limit = gopark.time.now() + 20
    while gopark.time.now() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        gopark.sleep(0.001)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


def test_locks_forget_the_waiters_that_do_not_exist(eventually) -> None:
    def main() -> None:
        mutex, rw, sem = Mutex(), RWMutex(), Semaphore(1)
        mutex.lock()
        rw.rlock()
        sem.acquire()
        waiters = [gopark.go(fn) for fn in (mutex.lock, rw.lock, rw.rlock, sem.acquire)]
        eventually(lambda: sem.statistics().waiting == 1)

        def child() -> None:
            mutex.unlock()
            assert mutex.lock(timeout=5)
            rw.runlock()
            assert rw.lock(timeout=5)
            sem.release()
            assert sem.acquire(timeout=5)

        in_child(child)
        mutex.unlock()
        sem.release()
        rw.runlock()
        assert waiters[0].result(10) and waiters[1].result(10) and waiters[3].result(10)
        rw.unlock()
        assert waiters[2].result(10)

    gopark.run(main)


def test_group_in_the_child_does_not_wait_for_the_parents_goroutines() -> None:
    def main() -> None:
        def child() -> None:
            g.__exit__(None, None, None)

        with Group(limit=2) as g:
            work = g.go(lambda: gopark.sleep(0.05) or "done")
            gopark.gosched()
            in_child(child)
        assert work.result() == "done"

    gopark.run(main)
