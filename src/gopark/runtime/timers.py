# cython: nonecheck=True
"""Timers: a 4-ary heap ordered by deadline, in nanoseconds of the monotonic clock.

Only the heap lives here; who looks at it and when is the scheduler's business, what a timer does is its callback's.

Two kinds of laziness make the common cases cheap (both after Go's timers):

- *Later*: a timer moved to a later deadline (every renewed read deadline) stays where it is in the heap, at `heapwhen`.
  When the scheduler gets there it finds `when` later, and moves it down then.  Ten thousand renewals cost one move.
- *Stopped*: `stop` only sets `when` to 0.  The entry is dropped at the top, when the scheduler wants to know how long it
  may wait (`settle`), or by a sweep once a quarter of the heap is stale.  So a million timers that are all stopped cost a
  few sweeps, each linear, and not a million walks down the heap.

Invariant: heapwhen <= when for every armed timer in the heap, so the heap's minimum is never too late.  It may be too early:
of a timer that was stopped, or moved to later.
"""

from collections.abc import Callable
from typing import Any

NEVER = 0x7FFFFFFFFFFFFFFF
_SWEEP_MIN = 64


class Timer:
    """One timer: calls f(arg, seq) on the scheduler (so f must not park) when the clock passes *when*.

    *seq* is whatever `modify` was last given: a callback compares it with its owner's to see that it is not stale.
    With *period* > 0 it is armed again, *period* ns after the deadline that has passed."""

    def __init__(self, f: Callable[[Any, int], None], arg: Any, period: int = 0) -> None:
        self.when = 0  # deadline, ns; 0: not armed
        self.heapwhen = 0  # the key the heap is ordered by; <= when while armed
        self.index = -1  # position in the heap; -1: not there
        self.seq = 0
        self.period = period
        self.f = f
        self.arg = arg


