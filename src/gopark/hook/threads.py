"""Threads that are goroutines, at the edges of their life: patch and unpatch, the program's exit.

How they start, and what Python keeps for each, is threads.pxi.
"""

from gopark.hook import _hook
from gopark.runtime import lifecycle


def do() -> None:
    """Threads are goroutines from now on."""
    _hook.threads_start()
    lifecycle.lasting = True


def undo() -> None:
    """Threads are threads again."""
    lifecycle.lasting = False
    _hook.threads_stop()


def running() -> list[str]:
    """The names of the threads that are goroutines: while there are any, they need what is patched."""
    return _hook.threads_running()
