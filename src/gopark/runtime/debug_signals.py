"""Dumps on a signal: SIGQUIT (Ctrl-backslash) prints every goroutine and ends the process with status 2, as
in Go; another one, SIGUSR1 unless GOPARK_DUMP_SIGNAL says otherwise, prints and goes on.

Installed while the runtime runs, on the main thread only (Python's rule), and never over a handler that
somebody else has installed.  They are Python handlers: they run when the main thread next runs Python code,
which one that is stuck in C never does.  `gopark dump` works then, too."""

import os
import signal
from types import FrameType

from gopark.runtime import debug, debug_server, handlers, output, stats

VARIABLE = "GOPARK_DUMP_SIGNAL"  # USR1, SIGUSR2, ... or none

_installed: list[int] = []  # what restore must undo


def dump_signal() -> int:
    """The signal that prints and goes on; 0: none.  A name that is not a signal's means none, with a
    warning."""
    name = os.environ.get(VARIABLE, "").strip().upper().removeprefix("SIG") or "USR1"
    if name in ("NONE", "0"):
        return 0
    found = getattr(signal, "SIG" + name, None)
    if not isinstance(found, signal.Signals):
        output.write(
            2,
            f"gopark: {VARIABLE}={output.printable(os.environ[VARIABLE])} is not a signal: no dump signal is installed\n",
        )
        return 0
    return found


def install() -> None:
    """Install both, where nobody else has.  Main thread only."""
    for signum, handler in ((signal.SIGQUIT, _on_quit), (dump_signal(), _on_dump)):
        if signum and handlers.is_default(handlers.installed(signum)):
            # First: what is installed is undone, whatever is raised in between.
            _installed.append(signum)
            try:
                handlers.install(signum, handler)
            except (OSError, ValueError):  # SIGKILL, or not the main thread
                _installed.remove(signum)


def restore() -> None:
    """Undo install, but not what others have installed since."""
    while _installed:
        signum = _installed[-1]
        if handlers.installed(signum) in (_on_quit, _on_dump):
            try:
                handlers.install(signum, handlers.DEFAULT)
            except (OSError, ValueError):
                pass
        _installed.remove(signum)  # last: called again, because something was raised here, it goes on


def _dump(signum: int) -> None:
    output.write(
        2, f"{signal.Signals(signum).name}: all goroutines\n\n{debug.report()}{''.join(stats.parts())}\n"
    )


def _on_dump(signum: int, frame: FrameType | None) -> None:
    _dump(signum)


def _on_quit(signum: int, frame: FrameType | None) -> None:
    try:
        _dump(signum)
    finally:
        debug_server.remove()
        os._exit(2)
