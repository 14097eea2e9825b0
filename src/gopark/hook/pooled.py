"""Methods of C extension modules that block and can never park, called on threads of the pool instead.

Why they cannot park: gRPC waits for its completion queues with an entry on the C stack that its threads write to, and with
mutexes and conditions by which they hand the polling to one another.  A type's attribute is replaced, when its module has
been imported or has been before; on another thread than the runtime's it is what it was.
"""

import functools
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from gopark.hook import _hook
from gopark.runtime import _sys, blocking, proc

METHODS = {
    "grpc._cython.cygrpc": (
        "SegregatedCall.next_event",
        "Channel.next_call_event",
        "Channel.watch_connectivity_state",
        "CompletionQueue.poll",
    ),
}
_p = proc.getp()
_replaced: list[tuple[type, str, Any]] = []


def start() -> None:
    sys.meta_path.insert(0, _finder)
    for name in METHODS:
        if name in sys.modules:
            _replace(sys.modules[name])


def stop() -> None:
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    while _replaced:
        _hook.type_replace(*_replaced.pop())


def _replace(module: ModuleType) -> None:
    for method in METHODS[module.__name__]:
        cls, _, name = method.partition(".")
        found = vars(module).get(cls)
        if isinstance(found, type) and name in vars(found):  # else it is a version that has none
            before = vars(found)[name]
            _hook.type_replace(found, name, _elsewhere(before))
            _replaced.append((found, name, before))


def _elsewhere(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _p.thread != _sys.thread_ident() or _p.curg is None:
            return method(*args, **kwargs)
        return blocking.blocking(method, *args, **kwargs)

    return call


class _Loader:
    """The module's own loader; what it has loaded is changed."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _replace(module)


class _Finder:
    """First among the finders, for these modules alone."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name not in METHODS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


_finder: Any = _Finder()
