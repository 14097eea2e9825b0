"""The seed: scheduler, network poller, timers, and their diagnostics.  Nothing here imports a higher floor."""

import importlib
import sys

try:
    from gopark.runtime import _sys
except ImportError:
    # Built without a compiler, or GOPARK_PURE=1: the interpreted twin takes the name, so that no other file need ask.
    from gopark.runtime import _sys_py

    sys.modules["gopark.runtime._sys"] = _sys_py
    _sys = _sys_py  # type: ignore[misc]

__all__ = ["IS_COMPILED"]

IS_COMPILED: bool = _sys.IS_COMPILED

# After _sys: a free-threaded Python takes the GIL again when it loads an extension module that does not say it needs none.
if hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled():
    raise ImportError(
        "gopark needs the GIL, which this free-threaded Python runs without: start it with PYTHON_GIL=1 in the environment, "
        "or with -X gil=1"
    )

# The core's modules use one another in a circle (as one package in Go would), which must be entered here: proc makes a P
# and needs p.py complete for it, while p.py needs of proc only that it exists.  Every import of a module of the core comes
# through here first, so the order of a program's imports does not matter.  No import statement: those can be lazy.
importlib.import_module("gopark.runtime.proc")
