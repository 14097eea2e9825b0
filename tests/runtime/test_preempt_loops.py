"""Whatever goes round for ever lets the others run, within about a time slice: each form that a loop can have in Python's
bytecode, and each way in which C code can call a Python function that does not return."""

import contextvars
import functools
import itertools
import json
import operator
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gopark
from gopark import go

Hog = Callable[[], Any]
HOGS: list[Hog] = []


def hog(fn: Hog) -> Hog:
    HOGS.append(fn)
    return fn


def nothing(*args: Any) -> None:
    pass


# -- loops -------------------------------------------------------------------------------------------------------------


@hog
def while_true() -> None:
    while True:
        pass


@hog
def while_integers() -> None:
    i = 0
    while i < 1 << 60:
        i += 1


@hog
def while_integers_of_two_sides() -> None:
    i = 0
    while 0 <= i < 1 << 60:
        i += 1


@hog
def while_floats() -> None:
    end = time.monotonic() + 3600
    while time.monotonic() < end:
        pass


@hog
def while_texts() -> None:
    text = "a"
    while text == "a":
        pass


@hog
def while_not_texts() -> None:
    text = "a"
    while not text != "a":
        pass


@hog
def while_tuples() -> None:
    value = (1, 2)
    while value == (1, 2):
        pass


@hog
def while_none() -> None:
    value = None
    while value is None:
        pass


@hog
def while_not_none() -> None:
    value: Any = 1
    while value is not None:
        pass


@hog
def while_truth() -> None:
    value = [1]
    while value:
        pass


@hog
def while_not() -> None:
    value: list[int] = []
    while not value:
        pass


@hog
def while_contained() -> None:
    value = {1}
    while 1 in value and 2 not in value:
        pass


@hog
def while_or() -> None:
    a, b = 0, 1
    while a or b:
        pass


@hog
def while_walrus() -> None:
    while (value := 1) != 2:
        value += 1


@hog
def while_with_a_break_that_never_comes() -> None:
    i = 0
    while True:
        i += 1
        if i < 0:
            break


@hog
def while_continue() -> None:
    i = 0
    while True:
        i += 1
        if i > 0:
            continue
        nothing()


@hog
def for_count() -> None:
    for _ in itertools.count():
        pass


@hog
def for_nested() -> None:
    for _ in itertools.repeat(None):
        for _ in range(3):
            for _ in (1, 2):
                pass
        continue


@hog
def for_generator() -> None:
    def numbers() -> Iterator[int]:
        while True:
            yield 1

    for _ in numbers():
        pass


@hog
def for_generator_of_generators() -> None:
    def inner() -> Iterator[int]:
        yield 1
        yield 2

    def outer() -> Iterator[int]:
        while True:
            yield from inner()

    for _ in outer():
        pass


@hog
def generator_send() -> None:
    def echo() -> Any:
        value = None
        while True:
            value = yield value

    it = echo()
    next(it)
    while True:
        it.send(1)


@hog
def coroutine_send() -> None:
    class Once:
        def __await__(self) -> Any:
            yield 1

    async def inner() -> None:
        await Once()

    async def outer() -> None:
        while True:
            await inner()

    it = outer()
    try:
        while True:
            it.send(None)
    finally:
        it.close()


@hog
def coroutine_that_awaits_nothing() -> None:
    async def inner() -> None:
        pass

    async def outer() -> None:
        while True:
            await inner()

    outer().send(None)


@hog
def list_comprehension() -> None:
    while True:
        [i for i in range(100_000)]


@hog
def dict_comprehension() -> None:
    while True:
        {i: i for i in range(100_000)}


@hog
def generator_expression() -> None:
    sum(i for i in itertools.repeat(0))


@hog
def recursion() -> None:
    def tree(n: int) -> None:
        if n:
            tree(n - 1)
            tree(n - 1)

    tree(60)


@hog
def recursion_of_two() -> None:
    def even(n: int) -> bool:
        return n == 0 or (odd(n - 1) and odd(n - 1))

    def odd(n: int) -> bool:
        return n != 0 and (even(n - 1) or even(n - 1))

    even(200)


@hog
def exceptions() -> None:
    while True:
        try:
            raise ValueError
        except ValueError:
            pass


@hog
def exceptions_and_continue() -> None:
    while True:
        try:
            int("x")
        except ValueError:
            continue
        finally:
            nothing()


@hog
def with_blocks() -> None:
    class Manager:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *exc: object) -> None:
            pass

    while True:
        with Manager():
            pass


@hog
def match() -> None:
    value: Any = {"a": [1, 2]}
    while True:
        match value:
            case {"a": [x, y]} if x > y:
                nothing()
            case {"a": [x, *_]}:
                pass


