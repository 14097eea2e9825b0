"""The last lines of a goroutine's dump: who created it, where."""

import functools
import inspect
import re

import gopark
from support import goroutines, parked


def created(gp: gopark.Goroutine) -> tuple[str, int, int]:
    """(function, its goroutine's id or 0, line)"""
    pattern = (
        rf"^goroutine {gp.id} \[(?:(?!\n\n).)*?^created by (\S+)(?: in goroutine (\d+))?\n\t([^\n]*):(\d+)\n"
    )
    found = re.search(pattern, gopark.stack(), re.M | re.S)
    assert found is not None, gopark.stack()
    assert found[3] == __file__
    return found[1].removeprefix(f"{__name__}."), int(found[2] or 0), int(found[4])


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def nap() -> None:
    gopark.sleep(1e6)


def spawn() -> tuple[gopark.Goroutine, int]:
    return gopark.go(nap), line()


@goroutines
def test_names_the_function_the_goroutine_and_the_line_of_the_call() -> None:
    gp, at = spawn()
    assert created(gp) == ("spawn", 1, at)


@goroutines
def test_a_goroutine_created_by_another_names_that_one() -> None:
    out: list[tuple[gopark.Goroutine, int]] = []

    def parent() -> None:
        out.append(spawn())
        nap()

    gp = parked(gopark.go(parent))
    assert created(out[0][0]) == ("spawn", gp.id, out[0][1])


@goroutines
def test_still_true_when_the_creator_has_ended() -> None:
    gp, at = gopark.go(spawn).result(10)
    function, parent, where = created(gp)
    assert (function, where) == ("spawn", at) and parent > 1


@goroutines
def test_the_line_is_that_of_the_call_not_of_the_functions_start() -> None:
    first, one = gopark.go(nap), line()
    second = gopark.go(
        nap,
    )
    third, three = gopark.go(nap), line()
    assert (created(first)[2], created(third)[2]) == (one, three)
    assert one < created(second)[2] < three


@goroutines
def test_from_another_thread_no_goroutine_is_named() -> None:
    gp, at = gopark.blocking(spawn)
    assert created(gp) == ("spawn", 0, at)


@goroutines
def test_through_a_c_function_it_is_the_python_frame_below() -> None:
    gp = next(map(functools.partial(gopark.go), [nap]))
    assert created(gp)[0] == "test_through_a_c_function_it_is_the_python_frame_below"


@goroutines
def test_main_was_created_by_nobody() -> None:
    assert "created by" not in gopark.stack(all=False)
