"""The loop behind gopark.aio: who sees it, whom it lets run, its start and its end."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import NoReturn

import pytest

import gopark
from gopark import aio
from support import eventually, goroutines, parked, python


def running() -> object:
    """The loop that this goroutine takes for running."""
    return asyncio._get_running_loop()


@goroutines
def test_first_uses_at_the_same_time_share_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    init = aio._Loop.__init__

    def slow(self: aio._Loop) -> None:
        made.append(self)
        end = time.monotonic() + 0.05
        while time.monotonic() < end:  # long enough to be preempted, elsewhere
            pass
        init(self)

    async def one() -> int:
        return 1

    monkeypatch.setattr(aio._Loop, "__init__", slow)
    gs = [gopark.go(aio.wait, one()) for _ in range(3)]
    assert sum(g.result(10) for g in gs) == 3
    assert len(made) == 1


@goroutines
def test_another_goroutines_own_loop_runs_while_a_coroutine_is_preempted() -> None:
    began = done = False

    async def busy() -> bool:
        nonlocal began
        began = True
        end = time.monotonic() + 10
        while not done and time.monotonic() < end:
            pass
        return done

    async def other() -> None:
        nonlocal done
        await asyncio.sleep(0)
        done = True

    g = gopark.go(aio.wait, busy())
    eventually(lambda: began)
    asyncio.run(other())
    assert g.result(15)


# -- who sees it -------------------------------------------------------------------------------------------------------


@goroutines
def test_no_other_goroutine_sees_the_loop_run() -> None:
    """While it waits, between its rounds, and where it is preempted."""
    seen: set[object] = set()
    over = False

    def watch() -> None:
        while not over:
            seen.add(running())
            seen.add(sys.get_asyncgen_hooks().finalizer)
            gopark.gosched()

    async def work() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        end = time.monotonic() + 0.05
        while time.monotonic() < end:  # preempted in here
            pass
        assert running() is asyncio.get_event_loop()

    watcher = gopark.go(watch)
    before = gopark.statistics().preemptions
    aio.wait(work())
    preemptions = gopark.statistics().preemptions - before
    over = True
    watcher.result()
    assert preemptions > 0
    assert seen == {None}


@goroutines
def test_others_may_run_an_asyncio_loop_of_their_own_meanwhile() -> None:
    waiter = parked(gopark.go(aio.wait, asyncio.sleep(0.02, "mine")), "aio.wait")
    assert asyncio.run(asyncio.sleep(0.001, "another")) == "another"
    assert waiter.result() == "mine"


# -- whom it lets run --------------------------------------------------------------------------------------------------


@goroutines
def test_a_coroutine_that_only_computes_keeps_no_goroutine_out() -> None:
    turns = 0

    def beat() -> None:
        nonlocal turns
        while True:
            gopark.sleep(0.001)
            turns += 1

    async def hog() -> None:
        end = time.monotonic() + 0.15
        while time.monotonic() < end:
            pass

    heart = gopark.go(beat)
    aio.wait(hog())
    heart.cancel()
    assert turns >= 4


@goroutines
def test_callbacks_without_end_keep_no_goroutine_out() -> None:
    async def busy() -> NoReturn:
        while True:
            await asyncio.sleep(0)

    hog = parked(gopark.go(aio.wait, busy()), "aio.wait")
    began = time.monotonic()
    for _ in range(100):
        gopark.gosched()
    assert time.monotonic() - began < 1.0
    hog.cancel()
    hog.join()


@goroutines
def test_a_goroutine_that_only_computes_does_not_keep_the_loop_out() -> None:
    over = False

    def hog() -> None:
        while not over:
            pass

    gopark.go(hog)
    began = time.monotonic()
    for _ in range(3):
        aio.wait(asyncio.sleep(0.001))
    over = True
    assert time.monotonic() - began < 1.0


@goroutines
def test_other_threads_reach_the_loop_while_it_waits() -> None:
    """call_soon_threadsafe, as executors' threads and libraries use it; its _write_to_self is ours."""

    async def main() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(
            target=lambda: (
                time.sleep(0.01),
                loop.call_soon_threadsafe(told.set_result, "told"),
            )
        )
        thread.start()
        return await told, await asyncio.to_thread(lambda: time.sleep(0.01) or "executed")

    assert aio.wait(main()) == ("told", "executed")