@hog
def a_large_body() -> None:
    scope: dict[str, Any] = {}
    exec("x = 0\nwhile True:\n" + "    x = (x + 1) & 1023\n" * 400, scope)


@hog
def module_code() -> None:
    exec("while True: pass", {})


# -- loops that are C calls, most of the time -----------------------------------------------------------------------------


@hog
def a_short_call() -> None:
    value = "x"
    while True:
        len(value)


@hog
def a_call_longer_than_a_slice() -> None:
    while True:
        sum(range(1_000_000))


@hog
def forty_calls() -> None:
    scope: dict[str, Any] = {}
    exec("def f():\n  while True:\n    sum(range(20000))\n" + "    len('x')\n" * 40, scope)
    scope["f"]()


@hog
def a_call_that_looks_for_signals() -> None:
    """As long calls into C do, so that Ctrl-C is noticed in them."""
    pattern = re.compile("(?:a?){18}a{18}")
    while True:
        pattern.match("a" * 18)


@hog
def calls_that_sleep() -> None:
    while True:
        time.sleep(0.001)


@hog
def calls_with_keywords_and_stars() -> None:
    args, kwargs = ([3, 1, 2],), {"reverse": True}
    while True:
        sorted(*args, **kwargs)


# -- Python functions that C code calls --------------------------------------------------------------------------------


def forever(*args: Any, **kwargs: Any) -> Any:
    while True:
        pass


class Odd:
    def __init__(self) -> None:
        pass

    attribute = property(forever)
    __add__ = __eq__ = __lt__ = __getitem__ = __iter__ = __len__ = __bool__ = __enter__ = __call__ = forever  # type: ignore[assignment]
    __hash__ = __getattr__ = __setattr__ = __contains__ = __format__ = __str__ = __index__ = forever  # type: ignore[assignment]


class InInit:
    __init__ = forever


class InNew:
    __new__ = forever


class Meta(type):
    __call__ = forever


class OfMeta(metaclass=Meta):
    pass


def odd() -> Any:
    return Odd()  # (not kept in the module: pytest would look at it)


CALLS: dict[str, Hog] = {
    "sorted": lambda: sorted([1, 2], key=forever),
    "max": lambda: max([1, 2], key=forever),
    "map": lambda: list(map(forever, [1])),
    "filter": lambda: list(filter(forever, [1])),
    "reduce": lambda: functools.reduce(forever, [1, 2]),
    "partial": functools.partial(forever, 1),
    "partial of partial": functools.partial(functools.partial(forever), 1),
    "lru_cache": functools.lru_cache(forever),
    "cached_property": lambda: functools.cached_property(forever).func(),
    "methodcaller": lambda: operator.methodcaller("__call__")(odd()),
    "Context.run": lambda: contextvars.copy_context().run(forever),
    "re.sub": lambda: re.sub("a", forever, "a"),
    "json default": lambda: json.dumps(odd(), default=forever),
    "json hook": lambda: json.loads("{}", object_hook=forever),
    "type()": InInit,
    "__new__": InNew,
    "metaclass": OfMeta,
    "property": lambda: odd().attribute,
    "getattr": lambda: odd().missing,
    "setattr": lambda: setattr(odd(), "x", 1),
    "+": lambda: odd() + 1,
    "==": lambda: odd() == 1,
    "<": lambda: odd() < 1,
    "[]": lambda: odd()[1],
    "in": lambda: 1 in odd(),
    "iter": lambda: list(odd()),
    "len": lambda: len(odd()),
    "bool": lambda: not odd(),
    "if": lambda: 1 if odd() else 2,
    "hash": lambda: hash(odd()),
    "dict": lambda: {odd(): 1},
    "format": lambda: f"{odd()}",
    "str": lambda: str(odd()),
    "index": lambda: [1][odd()],
    "eval": lambda: eval("forever()"),
}


def names() -> list[Any]:
    return [
        *(pytest.param(fn, id=fn.__name__) for fn in HOGS),
        *(pytest.param(fn, id=f"called by {name}") for name, fn in CALLS.items()),
    ]


@pytest.mark.parametrize("endless", names())
def test_whoever_goes_round_for_ever_lets_the_others_run(endless: Hog) -> None:
    took: list[float] = []

    def main() -> None:
        go(endless)
        for _ in range(3):
            start = time.monotonic()
            gopark.sleep(0.001)
            took.append(time.monotonic() - start)
        raise SystemExit  # the program is to end: the other one gets its Cancelled where it is preempted

    with pytest.raises(SystemExit):
        gopark.run(main)
    assert min(took) < 2  # (a slice is 10 ms; the machine may be busy)
