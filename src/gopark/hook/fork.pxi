# A forked child: the rooms as they are in a new process.
import os as _os_module

import _posixsubprocess

cdef extern from "rooms.h" nogil:
    int park_forking
    int park_process
    int fork_exec_replace(object callable) except -1
    void fork_watch()
    void children_forked()


def fork_start() -> None:
    """Have subprocess's children, and forked ones, leave the parent's runtime alone."""
    fork_exec_replace(_posixsubprocess.fork_exec)
    fork_watch()


cdef bint fork_registered = False


def hook_forked() -> None:
    """In a forked child, when the runtime is in order: hooks park again, if the goroutine that forked is here."""
    global park_forking, park_process, park_main, park_thread, signals_due
    park_forking = 0
    park_process = _os_module.getpid()
    park_main = 0
    kept.clear()
    noted.clear()
    signals_due = False
    children_forked()
    descriptors_forked()
