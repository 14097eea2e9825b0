"""What the scheduler notes of itself for statistics: latencies, peaks, and who kept everybody else waiting.

P calls this at its decisions, so nothing here costs more than an addition on the way.  What must not live here: what
somebody asks for and how it is shown (stats.py), how a stack becomes text (debug.py).

Latency: the time from when a goroutine becomes runnable until it runs.  Reading the exact clock for each would cost as
much as the rest of the decision, and the coarse one is too coarse (1 to 10 ms), so one goroutine at a time is timed exactly:
the first that becomes runnable after so many decisions (Go's gTrackingPeriod, for the P instead of for each G).

A hold: one goroutine had the thread for 10 ms or more, up to its next park or preemption, while there were others.  By the
coarse clock, whose resolution is added, so one that is a tick longer than that may be missed; none is counted wrongly.
Its stack is best noted while it lasts, by the preemption handler, which runs at the first Python instruction after 10 ms;
else it is that of its park."""

from collections.abc import Callable, Iterable
from typing import Any

from gopark.runtime import g
from gopark.runtime.g import Goroutine

TRACK_TICKS = (
    67  # decisions from one latency that is measured to the next; prime, so that no pattern is always missed
)
HOLD_NS = 10_000_000
BUCKETS = 32  # the last one is for all that took 2**30 us or longer

_WAITING = g.GWAITING
_DEAD = g.GDEAD


class Tally:
    """One P's."""

    def __init__(self) -> None:
        self.buckets: list[int] = [
            0
        ] * BUCKETS  # latencies: [i] those below 2**i us and not below half of that
        self.goroutines = 0  # peaks
        self.runqueue = 0
        self.waiters = 0
        self.timers = 0
        self.holds = 0
        self.held = 0  # ns, in all holds
        self.longest = 0  # ns
        self.stack = ""  # of the goroutine, in the longest hold: text, which keeps nobody alive
        self.noted = ""  # of the hold that goes on
        self.notedtick = 0  # in which decision's turn that was
        self.notedat = 0  # ns into the hold, the last look
        self.notedgap = 0  # ns between that look and the one before: the longest decides which stack is kept
        self.looking = False  # look is at it
        # debug.py's: (id of the goroutine, its frame or None) -> text
        self.capture: Callable[[int, Any], str] | None = None

    def __cinit__(self) -> None:
        # Compiled core: without __init__ it crashes nowhere.
        self.buckets = [0] * BUCKETS

    def latency(self, ns: int) -> None:
        """A goroutine has waited so long for its turn."""
        us = ns // 1000
        i = 0
        while us > 0 and i < BUCKETS - 1:
            us >>= 1
            i += 1
        self.buckets[i] += 1

    def count(self, goroutines: int) -> None:  # atomic
        """One more has begun: so many there are now."""
        if goroutines > self.goroutines:
            self.goroutines = goroutines

    def peaks(self, runqueue: int, waiters: int, timers: int) -> None:  # atomic
        """So many there are now."""
        if runqueue > self.runqueue:
            self.runqueue = runqueue
        if waiters > self.waiters:
            self.waiters = waiters
        if timers > self.timers:
            self.timers = timers

    def look(self, ns: int, tick: int, gid: int, frame: Any) -> None:
        """In the preemption handler: goroutine *gid* has had the thread for *ns*, and is at *frame*."""
        if ns <= self.longest or self.capture is None or self.looking:
            return
        self.looking = True  # the next signal may come before this is over: it must not nest
        try:
            gap = ns - self.notedat if tick == self.notedtick else ns
            if tick != self.notedtick or gap > self.notedgap:
                self.noted = self.capture(gid, frame)
                self.notedgap = gap
            self.notedtick = tick
            self.notedat = ns
        except RecursionError:
            pass  # the program is near the limit, but has not reached it: nothing of ours may raise there
        finally:
            self.looking = False

    def hold(self, ns: int, tick: int, gid: int) -> None:
        """Goroutine *gid* had the thread for *ns*; it is about to park, to yield or to end."""
        self.holds += 1
        self.held += ns
        if ns > self.longest:
            self.longest = ns
            if tick == self.notedtick and self.noted:
                self.stack = self.noted
            elif self.capture is not None:
                self.stack = self.capture(gid, None)
        self.noted = ""


def census(allgs: Iterable[Goroutine]) -> tuple[dict[str, int], dict[str, int]]:
    """How many goroutines there are by state, and by what those wait for that wait."""
    states: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for gp in list(allgs):
        if gp.status == _DEAD:
            continue
        name = g.STATUS_NAMES[gp.status]
        states[name] = states.get(name, 0) + 1
        if gp.status == _WAITING:
            reasons[gp.waitreason] = reasons.get(gp.waitreason, 0) + 1
    return states, reasons
