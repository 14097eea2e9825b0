"""Goroutines for Python: blocking code that parks on Go's network poller instead of blocking its thread.

(PYTEST_DONT_REWRITE)
"""

import importlib
from types import ModuleType
from typing import Any

from gopark import _eager, _pure

_pure.install_if_requested()

from gopark import context, errgroup, files, net, signal, sync, time  # noqa: E402
from gopark.runtime import IS_COMPILED  # noqa: E402
from gopark.runtime.blocking import blocking  # noqa: E402
from gopark.runtime.chan import Chan, ChanClosed  # noqa: E402
from gopark.runtime.debug import stack  # noqa: E402
from gopark.runtime.g import Cancelled, Deadlock, FatalError, Goroutine  # noqa: E402
from gopark.runtime.lifecycle import current, num_goroutine, run  # noqa: E402
from gopark.runtime.proc import go, goexit, gosched, sleep  # noqa: E402
from gopark.runtime.reports import excepthook  # noqa: E402
from gopark.runtime.select import select  # noqa: E402
from gopark.runtime.shield import shield  # noqa: E402
from gopark.runtime.stats import Statistics, statistics  # noqa: E402
from gopark.runtime.sysmon import no_preempt  # noqa: E402


# The hooks are loaded by whoever wants them: importing gopark alone changes nothing, and costs nothing.
def patch() -> None:
    """Make blocking calls of the standard library, and of C drivers, park goroutines; threads become goroutines.

    Call it once, early, on the main thread.  RuntimeError where it cannot be had (gopark.hook.refusal says why)."""
    from gopark import hook

    hook.patch()


def offload(library: str, function: str) -> None:
    """Have calls of a C library's function made on threads, while their goroutines park: gopark.hook.drivers.offload."""
    from gopark.hook import drivers

    drivers.offload(library, function)


def unpatch() -> None:
    """Undo patch()."""
    from gopark import hook

    hook.unpatch()


def is_patched() -> bool:
    """Has patch() been called?"""
    from gopark import hook

    return hook.is_patched()


__version__ = "0.1.0"
pytest_plugins = ["gopark.contrib.pytest"]  # what `pytest -p gopark` loads

__all__ = [
    "IS_COMPILED",
    "Cancelled",
    "Chan",
    "ChanClosed",
    "Deadlock",
    "FatalError",
    "Goroutine",
    "Statistics",
    "blocking",
    "context",
    "current",
    "errgroup",
    "excepthook",
    "files",
    "go",
    "goexit",
    "gosched",
    "is_patched",
    "net",
    "no_preempt",
    "num_goroutine",
    "offload",
    "patch",
    "run",
    "select",
    "shield",
    "signal",
    "sleep",
    "stack",
    "statistics",
    "sync",
    "time",
    "unpatch",
]


class _Late(ModuleType):
    """A module that is imported when something of it is used; from then on it is in this one's place.

    Not a __getattr__ of the package's own: CPython would then look up `gopark.go` and all the others anew each time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


aio = _Late("gopark.aio")  # it takes asyncio with it

_eager.resolve()
