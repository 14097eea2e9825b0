"""netpoll.poll_wait that returns -1 where it raises: what was raised is then to be had from _sys.take_exception, at once.

For who waits in a frame without try: a parked goroutine keeps a copy of every frame, and in compiled code a try costs it a
hundred bytes.  Not compiled: the compiled core has this from quiet.pxd, as a cast of poll_wait itself."""

from gopark.runtime import _sys, netpoll
from gopark.runtime.polldesc import PollDesc


def poll_wait(pd: PollDesc, mode: int) -> int:
    try:
        return netpoll.poll_wait(pd, mode)
    except BaseException as e:
        _sys.raised.append(e)
        return -1
