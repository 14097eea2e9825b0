# cython: nonecheck=True
"""select: wait for the first of several channel operations.  After Go's runtime/select.go.

As there: one step looks at all cases and performs one of those that are ready, chosen at random, all with the
same chance.  If none is, the goroutine goes into the waiting lists of all its cases and parks; whoever
performs one of them takes it out of the others (Sudog.wake), so at most one happens, and whatever ends the
wait otherwise (a time-out, cancellation) takes it out of all.  That each of these is one step, on any number
of channels, is chan.py's concern: there are no locks here, and so no lock order.
"""

import os
from typing import Any, NoReturn

from gopark.runtime import chan, proc
from gopark.runtime.chan import Case, ChanClosed, Sudog
from gopark.runtime.g import Goroutine, ParkLock

# C globals in the compiled core.
_SEND = chan.SEND
_DONE = chan.WOKEN_DONE
_CLOSED = chan.WOKEN_CLOSED
_NEVER = 0x7FFFFFFFFFFFFFFF
_MASK = 0xFFFFFFFFFFFFFFFF

_random = int.from_bytes(os.urandom(8), "little") | 1
_noresult: Any = (-1, None, False)


class Selection(ParkLock):
    """What the goroutine of a select parks on: all its entries."""

    def __init__(self, cases: tuple[Case | None, ...]) -> None:
        self.cases = cases
        self.sudogs: list[Sudog] = []  # one for each case that is not None
        self.prepare()

    def prepare(self) -> None:
        # Before the park, as it allocates.
        i = 0
        for item in self.cases:
            if item is not None:
                case = item
                sg = chan.acquire_sudog(case.c, case.mode, case.elem)
                sg.index = i
                sg.group = self.sudogs
                self.sudogs.append(sg)
            i += 1

    def parkcommit(self, gp: Goroutine | None, mode: int) -> bool:  # atomic
        """Into all the waiting lists, unless a case has become ready since the caller looked."""
        for sg in self.sudogs:
            c = sg.c
            assert c is not None
            if c.sendready() if sg.mode == _SEND else c.recvready():
                return False
        for sg in self.sudogs:
            c = sg.c
            assert c is not None
            sg.gp = gp
            if sg.mode == _SEND:
                c.sendq.push(sg)
            else:
                c.recvq.push(sg)
        return True

    def parkcancel(self, gp: Goroutine | None, mode: int) -> bool:  # atomic
        for sg in self.sudogs:
            if sg.woken != 0:
                return False  # a partner or close was first: what it did counts
        for sg in self.sudogs:
            if sg.q is not None:
                sg.q.remove(sg)
        return True

    def describe(self, mode: int) -> str:
        return ", ".join(Case.describe(case) for case in self.cases if case is not None)

    def after_fork(self) -> None:
        for sg in self.sudogs:
            sg.after_fork()

    def finish(self) -> Any:
        """After the park: what happened, or None if nothing did.  Releases the entries."""
        result = None
        closed = False
        for sg in self.sudogs:
            if sg.woken == _DONE:
                result = (sg.index, None if sg.mode == _SEND else sg.elem, True)
            elif sg.woken == _CLOSED:
                closed = sg.mode == _SEND
                result = (sg.index, None, False)
        sudogs = self.sudogs
        self.sudogs = []
        for sg in sudogs:
            chan.release_sudog(sg)
        if closed:
            raise ChanClosed("send on closed channel")
        return result


def select(*cases: Case | None, default: bool = False, timeout: float | None = None) -> tuple[int, Any, bool]:
    """Perform the first of *cases* that is possible, parking until one is: (index, value received, ok).

    A case is ch.on_recv() or ch.on_send(value), or None, which never happens.  If several are possible at
    once, one of them is chosen at random.  ok is False for a receive from a channel that is closed and empty;
    a send on a closed channel raises ChanClosed.  default=True: if none is possible, return (-1, None, False)
    at once.  *timeout*: return that after so many seconds.  select() of nothing waits forever."""
    result = perform(cases)
    if result is None:
        if default:
            result = _noresult
        elif timeout is None:
            result = wait(cases, _NEVER)
        else:
            ns = proc.seconds_to_ns(timeout, "select: timeout")
            result = _noresult if ns <= 0 else wait(cases, proc.deadline_after(ns))
    return result  # type: ignore[no-any-return]


def perform(cases: tuple[Case | None, ...]) -> Any:
    """Perform one of the cases that are possible now; None if there is none.  One step."""
    # atomic: begin
    ready = 0
    chosen: Case | None = None
    index = 0
    i = 0
    for item in cases:
        if item is not None:
            if not isinstance(item, Case):
                no_case(i, item)  # safe: nothing was done yet
            case = item
            if case.c.sendready() if case.mode == _SEND else case.c.recvready():
                # The n-th that is ready replaces the choice with a chance of 1 in n: in the end all have the
                # same.
                ready += 1
                if ready == 1 or randn(ready) == 0:
                    chosen = case
                    index = i
        i += 1
    if chosen is None:
        return None
    value = None
    if chosen.mode == _SEND:
        chosen.c.sendnow(chosen.elem)
    else:
        value = chosen.c.recvnow()
    # atomic: end
    if value is chan._ATEND:
        return (index, None, False)
    return (index, value, True)


def no_case(i: int, item: Any) -> NoReturn:
    raise TypeError(f"select: case {i} must be ch.on_recv(), ch.on_send(v) or None, not {item!r}")


def wait(cases: tuple[Case | None, ...], when: int) -> Any:
    """Park until a case was performed, or until *when* (ns of the monotonic clock)."""
    reason = "select"
    if not any(case is not None for case in cases):
        # As Go has it: a select of one case is that operation; None does not say which, and receiving is what it mostly is.
        reason = "chan receive (nil chan)" if len(cases) == 1 else "select (no cases)"
    while True:
        sel = Selection(cases)
        try:
            if proc.foreign():
                woken = thread_wait(sel, when)
            elif when == _NEVER:
                proc.gopark(sel, 0, reason)
                woken = True
            else:
                woken = proc.gopark_until(sel, 0, reason, when)
        except BaseException:
            sel.sudogs.clear()  # the list and its entries hold each other
            raise
        result = sel.finish()
        if result is None:
            result = perform(cases) if woken else _noresult
        if result is not None:
            return result


def thread_wait(sel: Selection, when: int) -> bool:
    """wait, on a thread that gopark does not run on."""
    note = chan.new_note()
    for sg in sel.sudogs:
        sg.note = note
    return chan.thread_park(sel, 0, note, when)


def randn(n: int) -> int:  # atomic
    """A pseudo-random number in [0, n): xorshift64, Go's cheaprandn."""
    global _random
    x = _random
    x ^= (x << 13) & _MASK
    x ^= x >> 7
    x ^= (x << 17) & _MASK
    _random = x
    return (x >> 32) % n if n else 0


def seed(n: int) -> None:
    """Make the choices of every later select a function of *n*: for tests and simulations."""
    global _random
    _random = (n * 0x9E3779B97F4A7C15 + 0x1234567) & _MASK or 1


chan.lock_steps(Selection, "parkcommit", "parkcancel")
chan.lock_steps(globals(), "perform")