@goroutines
def test_children_of_the_loop_are_waited_for() -> None:
    async def main() -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input()[::-1])", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        out, _ = await child.communicate(b"olleh\n")
        assert child.returncode == 0
        return out

    assert aio.wait(main()) == b"hello\n"


@goroutines
def test_signal_handlers_of_the_loop_run() -> None:
    import signal

    async def main() -> str:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[str] = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR2, lambda: arrived.done() or arrived.set_result("arrived"))
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
            return await arrived
        finally:
            loop.remove_signal_handler(signal.SIGUSR2)

    assert aio.wait(main(), timeout=10) == "arrived"


def test_in_debug_mode_asyncio_has_no_complaint() -> None:
    program = """
        import asyncio, gopark
        async def work(n):
            await asyncio.sleep(0.001)
            return n
        def main():
            gs = [gopark.go(lambda i=i: gopark.aio.wait(work(i))) for i in range(10)]
            print(sum(g.result() for g in gs))
        gopark.run(main)
    """
    done = python(program, PYTHONASYNCIODEBUG="1")
    assert (done.stdout, done.stderr) == ("45\n", "")


# -- its life ----------------------------------------------------------------------------------------------------------


def test_importing_gopark_does_not_import_asyncio() -> None:
    program = "import sys, gopark; print('asyncio' in sys.modules, callable(gopark.aio.wait))"
    assert python(program).stdout == "False True\n"


def test_there_is_no_loop_before_the_first_wait_and_one_for_all() -> None:
    async def loop() -> object:
        return asyncio.get_running_loop()

    def main() -> None:
        before = gopark.num_goroutine()
        first = aio.wait(loop())
        assert gopark.num_goroutine() == before + 1
        assert gopark.go(aio.wait, loop()).result() is first

    gopark.run(main)


def test_each_run_has_a_loop_of_its_own_and_closes_it() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = gopark.run(aio.wait, loop())
    assert first.is_closed()
    second = gopark.run(aio.wait, loop())
    assert second is not first and second.is_closed()


def test_background_tasks_are_cancelled_when_the_run_ends() -> None:
    story: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.001)
            story.append("background cleaned up")

    async def start() -> object:
        return asyncio.create_task(background())

    def main() -> object:
        task = aio.wait(start())
        aio.wait(asyncio.sleep(0.001))
        return task

    gopark.run(main)
    assert story == ["background cleaned up"]


def test_clean_up_of_goroutines_may_use_the_loop_to_the_end() -> None:
    story: list[str] = []

    class Client:
        async def open(self) -> None:
            self.loop = asyncio.get_running_loop()

        async def close(self) -> None:
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop() is self.loop
            story.append("closed")

    def work() -> None:
        client = Client()
        aio.wait(client.open())
        try:
            gopark.sleep(3600)
        finally:
            with gopark.shield():
                gopark.sleep(0.01)
                aio.wait(client.close())

    def main() -> None:
        parked(gopark.go(work), "sleep")

    began = time.monotonic()
    gopark.run(main)
    assert story == ["closed"]
    assert time.monotonic() - began < 2.0


