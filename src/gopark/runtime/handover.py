"""What another thread has the runtime's thread do while it waits: for what is not its to touch, the timers for one.

The request is carried out at the runtime's next scheduling decision; or at its end, or by the thread that asks if that comes
too late for both: whoever is first.
"""

import _thread
from collections.abc import Callable
from typing import Any

from gopark.runtime import proc
from gopark.runtime.g import Handed

_p = proc.getp()


class Request:
    """A function that is called once, by whichever thread comes first."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.todo = [fn]
        self.value: Any = None
        self.exc: BaseException | None = None
        self.over = _thread.allocate_lock()  # until then
        self.over.acquire()

    def __call__(self) -> None:
        try:
            fn = self.todo.pop()
        except IndexError:
            return
        try:
            self.value = fn()
        except BaseException as e:
            self.exc = e
        finally:
            self.over.release()


def ask(fn: Callable[[], Any]) -> Any:
    """fn() on the runtime's thread, which is not this one; fn must not park.  Returns, or raises, what it did."""
    request = Request(fn)
    _p.inject(request)
    # The end sets thread and then looks for requests: one of the two sees the other.
    if _p.thread == 0:
        request()
    request.over.acquire()
    if request.exc is not None:
        try:
            raise request.exc
        finally:
            request.exc = None  # no cycle through the traceback
    return request.value


def late() -> None:
    """The runtime has ended: carry out what it was asked for and did not come to, closes and deadlines too.

    Whoever asks looks afterwards whether the runtime has ended (proc.later, ask): one of the two sees the other."""
    raised = None
    for _ in range(len(_p.injected)):
        try:
            item = _p.injected.popleft()
        except IndexError:
            break  # another thread does the same
        if not isinstance(item, (Request, Handed)):
            _p.injected.append(item)  # others' business: P.late, interrupts.give_back
            continue
        try:
            item()
        except BaseException as e:
            raised = e
    if raised is not None:
        try:
            raise raised
        finally:
            del raised  # no cycle through the traceback
