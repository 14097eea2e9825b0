"""What interrupts the runtime's thread: Ctrl-C, signals that arrive while everybody is parked, collections.

Here is what is installed for them while gopark runs, and what it does then.  Values of signals on channels are
gopark.signal; preemption is sysmon.py; dumps are debug_signals.py.
"""

import os
import signal
import threading
from types import CodeType, FrameType
from typing import Any

from gopark.runtime import _sys, handlers, proc

_p = proc.getp()
_package = os.path.dirname(os.path.dirname(__file__)) + os.sep
_stdlib = os.path.dirname(os.__file__) + os.sep
_foreign = os.path.join(_stdlib, "site-packages") + os.sep
_old_sigint: Any = None  # the handler that ours has replaced
_held = False  # the runtime starts or stops: Ctrl-C waits until it has
_noted = False  # and has come
_watching = False  # between watch_signals and unwatch_signals
_wakeup_fd = -1  # the signal pipe's write end; made once, kept
entries: set[CodeType] = set()  # of the functions that call the program's main function
bottoms: set[CodeType] = set()  # ... and the program itself: below them is nothing that is the program's


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


def take() -> None:
    """Ctrl-C is ours unless the program has a handler, and waits until release.  Main thread only."""
    global _held, _noted, _old_sigint
    # The C functions: signal's own are Python, and could be interrupted after the deed.
    if handlers.installed(signal.SIGINT) is signal.default_int_handler:
        _old_sigint = signal.default_int_handler
        _held = True
        _noted = False
        handlers.install(signal.SIGINT, on_sigint)


def give_back() -> None:
    """Undo take, but not what the program has set since."""
    global _noted, _old_sigint
    if _interrupt_main in _p.injected:  # not for the next run
        _p.injected.remove(_interrupt_main)
        _noted = True
    if _old_sigint is not None:
        if handlers.installed(signal.SIGINT) is on_sigint:
            handlers.install(signal.SIGINT, _old_sigint)
        _old_sigint = None


def hold() -> None:
    """From here on Ctrl-C is only noted."""
    global _held
    _held = True


def release() -> None:
    """Raise the KeyboardInterrupt that was noted."""
    global _held, _noted
    _held = False
    if _noted:
        _noted = False
        raise KeyboardInterrupt


def watch_sigint() -> None:
    """The program has given SIGINT back what it found: ours again, if it was none of its own."""
    take()
    release()


def on_sigint(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C: KeyboardInterrupt in the main goroutine, wherever it is, and in no other."""
    global _noted
    if _held:
        _noted = True
    elif _p.maing is None or (_p.curg is _p.maing and not _in_runtime(frame)):
        raise KeyboardInterrupt
    else:
        _p.inject(_interrupt_main)


def _interrupt_main() -> None:
    if _p.maing is not None:
        proc.interrupt(_p.maing, KeyboardInterrupt())


def _in_runtime(frame: FrameType | None) -> bool:
    """Was the runtime (in its Python part, or what of the standard library it calls) in the middle of something?"""
    while frame is not None:
        code = frame.f_code
        if code in entries or code in bottoms:
            return False
        file = code.co_filename
        if file.startswith(_package):
            return True
        if file.startswith(_foreign) or not file.startswith((_stdlib, "<frozen ")):
            return False
        frame = frame.f_back
    return False


# -- signals while everybody is parked ---------------------------------------------------------------------------------


def watch_signals() -> None:
    """A signal ends a blocking netpoll, whenever it arrives.  Main thread only."""
    global _wakeup_fd, _watching
    _watching = True
    if _wakeup_fd < 0:
        _wakeup_fd = _p.poller.netpollsignal()
    old = signal.set_wakeup_fd(_wakeup_fd, warn_on_full_buffer=False)
    if old not in (-1, _wakeup_fd):
        signal.set_wakeup_fd(old)  # the program has its own: leave it


def rewatch_signals() -> None:
    """Whoever has set a descriptor of its own, as asyncio does, takes that away when it has done, and with it ours."""
    if _watching and _sys.thread_ident() == threading.main_thread().ident:
        watch_signals()


def unwatch_signals() -> None:
    """Undo watch_signals, but not what the program has set since."""
    global _watching
    _watching = False
    old = signal.set_wakeup_fd(-1)
    if old not in (-1, _wakeup_fd):
        signal.set_wakeup_fd(old)


def forked(running: bool) -> None:
    """In a forked child: the signal pipe is the parent's, which a signal here must not wake."""
    global _wakeup_fd, _held
    _held = False
    if _wakeup_fd >= 0:
        unwatch_signals()
        os.close(_wakeup_fd)
        _wakeup_fd = -1
        if running:
            try:
                watch_signals()
            except OSError:
                pass  # out of descriptors: the poller, which is then not there either, says so where it is needed
