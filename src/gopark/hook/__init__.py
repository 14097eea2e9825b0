"""Every program parks: the blocking system calls under the standard library and C drivers, made to park goroutines.

patch() points the slots in which libpython and its extension modules keep the addresses of libc's blocking calls to
functions of ours (slots.h), which park where the real call would block (park.h).  No name in a module is replaced, so that
time-outs, errors and retries stay CPython's and the libraries' own; who imported what, and when, does not matter.  What is no
system call (how a thread starts, who sets a signal handler) is exchanged in its method table (methods.h); gRPC, which cannot
park in C, in its types (pooled.py).

Here is what is patched, in which order.  How is in the rooms beside this file.
"""

import os
import platform
import sys
import sysconfig
import threading

from gopark.hook import drivers
from gopark.runtime import IS_COMPILED, proc
from gopark.runtime.start import Steps

_steps = Steps()

# Parts of the standard library that block: the interpreter (itself, or its library) and what beside it calls libc by itself.
INTERPRETER = (
    "",
    "libpython3",
    "_socket.",
    "select.",
    "_ssl.",
    "libssl",
    "libcrypto",
    "_posixsubprocess.",
    "_queue.",
    "_multiprocessing.",
    "fcntl.",
    "mmap.",
    "termios.",
    "_io.",
    "_ctypes.",
)


def is_patched() -> bool:
    """Do blocking calls of the standard library and of C drivers park?"""
    return bool(_steps.done)


def patch() -> None:
    """Make the blocking calls of everything in this process park.  Starts the runtime on this thread: the main one.

    Called again, it does nothing.  RuntimeError where that cannot be had, saying why."""
    if is_patched():
        return
    why = refusal()
    if why is not None:
        raise RuntimeError(f"gopark.patch: {why}")
    from gopark.hook import rooms

    proc.getg()  # starts the runtime
    _steps.start(rooms.STEPS)


def unpatch() -> None:
    """Undo patch(): every call blocks its thread again.  Goroutines that are parked in one go on when it is ready.

    RuntimeError while there are threads that run as goroutines: they cannot become threads."""
    if is_patched():
        from gopark.hook import threads

        names = threads.running()
        if names:
            raise RuntimeError(
                f"gopark.unpatch: {len(names)} thread(s) run as goroutines, join them first: {', '.join(names[:10])}"
            )
    _steps.stop()


def refusal() -> str | None:
    """Why this process cannot be patched; None if it can."""
    version = platform.python_version()
    if not IS_COMPILED:
        return (
            "the interpreted core has no hooks, which are C code: install gopark where a C compiler is, and do not "
            "set GOPARK_PURE"
        )
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "only CPython with the GIL can be patched"
    if sys.version_info >= (3, 14):
        return (
            f"CPython {version} is not supported yet, only 3.11 to 3.13: from 3.14 on all its locks are in an internal "
            "parking lot, which cannot be hooked in the same way"
        )
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return f"only Linux with glibc is supported, not {platform.platform()}"
    from gopark.hook import _hook

    if not _hook.slots_known():
        return f"only x86-64 and aarch64 are supported, not {platform.machine()}"
    if threading.get_ident() != threading.main_thread().ident:
        return "call it on the main thread, where Python runs signal handlers"
    return None


def wanted() -> list[tuple[str, int]]:
    """What is hooked: beginnings of file names, as GOPARK_HOOKS=+name,-name changes the list; and each one's kind."""
    names = [(name, drivers.PLAIN) for name in INTERPRETER] + drivers.LIBRARIES
    for change in filter(None, os.environ.get("GOPARK_HOOKS", "").split(",")):
        if change[0] not in "+-" or len(change) == 1:
            raise RuntimeError(f"gopark.patch: GOPARK_HOOKS: {change!r} is neither +name nor -name")
        if change[0] == "+":
            names.append((change[1:], drivers.COUNTED))
        else:
            names = [(name, kind) for name, kind in names if not name.startswith(change[1:])]
    return names


__all__ = ["is_patched", "patch", "unpatch"]
