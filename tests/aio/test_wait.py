"""gopark.aio.wait: a goroutine awaits a coroutine."""

import asyncio
import contextvars
import gc
import threading
import time
import traceback
import warnings
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest

import gopark
from gopark import aio
from support import eventually, goroutines, parked

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def forever() -> NoReturn:
    while True:
        await asyncio.sleep(3600)


@goroutines
def test_the_result_is_returned() -> None:
    assert aio.wait(add(1, 2)) == 3


def test_it_starts_the_runtime_like_every_call_that_waits() -> None:
    from support import python

    program = "import gopark, asyncio; print(gopark.aio.wait(asyncio.sleep(0.001, 'slept')))"
    assert python(program).stdout == "slept\n"


@goroutines
def test_waits_are_concurrent_with_one_another_and_with_goroutines_that_block() -> None:
    began = time.monotonic()
    waiting = [gopark.go(aio.wait, asyncio.sleep(0.2, i)) for i in range(50)]
    waiting += [gopark.go(gopark.sleep, 0.2) for _ in range(50)]
    assert [g.result() for g in waiting[:50]] == list(range(50))
    assert all(g.join(1) for g in waiting)
    assert time.monotonic() - began < 1.5


@goroutines
def test_an_async_stream_and_a_blocking_connection_talk_to_each_other() -> None:
    """Both descriptors are waited for by the same poller."""
    with gopark.net.listen("tcp", "127.0.0.1:0") as listener:

        def serve() -> None:
            with listener.accept() as conn:
                for _ in range(100):
                    conn.write(conn.read_exactly(5))

        async def talk() -> int:
            reader, writer = await asyncio.open_connection(*listener.addr)
            for _ in range(100):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
            writer.close()
            return 100

        server = gopark.go(serve)
        assert aio.wait(talk()) == 100
        server.result()


