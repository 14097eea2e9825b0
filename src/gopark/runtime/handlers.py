"""CPython's own view of signal handlers.  The hooks show the program another, without the runtime's (hook/signals.pxi).

Main thread only, as in signal.signal."""

import _signal  # type: ignore[import-not-found]  # what signal wraps in Python
import signal
from collections.abc import Callable
from typing import Any

DEFAULT = int(signal.SIG_DFL)

# (signum, handler) -> the handler before; signum -> handler.  The defaults are plain numbers.
install: Callable[[int, Any], Any] = _signal.signal
installed: Callable[[int], Any] = _signal.getsignal


def is_default(handler: Any) -> bool:
    """Is it the system's default action?"""
    return isinstance(handler, int) and handler == DEFAULT