def test_goroutines_that_wait_when_the_run_ends_are_cancelled_with_their_tasks() -> None:
    ended: list[int] = []

    async def work(n: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(n)

    def main() -> None:
        for n in range(10):
            parked(gopark.go(aio.wait, work(n)), "aio.wait")
        aio.wait(asyncio.sleep(0.001))

    began = time.monotonic()
    gopark.run(main)
    assert sorted(ended) == list(range(10))
    assert time.monotonic() - began < 2.0


def test_a_program_that_uses_it_without_run_ends_well() -> None:
    program = """
        import asyncio, gopark
        async def background():
            try:
                await asyncio.sleep(3600)
            finally:
                print("background ended")
        async def start():
            return asyncio.create_task(background())
        task = gopark.aio.wait(start())
        gopark.aio.wait(asyncio.sleep(0.001))
    """
    done = python(program)
    assert (done.stdout, done.stderr) == ("background ended\n", "")


def test_ctrl_c_ends_a_wait_and_its_task() -> None:
    program = """
        import asyncio, os, signal, gopark
        async def work():
            asyncio.get_running_loop().call_later(0.02, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(3600)
            finally:
                print("task ended", flush=True)
        try:
            gopark.aio.wait(work())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert python(program).stdout == "task ended\ninterrupted\n"


def test_a_deadlock_is_noticed_beside_an_idle_loop() -> None:
    program = """
        import asyncio, gopark
        gopark.aio.wait(asyncio.sleep(0.001))
        gopark.Chan().recv()
    """
    done = python(program, check=False)
    assert done.returncode == 2
    assert "all goroutines are asleep" in done.stderr


def test_a_forked_child_has_a_loop_of_its_own_and_leaves_the_parents_alone() -> None:
    program = """
        import asyncio, gopark, os, sys
        async def echo(conn):
            reader, writer = await asyncio.open_connection(sock=conn)
            while data := await reader.read(10):
                writer.write(data.upper())
        def main():
            import socket
            a, b = socket.socketpair()
            a.setblocking(False)
            mine = gopark.net.from_socket(b)
            gopark.go(gopark.aio.wait, echo(a))
            mine.write(b"one"); print(mine.read().decode(), flush=True)
            pid = os.fork()
            if pid == 0:
                print(gopark.aio.wait(asyncio.sleep(0.001, "child")), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
            mine.write(b"two"); print(mine.read().decode(), flush=True)
            print(gopark.aio.wait(asyncio.sleep(0.001, "parent")), flush=True)
        gopark.run(main)
    """
    # Python warns of any fork beside other threads, and sysmon's may be one.
    done = python(program, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (done.stdout, done.stderr) == ("ONE\nchild\nTWO\nparent\n", "")


@goroutines
def test_descriptors_are_given_back() -> None:
    from support import descriptors

    before: list[int] = []
    for _ in range(3):
        loop_goroutine = None
        aio.wait(asyncio.sleep(0))
        assert aio._service is not None
        loop_goroutine = aio._service.goroutine
        loop_goroutine.cancel()  # nobody does that; but then it ends, and the next wait starts another
        loop_goroutine.join()
        before.append(len(descriptors()))
    assert before[0] == before[1] == before[2]


@goroutines
def test_tasks_of_a_loop_that_is_made_to_end_are_cancelled() -> None:
    waiter = parked(gopark.go(aio.wait, asyncio.sleep(3600)), "aio.wait")
    gopark.sleep(0.002)
    assert aio._service is not None
    aio._service.goroutine.cancel()
    waiter.join()
    assert isinstance(waiter.exception, asyncio.CancelledError)
    assert aio.wait(asyncio.sleep(0, "again")) == "again"


@goroutines
def test_a_coroutine_that_blocks_in_gopark_blocks_its_loop_and_nobody_else() -> None:
    """As any call that blocks does in a coroutine."""
    rounds = 0

    async def blocks() -> str:
        gopark.sleep(0.02)
        return "slept"

    waiter = gopark.go(aio.wait, blocks())
    while not waiter.done:
        gopark.sleep(0.001)
        rounds += 1
    assert waiter.result() == "slept"
    assert rounds > 5
    other = gopark.go(aio.wait, blocks())
    parked(other, "aio.wait")
    assert aio.wait(asyncio.sleep(0, "meanwhile")) == "meanwhile"
    eventually(lambda: other.done)