class TimerHeap:
    """The timers of one P.

    What a step takes out of the heap is let go of after the step, by its caller: the argument of a timer may be the last
    reference to something whose finalizer stops timers, or arms them."""

    def __init__(self) -> None:
        self.heap: list[Timer] = []
        self.first = NEVER  # heap[0].heapwhen, or NEVER: what the scheduler compares with the clock
        self.stale = 0  # stopped timers still in the heap
        self.fired = 0  # callbacks run, for statistics
        self.waituntil = 0  # the P waits in netpoll for the timer of this time; 0: it does not wait
        self.wake: Callable[[], object] | None = None  # ends that wait: for a timer that is due earlier

    def __len__(self) -> int:
        return self.armed()

    def armed(self) -> int:  # atomic
        """How many timers are armed."""
        return len(self.heap) - self.stale

    def modify(self, t: Timer, when: int, seq: int) -> None:
        """Arm *t* for *when* ns (again, if it is armed); its callback will get *seq*."""
        self.arm(t, when, seq)
        if self.first < self.waituntil:
            self.end_wait()

    def arm(self, t: Timer, when: int, seq: int) -> None:  # atomic
        """modify as one step, to be followed by end_wait if the new first is earlier than what the P waits for."""
        if when <= 0:
            when = 1  # 0 means "not armed"; any time in the past is due at once
        i = t.index
        if i < 0:
            i = len(self.heap)
            self.heap.append(t)  # before all else: there may be no memory for it
            t.index = i
            t.seq = seq
            t.when = t.heapwhen = when
        else:
            t.seq = seq
            if t.when == 0:
                self.stale -= 1
            t.when = when
            if when >= t.heapwhen:
                return
            t.heapwhen = when
        self.up(i)
        self.look()

    def end_wait(self) -> None:
        """A timer is due before the P's wait ends."""
        if self.wake is not None:
            self.wake()

    def stop(self, t: Timer) -> bool:
        """Disarm *t*; whether it was armed (that is: had not fired yet)."""
        if not self.disarm(t):
            return False
        self.tidy()
        return True

    def disarm(self, t: Timer) -> bool:  # atomic
        """stop as one step, to be followed by tidy."""
        if t.when == 0:
            return False
        t.when = 0
        if t.index >= 0:
            self.stale += 1
        return True

    def tidy(self) -> None:
        """Sweep, if there is enough that was stopped."""
        if self.stale >= _SWEEP_MIN and self.stale * 4 > len(self.heap):
            self.sweep()

    def run(self, now: int) -> None:
        """Fire every timer whose deadline is at or before *now*."""
        while self.first <= now:
            t = self.take(now)
            if t is None:
                self.settle()
            else:
                self.fired += 1
                t.f(t.arg, t.seq)
                # Not by the next assignment: its finalizers would come between the next timer's removal and its call.
                t = None

    def take(self, now: int) -> Timer | None:  # atomic
        """The first timer, if it is due: armed again, or out of the heap.  None if `settle` must come first."""
        t = self.heap[0]
        if t.when == 0 or t.when > now:
            return None
        if t.period > 0:
            # From the deadline, not from now: a ticker does not drift.
            t.when += t.period * (1 + (now - t.when) // t.period)
            self.sink()
        else:
            self.removemin()  # first: a list needs memory to become shorter, too
            t.heapwhen = t.when  # for who asks what its deadline was
            t.when = 0
        return t

    def retain(self, keep: Callable[[Any], bool]) -> None:
        """Stop all timers but those whose argument *keep* accepts."""
        for t in list(self.heap):
            if t.when != 0 and not keep(t.arg):
                self.stop(t)
        self.sweep()

    def settle(self) -> None:
        """Make the top an armed timer at its true place, and so `first` exact: drop what was stopped, move down what was
        moved to later."""
        n = 0
        while self.unsettled():
            n += 1
            if n > _SWEEP_MIN and self.sweep():
                break
            self.settle_top()

    def unsettled(self) -> bool:  # atomic
        """Is `first` too early?"""
        if len(self.heap) == 0:
            return False
        t = self.heap[0]
        return t.when == 0 or t.when > t.heapwhen

    def settle_top(self) -> Timer | None:  # atomic
        """One step of settle; the timer that it has dropped."""
        t = self.heap[0]
        if t.when != 0:
            self.sink()
            return None
        self.removemin()
        self.stale -= 1
        return t

    def sink(self) -> None:  # atomic
        """The top has moved to later: down with it."""
        t = self.heap[0]
        t.heapwhen = t.when
        self.down(0)
        self.look()

    def look(self) -> None:  # atomic
        """What is first now?"""
        if len(self.heap) == 0:
            self.first = NEVER
        else:
            t = self.heap[0]
            self.first = t.heapwhen

    def removemin(self) -> None:  # atomic
        """Take out the top, which the caller holds."""
        t = self.heap[0]
        last = self.heap.pop()
        t.index = -1
        if last is not t:
            self.heap[0] = last  # moved
            last.index = 0
            self.down(0)
        self.look()

    def sweep(self) -> bool:
        """Rebuild the heap without what was stopped: linear, and at most once per quarter of the heap.  False: no memory."""
        try:
            room: list[Timer] = []
            # What was dropped goes with the old heap, when this function returns.
            old = self.rebuild(room)
        except MemoryError:
            return False
        return old is not None

    def rebuild(self, keep: list[Timer]) -> list[Timer]:  # atomic
        """The heap in the room of *keep*; the old one.  Nothing has changed if there is no memory for it."""
        old = self.heap
        for t in old:
            if t.when != 0:
                keep.append(t)
        for t in old:
            t.index = -1
        i = 0
        for t in keep:
            t.heapwhen = t.when
            t.index = i
            i += 1
        self.heap = keep  # moved
        self.stale = 0
        i = (len(keep) - 2) // 4 if len(keep) > 1 else -1
        while i >= 0:
            self.down(i)
            i -= 1
        self.look()
        return old

    def up(self, i: int) -> int:  # atomic
        heap = self.heap
        t = heap[i]
        while i > 0:
            parent = (i - 1) // 4
            p = heap[parent]
            if p.heapwhen <= t.heapwhen:
                break
            heap[i] = p  # moved
            p.index = i
            i = parent
        heap[i] = t  # moved
        t.index = i
        return i

    def down(self, i: int) -> int:  # atomic
        heap = self.heap
        n = len(heap)
        t = heap[i]
        while True:
            c = 4 * i + 1
            if c >= n:
                break
            best = c
            b = heap[c]
            end = min(c + 4, n)
            c += 1
            while c < end:
                other = heap[c]
                if other.heapwhen < b.heapwhen:
                    best = c
                    b = other
                c += 1
            if t.heapwhen <= b.heapwhen:
                break
            heap[i] = b  # moved
            b.index = i
            i = best
        heap[i] = t  # moved
        t.index = i
        return i
