"""Blocks in which a goroutine is left alone: shield, from cancellation; sysmon.py's no_preempt is of the same kind."""

from gopark.runtime import _sys, proc
from gopark.runtime.g import Goroutine

_p = proc.getp()


class shield:
    """`with gopark.shield():` cancellation waits: Cancelled is raised at the first park after the block.

    It counts for the goroutine that enters the block, also if another one leaves it (a generator that somebody else
    closes).  On a thread that gopark does not run on there is nobody to cancel, and it does nothing."""

    def __init__(self) -> None:
        self._entered: list[Goroutine] = []

    def __enter__(self) -> None:
        if _p.thread in (0, _sys.thread_ident()):
            gp = proc.getg()
            gp.shield += 1
            self._entered.append(gp)

    def __exit__(self, *exc: object) -> None:
        if self._entered:
            who_entered(self._entered).shield -= 1


def who_entered(entered: list[Goroutine]) -> Goroutine:
    """Whose block ends here, and off the list: the running goroutine's, or else who entered last."""
    gp = _p.curg if _sys.thread_ident() == _p.thread else None
    for i in range(len(entered) - 1, -1, -1):
        if entered[i] is gp:
            return entered.pop(i)
    return entered.pop()
