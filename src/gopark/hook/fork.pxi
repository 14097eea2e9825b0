# A forked child: the rooms as they are in a new process.
import os as _os_module

import _posixsubprocess

cdef extern from "rooms.h" nogil:
    int park_forking
    int park_process
    int fork_exec_replace(object callable) except -1
    void fork_watch()
    void children_forked()


cdef bint fork_registered = False


def fork_start() -> None:
    """Have subprocess's children, and forked ones, leave the parent's runtime alone."""
    global fork_registered
    fork_exec_replace(_posixsubprocess.fork_exec)
    fork_watch()
    if not fork_registered:
        _os_module.register_at_fork(after_in_child=hook_forked)
        fork_registered = True


def hook_forked() -> None:
    """In a forked child, when the runtime is in order: hooks park again, if the goroutine that forked is here.

    Not for subprocess's preexec_fn, after which the child is another program."""
    global park_on, park_process, park_main, signals_due, main_deaf
    threads_forked()
    lot_forked()
    if _handlers.install is not _raw_install or park_forking:
        return
    park_process = _os_module.getpid()
    park_main = main_deaf = 0
    park_on = _p.curg is not None
    kept.clear()
    noted.clear()
    signals_due = False
    children_forked()
    descriptors_forked()
