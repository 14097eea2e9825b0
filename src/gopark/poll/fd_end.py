"""How descriptors end in the cases that are rare.  What must not live here: the rule (fd.py)."""

import _thread
import os
import sys
from types import FrameType
from typing import Any

from gopark.runtime import _sys

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_FD = os.path.join(os.path.dirname(__file__), "fd.py")


def in_the_core() -> bool:
    """Interpreted core, called by what a finalizer calls: has it interrupted the package itself, in the middle of a step?"""
    frame = sys._getframe(2).f_back  # past the finalizer's own
    return frame is not None and frame.f_code.co_filename.startswith(_PACKAGE)


def is_inside(fd: Any) -> bool:
    """Interpreted core, called by what a close calls: does the running goroutine have an operation on *fd* in flight?"""
    frame: FrameType | None = sys._getframe(3)  # whoever called close
    while frame is not None:
        if frame.f_code.co_filename == _FD and frame.f_locals.get("self") is fd:
            return True
        frame = frame.f_back
    return False


def close_lingering(fd: int) -> None:
    """close(2), which waits for the peer: on a thread of its own, as nobody else is to wait (Go's documentation of SetLinger:
    the data is sent in the background)."""
    try:
        _thread.start_new_thread(_sys.close_slowly, (fd,))
    except (RuntimeError, MemoryError):  # there can be no thread
        _sys.close_slowly(fd)
