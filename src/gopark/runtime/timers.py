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
    """The timers of one P."""

    def __init__(self) -> None:
        self.heap: list[Timer] = []
        self.first = NEVER  # heap[0].heapwhen, or NEVER: what the scheduler compares with the clock
        self.stale = 0  # stopped timers still in the heap
        self.fired = 0  # callbacks run, for statistics

    def __len__(self) -> int:
        return self.armed()

    def armed(self) -> int:
        """How many timers are armed."""
        return len(self.heap) - self.stale

    def modify(self, t: Timer, when: int, seq: int) -> None:
        """Arm *t* for *when* ns (again, if it is armed); its callback will get *seq*."""
        if when <= 0:
            when = 1  # 0 means "not armed"; any time in the past is due at once
        t.seq = seq
        i = t.index
        if i < 0:
            t.when = t.heapwhen = when
            i = len(self.heap)
            t.index = i
            self.heap.append(t)
            self.up(i)
            self.first = self.heap[0].heapwhen
            return
        if t.when == 0:
            self.stale -= 1
        t.when = when
        if when < t.heapwhen:
            t.heapwhen = when
            self.up(i)
            self.first = self.heap[0].heapwhen

    def stop(self, t: Timer) -> bool:
        """Disarm *t*; whether it was armed (that is: had not fired yet)."""
        if t.when == 0:
            return False
        t.when = 0
        if t.index >= 0:
            self.stale += 1
            if self.stale >= _SWEEP_MIN and self.stale * 4 > len(self.heap):
                self.sweep()
        return True

    def run(self, now: int) -> None:
        """Fire every timer whose deadline is at or before *now*."""
        while self.first <= now:
            t = self.heap[0]
            if t.when == 0 or t.when > now:
                self.settle()
                continue
            if t.period > 0:
                # From the deadline, not from now: a ticker does not drift.
                t.when += t.period * (1 + (now - t.when) // t.period)
                self.settle()
            else:
                t.heapwhen = t.when  # for who asks what its deadline was
                t.when = 0
                self.removemin()
            self.fired += 1
            t.f(t.arg, t.seq)

    def retain(self, keep: Callable[[Any], bool]) -> None:
        """Stop all timers but those whose argument *keep* accepts."""
        for t in self.heap:
            if t.when != 0 and not keep(t.arg):
                t.when = 0
        self.sweep()

    def settle(self) -> None:
        """Make the top an armed timer at its true place, and so `first` exact: drop what was stopped, move down what was
        moved to later."""
        dropped = 0
        while self.heap:
            t = self.heap[0]
            if t.when == 0:
                dropped += 1
                if dropped > _SWEEP_MIN:
                    self.sweep()
                    break
                self.stale -= 1
                self.removemin()
            elif t.when > t.heapwhen:
                t.heapwhen = t.when
                self.down(0)
            else:
                break
        self.first = self.heap[0].heapwhen if self.heap else NEVER

    def removemin(self) -> None:
        t = self.heap[0]
        last = self.heap.pop()
        t.index = -1
        if last is not t:
            self.heap[0] = last
            last.index = 0
            self.down(0)
        self.first = self.heap[0].heapwhen if self.heap else NEVER

    def sweep(self) -> None:
        # Rebuild without the stopped ones: linear, and at most once per quarter of the heap.
        keep: list[Timer] = []
        for t in self.heap:
            if t.when == 0:
                t.index = -1
            else:
                t.heapwhen = t.when
                t.index = len(keep)
                keep.append(t)
        self.heap = keep
        self.stale = 0
        i = (len(keep) - 2) // 4 if len(keep) > 1 else -1
        while i >= 0:
            self.down(i)
            i -= 1
        self.first = keep[0].heapwhen if keep else NEVER

    def up(self, i: int) -> int:
        heap = self.heap
        t = heap[i]
        while i > 0:
            parent = (i - 1) // 4
            p = heap[parent]
            if p.heapwhen <= t.heapwhen:
                break
            heap[i] = p
            p.index = i
            i = parent
        heap[i] = t
        t.index = i
        return i

    def down(self, i: int) -> int:
        heap = self.heap
        n = len(heap)
        t = heap[i]
        while True:
            c = 4 * i + 1
            if c >= n:
                break
            best = c
            end = min(c + 4, n)
            c += 1
            while c < end:
                if heap[c].heapwhen < heap[best].heapwhen:
                    best = c
                c += 1
            b = heap[best]
            if t.heapwhen <= b.heapwhen:
                break
            heap[i] = b
            b.index = i
            i = best
        heap[i] = t
        t.index = i
        return i
