"""Goroutines for Python: blocking code that parks on Go's network poller instead of blocking its thread."""

from gopark import _eager, _pure

_pure.install_if_requested()

from gopark import context, errgroup, files, net, signal, sync, time  # noqa: E402
from gopark.runtime import IS_COMPILED  # noqa: E402
from gopark.runtime.blocking import blocking  # noqa: E402
from gopark.runtime.chan import Chan, ChanClosed  # noqa: E402
from gopark.runtime.debug import stack  # noqa: E402
from gopark.runtime.g import Cancelled, Deadlock, FatalError, Goroutine  # noqa: E402
from gopark.runtime.lifecycle import current, num_goroutine, run  # noqa: E402
from gopark.runtime.proc import go, goexit, gosched, sleep  # noqa: E402
from gopark.runtime.reports import excepthook  # noqa: E402
from gopark.runtime.select import select  # noqa: E402
from gopark.runtime.shield import shield  # noqa: E402
from gopark.runtime.stats import Statistics, statistics  # noqa: E402
from gopark.runtime.sysmon import no_preempt  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "IS_COMPILED",
    "Cancelled",
    "Chan",
    "ChanClosed",
    "Deadlock",
    "FatalError",
    "Goroutine",
    "Statistics",
    "blocking",
    "context",
    "current",
    "errgroup",
    "excepthook",
    "files",
    "go",
    "goexit",
    "gosched",
    "net",
    "no_preempt",
    "num_goroutine",
    "run",
    "select",
    "shield",
    "signal",
    "sleep",
    "stack",
    "statistics",
    "sync",
    "time",
]

_eager.resolve()
