"""Something to call when a goroutine has ended, in whatever way: also one that was cancelled before it ever
ran."""

from collections.abc import Callable

from gopark.runtime import _sys, joining, proc
from gopark.runtime.g import Goroutine


class _OnEnd:
    """Stands among the events that a goroutine sets when it ends."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def set(self) -> None:
        """Called by the scheduler, or by the thread that came too late for it: whoever is first."""
        call = self.call
        self.call = None
        if call is None:
            return
        try:
            call()
        except BaseException as e:
            _uncaught(e)


def on_end(gp: Goroutine, call: Callable[[], None]) -> None:
    """Call *call* once *gp* has ended: on the scheduler, or on this thread if it has ended by now.  It must not
    park.  What it raises, the main goroutine gets."""
    event = _OnEnd(call)
    joining.watch(gp, event)
    # It may run on another thread than ours.  Ended is set before watchers are looked at: one of the two sees
    # the other.
    if gp.done:
        event.set()


def _uncaught(exc: BaseException) -> None:
    p = proc.getp()
    if p.thread in (0, _sys.thread_ident()):
        p.uncaught(exc)
    else:
        p.inject(lambda: p.uncaught(exc))  # the main goroutine is not this thread's to interrupt
