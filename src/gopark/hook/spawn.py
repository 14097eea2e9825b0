"""multiprocessing's spawned children (spawn, forkserver) are patched like the process that starts them.

Such a child is a new interpreter.  What it is to know it reads as a pickle, before the function it is to call: there goes
an object whose unpickling patches.  The fork server itself stays as it is: it only forks, and the fewer it has of anything
the better.  What is started otherwise with sys.executable is a plain Python.
"""

import atexit
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "multiprocessing.spawn"
_KEY = "gopark"  # in the preparation data; multiprocessing looks at the keys that it knows

_original: Callable[..., dict[str, Any]] | None = None  # get_preparation_data


class _Patched:
    """Pickled in a patched process; unpickling it patches that one."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (_patch, ())


def _patch() -> None:
    from gopark import hook

    hook.patch()


def _get_preparation_data(*args: Any, **kwargs: Any) -> dict[str, Any]:
    assert _original is not None
    return _original(*args, **kwargs) | {_KEY: _Patched()}


def _wrap(module: ModuleType) -> None:
    global _original
    if _original is None:
        _original = module.get_preparation_data
        module.get_preparation_data = _get_preparation_data  # type: ignore[attr-defined]


class _Finder:
    """Sees the module's import, so that it need not be imported for those who never use it.  Then it is gone."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME:
            return None
        _stop_looking()
        spec = importlib.util.find_spec(fullname)
        loader: Any = spec and spec.loader
        if loader is not None:
            original = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                original(module)
                _wrap(module)

            loader.exec_module = exec_module
        return spec


def _stop_looking() -> None:
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _Finder]


def _exit_before_us() -> None:
    """multiprocessing waits for its queues' threads in an exit handler.  They are goroutines: it must come before the
    runtime's end, also if it was registered before gopark was imported, as in every spawned child."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        atexit.unregister(util._exit_function)
        atexit.register(util._exit_function)


def install() -> None:
    """From now on."""
    _exit_before_us()
    module = sys.modules.get(_NAME)
    if module is not None:
        _wrap(module)
    elif _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def uninstall() -> None:
    """What has been spawned stays patched."""
    global _original
    _stop_looking()
    module = sys.modules.get(_NAME)
    if module is not None and _original is not None:
        module.get_preparation_data = _original  # type: ignore[attr-defined]
        _original = None
