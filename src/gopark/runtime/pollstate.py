"""The state machine of a poll descriptor's two semaphores (rg for readers, wg for writers), as a table.

This is its only definition: netpoll.py takes its constants from here, the documentation's diagram is drawn from
TRANSITIONS, and the tests drive the real code through every (state, event) pair and compare.  Nothing else lives here.

A semaphore holds one of

    nil       nobody waits, no edge is pending (None)
    PD_READY  an I/O readiness notification is pending: the next waiter consumes it and does not park
    PD_WAIT   a goroutine is about to park: it has not committed yet
    G         that goroutine is parked and may be made runnable

After runtime/netpoll.go of Go: pdNil, pdReady, pdWait.
"""

from typing import Final, NamedTuple

PD_READY: Final = 1
PD_WAIT: Final = 2

# Which semaphore: bits, so that a deadline shared by both directions is MODE_R | MODE_W.
MODE_R: Final = 1
MODE_W: Final = 2

# What poll_reset, poll_wait and netpollcheckerr return.
POLL_NO_ERROR: Final = 0
POLL_ERR_CLOSING: Final = 1
POLL_ERR_TIMEOUT: Final = 2
POLL_ERR_NOT_POLLABLE: Final = 3


class Transition(NamedTuple):
    """One row: in *state*, *event* moves the semaphore to *next* and has *effect*."""

    state: str
    event: str
    next: str
    effect: str


TRANSITIONS: Final = (
    Transition("nil", "block", "PD_WAIT", "check the errors again, then park"),
    Transition("PD_READY", "block", "nil", "return true: consumed, no park"),
    Transition("PD_WAIT", "block", "PD_WAIT", "fatal error: double wait"),
    Transition("G", "block", "G", "fatal error: double wait"),
    Transition("PD_WAIT", "commit", "G", "parked; netpollWaiters + 1"),
    Transition("PD_READY", "commit", "PD_READY", "the commit fails: resume at once, return true"),
    Transition("nil", "commit", "nil", "the commit fails: resume at once, return false"),
    Transition("PD_WAIT", "error", "nil", "do not park: return false"),
    Transition("PD_READY", "error", "nil", "the edge came first: return true"),
    Transition("nil", "unblock ready", "PD_READY", "nobody to wake"),
    Transition("PD_READY", "unblock ready", "PD_READY", "already pending"),
    Transition("PD_WAIT", "unblock ready", "PD_READY", "the commit will fail"),
    Transition("G", "unblock ready", "PD_READY", "return G: make it runnable"),
    Transition("nil", "unblock", "nil", "nobody to wake"),
    Transition("PD_READY", "unblock", "PD_READY", "an edge is never lost to a deadline"),
    Transition("PD_WAIT", "unblock", "nil", "the commit will fail"),
    Transition("G", "unblock", "nil", "return G: make it runnable"),
    Transition("PD_READY", "resume", "nil", "return true: I/O is ready"),
    Transition("nil", "resume", "nil", "return false: deadline or close"),
    Transition("nil", "reset", "nil", ""),
    Transition(
        "PD_READY", "reset", "nil", "a stale edge is dropped: the system call that follows looks anyway"
    ),
    Transition("G", "cancel", "nil", "Cancelled is raised in G; netpollWaiters - 1"),
)
"""Every transition.  After a wake the resuming goroutine takes what is there and leaves nil ("resume")."""
