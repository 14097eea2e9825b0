"""What a goroutine leaves: its exception for each who asks, its finalizers, and the report of what nobody asked for."""

import functools
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import gopark
from gopark import go, sync
from support import eventually, goroutines


def entries(exc: BaseException) -> int:
    n, tb = 0, exc.__traceback__
    while tb is not None:
        n, tb = n + 1, tb.tb_next
    return n


class Stubborn(Exception):
    """Cannot be made again from its arguments."""

    def __new__(cls, secret: str, *args: Any) -> "Stubborn":
        if secret != "sesame":
            raise ValueError("who are you?")
        return super().__new__(cls)

    def __init__(self, secret: str) -> None:
        super().__init__("stubborn")


class Rewritten(Exception):
    """Its __init__ would make something else of its args."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


def fail(exc: BaseException) -> None:
    raise exc


FAILURES = [
    pytest.param(lambda: ValueError("boom", 3), id="plain"),
    pytest.param(lambda: FileNotFoundError(2, "none", "a file"), id="OSError"),
    pytest.param(lambda: ImportError("no", name="it", path="there"), id="ImportError"),
    pytest.param(lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), id="UnicodeDecodeError"),
    pytest.param(lambda: ExceptionGroup("several", [KeyError(1)]), id="ExceptionGroup"),
    pytest.param(lambda: Rewritten(7), id="Rewritten"),
    pytest.param(lambda: Stubborn("sesame"), id="Stubborn"),
]


@pytest.mark.parametrize("make", FAILURES)
@goroutines
def test_exception_does_not_grow_with_those_who_ask_for_it(make: Any) -> None:
    original = make()
    original.add_note("a note")
    g = go(fail, original)
    lengths = set()
    for i in range(20):
        with pytest.raises(type(original)) as e:
            g.result()
        assert i > 0 or e.value is original  # the first has the very object
        assert type(e.value) is type(original) and str(e.value) == str(original)
        assert e.value.args == original.args and vars(e.value) == vars(original)
        assert (getattr(e.value, "filename", 0), getattr(e.value, "name", 0)) == (
            getattr(original, "filename", 0),
            getattr(original, "name", 0),
        )
        lengths.add(entries(e.value))
    assert len(lengths) == 1


@goroutines
def test_each_who_asks_has_a_context_of_its_own_and_is_not_kept_alive() -> None:
    g = go(int, "boom")
    g.join()

    class Local:
        pass

    locals_: list[Any] = []

    def ask(i: int) -> Any:
        here = Local()
        locals_.append(weakref.ref(here))
        try:
            raise KeyError(i)
        except KeyError:
            try:
                g.result()
            except ValueError as e:
                gopark.gosched()
                assert e.__context__ is not None
                return e.__context__.args[0]

    assert [a.result() for a in [go(ask, i) for i in range(5)]] == list(range(5))
    assert [ref() for ref in locals_] == [None] * 5


@pytest.fixture
def hook() -> Iterator[None]:
    before = gopark.excepthook
    yield
    gopark.excepthook = before


def test_excepthook_may_park(hook: None) -> None:
    log = gopark.Chan()
    logged: list[str] = []

    def main() -> None:
        def logger() -> None:
            for entry in log:
                gopark.sleep(0.0001)
                logged.append(entry)

        go(logger)
        gopark.excepthook = lambda g, e: log.send(f"{g.id} {e!r}")
        failed = [go(fail, ValueError(i)) for i in range(3)]
        ids = [g.id for g in failed]
        del failed
        eventually(lambda: len(logged) == 3)
        assert logged == [f"{n} ValueError({i})" for i, n in enumerate(ids)]

    gopark.run(main)


def test_excepthook_that_parks_for_ever_is_cut_short_by_the_end_and_loses_no_report(
    hook: None, capfd: pytest.CaptureFixture[str]
) -> None:
    gopark.excepthook = lambda g, e: gopark.sleep(1000)

    def main() -> None:
        go(fail, ValueError("lost?"))
        gopark.sleep(0.001)

    gopark.run(main)
    assert "never collected" in (err := capfd.readouterr().err) and "lost?" in err


def test_finalizers_of_what_a_goroutine_leaves_may_park(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", raised.append)
    released: list[str] = []
    mutex = sync.Mutex()

    class Handle:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            with mutex:
                released.append(self.name)

    def local() -> None:
        handle = Handle("local of the failed")
        raise gopark.Cancelled(str(handle)[:0])

    def main() -> None:
        with mutex:
            go(Handle, "result")
            go(lambda handle: None, Handle("argument"))
            go(local)
            gopark.sleep(0.001)
            assert released == []
        eventually(lambda: len(released) == 3)
        gopark.sleep(0.001)
        assert gopark.num_goroutine() == 1

    gopark.run(main)
    assert sorted(released) == ["argument", "local of the failed", "result"] and raised == []


def test_module_without_a_name_does_not_hide_the_error(clean_runtime: list[BaseException]) -> None:
    space: dict[str, Any] = {"__name__": None}
    exec("def bad(): raise ValueError('its own')", space)

    def main() -> str:
        go(space["bad"])
        gopark.sleep(0.001)
        return "undisturbed"

    assert gopark.run(main) == "undisturbed"
    assert [repr(e) for e in clean_runtime] == ["ValueError('its own')"]
    clean_runtime.clear()


@goroutines
def test_async_functions_are_refused_at_the_call() -> None:
    async def work() -> None:
        raise AssertionError("not run")

    class Service:
        async def work(self) -> None:
            raise AssertionError("not run")

    for fn in (work, Service().work):
        with pytest.raises(TypeError, match=r"gopark\.go: '.*work' is an async function"):
            go(fn)
    with pytest.raises(TypeError, match="async function"):
        go(functools.partial(work)).result()
