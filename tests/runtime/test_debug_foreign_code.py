"""While a dump is made none of the program's code runs: it could wait for what the dump is to explain."""

import functools
import importlib.util
import os
import sys
import threading
import types
from typing import Any

import pytest

import gopark
from gopark import sync
from gopark.cli import _attach
from gopark.runtime import debug
from support import goroutines, parked


def forbidden(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("the program's code was called")


def dumped() -> str:
    """From the debug socket's thread, and from this one: both alike."""

    def ask() -> str:
        with _attach.Target(os.getpid()) as target:
            assert '"id": 1' in target.ask("ps")
            return target.ask("dump")

    here = debug.report()
    there: str = gopark.blocking(ask)
    assert "changing" not in here + there  # what raises is shown so
    return there


def traps(counter: list[str]) -> dict[str, Any]:
    """What a class may define to have code of its own run."""

    def trap(name: str) -> Any:
        def method(self: Any, *args: Any) -> Any:
            counter.append(name)
            return forbidden()

        return method

    names = ("__repr__", "__str__", "__format__", "__getattr__", "describe", "__eq__", "__len__")
    return {name: trap(name) for name in names} | {"__hash__": object.__hash__}


@pytest.mark.parametrize(
    "base", [gopark.Chan, sync.Mutex, sync.RWMutex, sync.WaitGroup, sync.Semaphore, sync.Cond, sync.Once]
)
@goroutines
def test_a_subclass_is_shown_as_its_class_of_ours(base: Any) -> None:
    called: list[str] = []
    made = type("Foreign", (base,), traps(called))
    mutex = type("ForeignMutex", (sync.Mutex,), traps(called))()
    if base is sync.Cond:
        obj = made(mutex)
        mutex.lock()
        gp = gopark.go(lambda: [mutex.lock(), obj.wait()])
        mutex.unlock()
    elif base is sync.Semaphore:
        obj = made(1)
        obj.acquire()
        gp = gopark.go(obj.acquire)
    elif base is sync.WaitGroup:
        obj = made()
        obj.add(1)
        gp = gopark.go(obj.wait)
    elif base is sync.Once:
        obj = made()
        parked(gopark.go(obj.do, functools.partial(gopark.sleep, 1e6)))
        gp = gopark.go(obj.do, forbidden)
    elif base is gopark.Chan:
        obj = made()
        gp = gopark.go(obj.recv)
    else:
        obj = made()
        obj.lock()
        gp = gopark.go(obj.lock)
    parked(gp)
    text = dumped()
    assert called == []
    assert f"waits for: <{'gopark.sync.' if base is not gopark.Chan else ''}{base.__name__} " in text


@goroutines
def test_a_select_shows_no_subclass_of_a_case_or_a_channel() -> None:
    called: list[str] = []
    channel: Any = type("Foreign", (gopark.Chan,), traps(called))()
    parked(gopark.go(gopark.select, channel.on_recv(), channel.on_send(1)))
    text = dumped()
    assert called == []
    assert ".on_recv(), <Chan " in text and ".on_send(...)" in text


@goroutines
def test_functions_that_have_not_begun_are_not_asked_for_their_names() -> None:
    called: list[str] = []

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if armed:
                called.append(name)
            return super().__getattribute__(name)

    class Proxy(metaclass=Meta):
        def __call__(self) -> None: ...
        def __getattribute__(self, name: str) -> Any:
            if armed:
                called.append(name)
            return super().__getattribute__(name)

    class Partial(functools.partial[None]):
        def __getattribute__(self, name: str) -> Any:
            if armed:
                called.append(name)
            return super().__getattribute__(name)

    armed = False
    for fn in (Proxy(), Partial(Proxy()), Proxy):
        gopark.go(fn)
    armed = True
    text = gopark.stack()
    armed = False
    assert called == []
    assert text.count("Proxy.__call__(...)") == 2
    assert text.count(".Proxy(...)") == 1
    gopark.gosched()


@goroutines
def test_a_name_of_a_subclass_of_str_is_plain_text() -> None:
    called: list[str] = []
    gp = parked(gopark.go(gopark.sleep, 1e6))
    gp.name = type("Name", (str,), traps(called))("the name")
    assert "name: the name\n" in dumped()
    assert called == [] and type(gp.name) is str


@goroutines
def test_lazy_modules_stay_unloaded_and_strange_ones_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    spec = importlib.util.find_spec("this")
    assert spec is not None and spec.loader is not None
    lazy = importlib.util.LazyLoader(spec.loader)
    spec.loader = lazy
    module = importlib.util.module_from_spec(spec)
    lazy.exec_module(module)
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    monkeypatch.setitem(sys.modules, "strange_module", type("Strange", (), traps(called))())
    monkeypatch.setitem(
        sys.modules, "module_of_a_subclass", type("Sub", (types.ModuleType,), traps(called))("x")
    )
    parked(gopark.go(gopark.sleep, 1e6))
    dumped()
    assert called == []
    assert type(module).__name__ == "_LazyModule"  # looked at, it would be a plain one


@goroutines
def test_a_dump_keeps_nobody_who_ends_meanwhile() -> None:
    """Or its exception would be reported, and its locals finalized, on the debug socket's thread."""
    ended_on: list[int] = []

    class Value:
        def __del__(self) -> None:
            ended_on.append(threading.get_ident())

    release = gopark.Chan()
    gp = parked(gopark.go(lambda: [release.recv_ok(), Value()][1]))
    dump = debug.snapshots()
    next(dump)  # the dump is in its middle, on some other thread
    release.close()
    gp.join()
    del gp
    assert ended_on == [threading.get_ident()]
    assert list(dump) == []


@goroutines
def test_the_program_that_asks_itself_sees_its_own_repr_unless_that_raises() -> None:
    broken = False

    class Jobs(gopark.Chan):
        def __repr__(self) -> str:
            return str(forbidden()) if broken else "<the jobs>"

    parked(gopark.go(Jobs().recv))
    assert "waits for: <the jobs>\n" in gopark.stack()
    assert "waits for: <Chan " in dumped()
    broken = True
    assert "waits for: <Chan " in gopark.stack()


@goroutines
def test_a_lock_held_for_ever_does_not_keep_a_dump_from_coming() -> None:
    guard = sync.Mutex()

    class Jobs(gopark.Chan):
        def __repr__(self) -> str:
            with guard:
                return "<Jobs>"

    guard.lock()
    parked(gopark.go(Jobs().recv))
    assert "waits for: <Chan " in dumped()
