"""The seed: scheduler, network poller, timers, and their diagnostics.  Nothing here imports a higher floor."""

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

# The core's modules use one another in a circle (as one package in Go would).  It must be entered here: proc's P needs
# p.py complete, while p.py needs of proc only that it exists.
from gopark.runtime import proc  # noqa: E402, F401
