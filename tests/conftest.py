"""For all tests: a child that a test waits for in vain is looked at before it is given up, and Ctrl-C is not ignored."""

import signal
import subprocess
import time
from typing import Any

from support import diagnosis

# A shell without job control has what it starts in the background ignore the first two, nohup the third; children inherit
# that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

_communicate = subprocess.Popen.communicate
_SLICE = 1.0  # s


def communicate(self: "subprocess.Popen[Any]", input: Any = None, timeout: float | None = None) -> Any:
    """Popen.communicate, whose TimeoutExpired says who holds the pipes.

    It waits in slices, and one in which this process itself stood still (on a busy machine: seconds) does not count.
    subprocess looks at the time before it looks at what the wait has brought, and would give up a child that has ended
    well."""
    if timeout is None:
        return _communicate(self, input)
    left, still = timeout, 0.0
    while True:
        began = time.monotonic()
        part = min(left, _SLICE)
        try:
            return _communicate(self, input, part)
        except subprocess.TimeoutExpired as e:
            stood = time.monotonic() - began - part
            still = max(still, stood)
            if stood < _SLICE / 4:
                left -= part
            input = None  # it has been taken
            if left <= 0:
                e.timeout = timeout
                e.add_note(
                    f"{diagnosis(self)}\nthe longest that this process itself stood still meanwhile: {still:.1f} s"
                )
                raise


subprocess.Popen.communicate = communicate  # type: ignore[method-assign]
