"""How descriptors end in the cases that are rare.  What must not live here: the rule (fd.py)."""

import _thread
import os
import sys

from gopark.runtime import _sys

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def in_the_core() -> bool:
    """Interpreted core, called by what a finalizer calls: has it interrupted the package itself, in the middle of a step?"""
    frame = sys._getframe(2).f_back  # past the finalizer's own
    return frame is not None and frame.f_code.co_filename.startswith(_PACKAGE)


def close_lingering(fd: int) -> None:
    """close(2), which waits for the peer: on a thread of its own, as nobody else is to wait (Go's documentation of SetLinger:
    the data is sent in the background)."""
    try:
        _thread.start_new_thread(_sys.close_slowly, (fd,))
    except (RuntimeError, MemoryError):  # there can be no thread
        _sys.close_slowly(fd)
