"""gopark.aio.future: a coroutine awaits a goroutine."""

import asyncio
import threading
from typing import Any, NoReturn

import pytest

import gopark
from gopark import aio
from support import eventually, goroutines, parked


def double(n: int) -> int:
    gopark.sleep(0.001)
    return 2 * n


def fail() -> NoReturn:
    gopark.sleep(0.001)
    raise LookupError("not there")


@goroutines
def test_a_coroutine_awaits_goroutines_results() -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*[aio.future(gopark.go(double, i)) for i in range(20)])

    assert aio.wait(main()) == [2 * i for i in range(20)]


@goroutines
def test_a_goroutine_that_has_ended_already() -> None:
    done = gopark.go(double, 4)
    done.join()

    async def main() -> int:
        return await aio.future(done)

    assert aio.wait(main()) == 8


@goroutines
def test_its_exception_is_raised() -> None:
    async def main() -> Any:
        return await aio.future(gopark.go(fail))

    with pytest.raises(LookupError, match="not there"):
        aio.wait(main())


@goroutines
def test_a_cancelled_goroutine_is_cancelled_error_in_the_coroutine() -> None:
    sleeper = parked(gopark.go(gopark.sleep, 3600), "sleep")

    async def main() -> str:
        waiting = aio.future(sleeper)
        sleeper.cancel()
        try:
            await waiting
        except asyncio.CancelledError:
            return "cancelled"
        return "not"

    assert aio.wait(main()) == "cancelled"


@goroutines
def test_a_cancelled_coroutine_cancels_the_goroutine_and_waits_for_its_end() -> None:
    story: list[str] = []

    def work() -> None:
        try:
            gopark.sleep(3600)
        finally:
            story.append("goroutine cancelled")
            gopark.sleep(0.01)
            story.append("goroutine cleaned up")

    worker = parked(gopark.go(work), "sleep")

    async def main() -> None:
        try:
            await asyncio.wait_for(aio.future(worker), 0.01)
        except TimeoutError:
            story.append("coroutine timed out")

    aio.wait(main())
    assert story == ["goroutine cancelled", "goroutine cleaned up", "coroutine timed out"]


@goroutines
def test_cancellation_goes_through_any_number_of_layers() -> None:
    """A goroutine awaits a coroutine that awaits a goroutine that awaits ..."""
    ended: list[int] = []

    async def down(depth: int) -> None:
        await aio.future(gopark.go(layer, depth))

    def layer(depth: int) -> None:
        try:
            if depth == 0:
                gopark.sleep(3600)
            aio.wait(down(depth - 1))
        finally:
            ended.append(depth)

    top = gopark.go(layer, 5)
    bottom = eventually(lambda: [g for g in _all() if g.status == 4 and g.waitreason == "sleep"])
    assert len(bottom) == 1
    top.cancel()
    top.join()
    assert ended == [0, 1, 2, 3, 4, 5]
    assert isinstance(top.exception, gopark.Cancelled)


def _all() -> list[gopark.Goroutine]:
    from gopark.runtime import proc

    return list(proc.getp().allgs)


@goroutines
def test_stop_iteration_comes_as_a_runtime_error() -> None:
    async def main() -> None:
        await aio.future(gopark.go(next, iter(())))

    with pytest.raises(RuntimeError, match="StopIteration"):
        aio.wait(main())


@goroutines
def test_on_a_loop_of_another_thread() -> None:
    worker = gopark.go(double, 21)
    failing = gopark.go(fail)
    out: list[Any] = []

    async def main() -> None:
        out.append(await aio.future(worker))
        try:
            await aio.future(failing)
        except LookupError as e:
            out.append(str(e))
        sleeper = gopark.go(gopark.sleep, 3600)
        try:
            await asyncio.wait_for(aio.future(sleeper), 0.01)
        except TimeoutError:
            out.append(sleeper.done)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    eventually(lambda: not thread.is_alive())
    assert out == [42, "not there", True]


@goroutines
def test_a_loop_that_is_closed_before_the_goroutine_ends_is_none_of_its_business() -> None:
    sleeper = gopark.go(gopark.sleep, 0.05)

    async def main() -> None:
        aio.future(sleeper)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    eventually(lambda: not thread.is_alive())
    assert sleeper.result() is None


@goroutines
def test_where_it_cannot_be_called_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="no coroutine"):
        aio.future(gopark.go(double, 1))

    async def main() -> None:
        aio.future(double)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"gopark\.go"):
        aio.wait(main())
