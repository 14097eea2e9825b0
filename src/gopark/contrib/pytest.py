"""A plugin of pytest: ``pytest -p gopark`` runs each test in a goroutine of a patched process.

PYTEST_DONT_REWRITE: there is no assert in here.

A test that leaves goroutines behind fails at its teardown, which says what they do; they are cancelled.  Goroutines that a
fixture of a wider scope than the test starts may stay, and so may those of a test with the marker ``gopark(leaks=True)``.
A test that takes longer than ``gopark_timeout`` seconds (or its marker's ``timeout``) fails, and the report has everybody's
stacks; so has the one of a test that pytest-timeout ends.

How it comes to be found: ``-p gopark`` has pytest import gopark, which names this module in ``pytest_plugins``.  Whoever has
gopark installed and does not ask for it notices nothing.
"""

import contextlib
import contextvars
from collections.abc import Callable, Generator
from typing import Any

import pytest

from gopark import hook
from gopark import time as gopark_time
from gopark.runtime import debug, proc, sysmon
from gopark.runtime.g import Goexit, Goroutine

_p = proc.getp()
_before: set[int] = set()  # the goroutines that there were before the test's setup; by id
_excused: set[int] = set()  # those that may outlive the test

_TIMER = pytest.StashKey[gopark_time.Timer]()
_CANCELLED = 1.0  # s for a cancelled goroutine's clean-up


# -- pytest's hooks ----------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("gopark_timeout", "s that a test may take; 0: no limit", default="0")
    parser.addini("gopark_grace", "s that goroutines have, after a test, to end by themselves", default="0.5")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "gopark(leaks=False, timeout=None): whether the test may leave goroutines behind; s that it may take",
    )
    try:
        hook.patch()
    except RuntimeError as e:
        raise pytest.UsageError(f"-p gopark: {str(e).removeprefix('gopark.patch: ')}") from None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    _before.clear()
    _before.update(ids())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, object, object]:
    if fixturedef.scope == "function":
        return (yield)
    before = ids()
    try:
        return (yield)
    finally:
        _excused.update(ids() - before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    runtest = item.runtest
    item.runtest = lambda: in_goroutine(item, runtest)  # type: ignore[method-assign]
    try:
        return (yield)
    finally:
        del item.runtest  # the class's is there again


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        left = leaked(float(item.config.getini("gopark_grace")))
        stacks = [stack_of(gp) for gp in left]
        for gp in left:
            stop(gp)
        if left and not marked(item, "leaks", False):
            fail(f"{len(left)} goroutine(s) left behind, with this stack:\n\n" + "\n".join(stacks))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """pytest-timeout's method "thread" ends the process: the dump is printed just before."""
    if settings.method == "thread":
        item.stash[_TIMER] = gopark_time.after_func(settings.timeout * 0.98, show_stacks, item.config)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    timer = item.stash.get(_TIMER, None)
    if timer is not None:
        timer.stop()


# -- a test ------------------------------------------------------------------------------------------------------------


def in_goroutine(item: pytest.Item, runtest: Callable[[], object]) -> None:
    """Call runtest() in a goroutine; raise what it raises, and have the context variables that it has set."""
    __tracebackhide__ = True
    raised: list[BaseException] = []
    context: list[contextvars.Context] = []

    def body() -> None:
        __tracebackhide__ = True
        try:
            runtest()
        except Goexit:
            pass
        except BaseException as e:  # pytest's own outcomes, too; SystemExit is the test's, not the process's
            raised.append(e)
        context.append(contextvars.copy_context())

    limit = float(marked(item, "timeout", item.config.getini("gopark_timeout")))
    gp = proc.go(body)
    gp.name = item.name
    try:
        ended = gp.join(limit or None)
    except BaseException:  # Ctrl-C, or pytest-timeout's signal handler
        add_stacks(item)
        stop(gp)
        raise
    if not ended:
        add_stacks(item)
        stop(gp)
        fail(f"Timeout: not within {limit:g} s")
    for variable, value in context[0].items() if context else ():
        if variable.get(None) is not value:
            variable.set(value)
    if raised:
        raise raised.pop()


def marked(item: pytest.Item, name: str, default: Any) -> Any:
    marker = item.get_closest_marker("gopark")
    value = None if marker is None else marker.kwargs.get(name)
    return default if value is None else value


def fail(message: str) -> None:
    __tracebackhide__ = True
    pytest.fail(message, pytrace=False)


# -- goroutines --------------------------------------------------------------------------------------------------------


def ids() -> set[int]:
    return {gp.id for gp in _p.allgs.copy()}


def leaked(grace: float) -> list[Goroutine]:
    """The goroutines that have come since the test's setup, may not stay, and do not end within *grace* s."""
    until = gopark_time.now() + grace
    ours = {_p.reaper, *sysmon.around}  # started by the runtime for itself, when it was first needed
    left = [gp for gp in _p.allgs.copy() - ours if gp.id not in _before and gp.id not in _excused]
    return [
        gp for gp in sorted(left, key=lambda gp: gp.id) if not gp.join(max(0.0, until - gopark_time.now()))
    ]


def stop(gp: Goroutine) -> None:
    """Cancel it, and give it time to end.  One that does not is not the next test's leak."""
    gp.cancel()
    if not gp.join(_CANCELLED):
        _excused.add(gp.id)


def stack_of(gp: Goroutine) -> str:
    return next((debug.text(seen) for seen in debug.snapshots() if seen.id == gp.id), "")


def add_stacks(item: pytest.Item) -> None:
    item.add_report_section("call", "goroutines", debug.stack())


def show_stacks(config: pytest.Config) -> None:
    capture = config.pluginmanager.getplugin("capturemanager")
    disabled = capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext()
    with disabled:
        print(f"\n{' goroutines '.center(80, '-')}\n{debug.stack()}", flush=True)