@goroutines
def test_the_exception_is_raised_with_the_coroutines_traceback() -> None:
    async def inner() -> NoReturn:
        await asyncio.sleep(0)
        raise ValueError("from inside")

    async def outer() -> None:
        await inner()

    with pytest.raises(ValueError, match="from inside") as caught:
        aio.wait(outer())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[0].startswith("test_the_exception") and names[-2:] == ["outer", "inner"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_programs_is_raised_in_the_goroutine_alone(kind: type[BaseException]) -> None:
    async def quits() -> NoReturn:
        raise kind("enough")

    def main() -> int:
        with pytest.raises(kind, match="enough"):
            aio.wait(quits())
        return aio.wait(add(20, 3))  # the loop goes on

    assert gopark.run(main) == 23


@goroutines
def test_other_awaitables_than_coroutines() -> None:
    class Later:
        def __await__(self) -> Any:
            return add(3, 4).__await__()

    assert aio.wait(Later()) == 7

    async def start() -> "asyncio.Task[int]":
        return asyncio.create_task(add(5, 6))

    task = aio.wait(start())
    assert aio.wait(task) == 11
    assert aio.wait(task) == 11  # it has ended by now

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    generator = numbers()
    assert [aio.wait(anext(generator)), aio.wait(anext(generator))] == [1, 2]


# -- context variables -------------------------------------------------------------------------------------------------


@goroutines
def test_context_variables_cross_in_both_directions() -> None:
    async def paint() -> str:
        seen = colour.get()
        await asyncio.sleep(0)
        colour.set("blue")
        return seen

    colour.set("red")
    assert aio.wait(paint()) == "red"
    assert colour.get() == "blue"


@goroutines
def test_context_variables_come_back_from_a_coroutine_that_fails() -> None:
    async def paint() -> None:
        colour.set("green")
        raise LookupError

    with pytest.raises(LookupError):
        aio.wait(paint())
    assert colour.get() == "green"


@goroutines
def test_context_variables_of_two_waits_do_not_mix() -> None:
    async def paint(name: str) -> str:
        colour.set(name)
        await asyncio.sleep(0.001)
        return colour.get()

    def one(name: str) -> tuple[str, str]:
        return aio.wait(paint(name)), colour.get()

    painters = [gopark.go(one, f"colour {i}") for i in range(20)]
    assert [g.result() for g in painters] == [(f"colour {i}",) * 2 for i in range(20)]
    assert colour.get() == "none"


@goroutines
def test_the_loop_itself_has_none_of_the_first_callers_context_variables() -> None:
    colour.set("mine")
    aio.wait(add(1, 1))

    async def look() -> str:
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(lambda: seen.append(colour.get()), context=None)
        await asyncio.sleep(0)
        return seen[0]

    other = contextvars.Context().run(gopark.go, aio.wait, look())
    assert other.result() == "none"


# -- cancellation ------------------------------------------------------------------------------------------------------


@goroutines
def test_a_cancelled_goroutine_cancels_its_task_and_waits_for_its_end() -> None:
    story: list[str] = []

    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            story.append("task cancelled")
            await asyncio.sleep(0.01)
            story.append("task cleaned up")
            raise

    def waits() -> None:
        try:
            aio.wait(work())
        except gopark.Cancelled:
            story.append("goroutine cancelled")
            raise

    waiter = parked(gopark.go(waits), "aio.wait")
    gopark.sleep(0.005)
    waiter.cancel()
    waiter.join()
    assert story == ["task cancelled", "task cleaned up", "goroutine cancelled"]
    assert isinstance(waiter.exception, gopark.Cancelled)


@goroutines
def test_cancellation_cannot_be_swallowed_by_the_coroutine() -> None:
    async def deaf() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "I go on"

    waiter = parked(gopark.go(aio.wait, deaf()), "aio.wait")
    gopark.sleep(0.005)
    waiter.cancel()
    waiter.join()
    assert isinstance(waiter.exception, gopark.Cancelled)


@goroutines
def test_an_error_in_the_tasks_clean_up_is_the_context_of_cancelled() -> None:
    async def clumsy() -> None:
        try:
            await forever()
        finally:
            raise OSError("clean-up failed")

    waiter = parked(gopark.go(aio.wait, clumsy()), "aio.wait")
    gopark.sleep(0.005)
    waiter.cancel()
    waiter.join()
    assert isinstance(waiter.exception, gopark.Cancelled)
    assert isinstance(waiter.exception.__context__, OSError)


@goroutines
def test_each_cancel_cancels_the_task_once_more() -> None:
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while cancelled < 3:
            try:
                await forever()
            except asyncio.CancelledError:
                cancelled += 1

    waiter = parked(gopark.go(aio.wait, stubborn()), "aio.wait")
    for n in range(1, 4):
        gopark.sleep(0.002)
        waiter.cancel()
        eventually(lambda n=n: cancelled == n)
    assert waiter.join(1)


@goroutines
def test_a_goroutine_cancelled_before_it_waits_does_not_wait() -> None:
    ran = False

    async def note() -> None:
        nonlocal ran
        ran = True
        await forever()

    def waits() -> None:
        gopark.current().cancel()
        aio.wait(note())

    waiter = gopark.go(waits)
    waiter.join()
    assert isinstance(waiter.exception, gopark.Cancelled)
    assert not ran


@goroutines
def test_a_shielded_goroutine_is_cancelled_after_the_wait() -> None:
    def waits() -> None:
        with gopark.shield():
            results.append(aio.wait(asyncio.sleep(0.02, "done")))
        gopark.gosched()
        results.append("not reached")

    results: list[str] = []
    waiter = parked(gopark.go(waits), "aio.wait")
    waiter.cancel()
    waiter.join()
    assert results == ["done"]
    assert isinstance(waiter.exception, gopark.Cancelled)


@goroutines
def test_a_task_that_is_cancelled_by_another_raises_cancelled_error_in_the_goroutine() -> None:
    async def itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        await forever()

    with pytest.raises(asyncio.CancelledError):
        aio.wait(itself())


@goroutines
def test_a_signal_handler_that_raises_ends_the_wait_and_the_task() -> None:
    import signal

    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await forever()
        finally:
            ended = True

    def alarm(signum: int, frame: object) -> NoReturn:
        raise ArithmeticError("alarm")

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(ArithmeticError, match="alarm"):
            aio.wait(work())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended


# -- timeouts ----------------------------------------------------------------------------------------------------------


@goroutines
def test_a_timeout_cancels_the_task_and_waits_for_its_end() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await forever()
        finally:
            ended = True

    with pytest.raises(TimeoutError):
        aio.wait(work(), timeout=0.01)
    assert ended


@goroutines
def test_a_timeout_of_nothing_is_a_timeout() -> None:
    for seconds in (0, -1):
        with pytest.raises(TimeoutError):
            aio.wait(forever(), timeout=seconds)


@goroutines
def test_within_its_timeout_it_changes_nothing() -> None:
    assert aio.wait(add(1, 2), timeout=30) == 3
    assert aio.wait(add(1, 2), timeout=float("inf")) == 3


@goroutines
def test_a_task_that_ends_well_although_its_time_is_up_has_a_result() -> None:
    async def work() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "partial"

    assert aio.wait(work(), timeout=0.01) == "partial"


# -- where it cannot be called -----------------------------------------------------------------------------------------


@goroutines
def test_in_a_coroutine_of_the_loop_it_says_await() -> None:
    async def confused() -> int:
        return aio.wait(add(1, 2))

    with pytest.raises(RuntimeError, match="use await"):
        aio.wait(confused())


def test_in_a_coroutine_of_another_loop_it_says_await() -> None:
    async def confused() -> int:
        return aio.wait(add(1, 2))

    with pytest.raises(RuntimeError, match="use await"):
        asyncio.run(confused())


@goroutines
def test_on_another_thread_it_says_so() -> None:
    caught: list[BaseException] = []

    def thread() -> None:
        try:
            aio.wait(add(1, 2))
        except BaseException as e:
            caught.append(e)

    other = threading.Thread(target=thread)
    other.start()
    eventually(lambda: not other.is_alive())
    assert isinstance(caught[0], RuntimeError) and "aio.wait" in str(caught[0])
    assert "another thread" in str(caught[0])


@goroutines
def test_what_cannot_be_awaited_is_refused() -> None:
    with pytest.raises(TypeError, match=r"pass what add\(\.\.\.\) returns"):
        aio.wait(add)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not 42"):
        aio.wait(42)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="timeout"):
        aio.wait(add(1, 2), timeout="soon")  # type: ignore[arg-type]


@goroutines
def test_a_future_of_another_loop_is_refused() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(ValueError, match="another loop"):
            aio.wait(loop.create_future())
    finally:
        loop.close()


@goroutines
def test_a_coroutine_that_is_refused_is_not_said_to_be_never_awaited() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError):
            aio.wait(add(1, 2), timeout="soon")  # type: ignore[arg-type]
        gc.collect()


@goroutines
def test_the_dump_says_which_coroutine_a_goroutine_waits_for() -> None:
    waiter = parked(gopark.go(aio.wait, forever()), "aio.wait")
    assert "forever" in gopark.stack()
    waiter.cancel()
    waiter.join()


@goroutines
def test_nothing_is_kept_of_a_wait_that_is_over() -> None:
    import weakref

    class Thing:
        pass

    async def work(thing: Thing) -> None:
        await asyncio.sleep(0)
        raise ValueError

    thing = Thing()
    gone = weakref.ref(thing)
    for _ in range(2):
        with pytest.raises(ValueError):
            aio.wait(work(thing))
    del thing
    aio.wait(asyncio.sleep(0))
    gc.collect()
    assert gone() is None
