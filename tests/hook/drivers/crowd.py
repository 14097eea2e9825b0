"""What the programs start their threads with: goroutines where the process is patched."""

import threading
from collections.abc import Callable
from typing import Any

import gopark


def start(fn: Callable[..., Any], *args: Any) -> Any:
    """Something that can be joined."""
    if gopark.is_patched():
        return gopark.go(fn, *args)
    thread = threading.Thread(target=fn, args=args)
    thread.start()
    return thread
