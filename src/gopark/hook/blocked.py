"""What has blocked the thread in C is named: a warning of the logger "gopark", with the Python stack.

Sysmon notes it (runtime/_blocked.h), and the preemption handler, which runs at the first Python instruction after it, has the
stack.  Nothing is logged there, in the middle of anything: a goroutine does that, or the end of patch().  Each place is
told of once, and again when it has happened ten times as often.
"""

import logging
from collections import deque
from types import CodeType, FrameType

from gopark.runtime import _sys, debug, proc, sysmon

_PLACES = 1000  # that are remembered
_LONG = 100_000_000  # ns: who computes for less is no cause for alarm, and on a busy machine has perhaps only waited for it
_p = proc.getp()
_log = logging.getLogger("gopark")
_seen: dict[tuple[CodeType | None, int, str, str], int] = {}
_said: deque[tuple[int, str]] = deque(maxlen=100)  # level, text
_logging = False  # a goroutine is about to


def start() -> None:
    sysmon.told = _told
    _sys.sysmon_watch(True)


def stop() -> None:
    _sys.sysmon_watch(False)
    sysmon.told = None
    _write()


def counts() -> dict[str, int]:
    """How often, by place."""
    return {f"{code.co_filename if code else '?'}:{line}": n for (code, line, *_), n in list(_seen.items())}


def _told(ns: int, call: str, library: str, gone: bool, frame: FrameType) -> None:
    """In the preemption handler: that was C code, below *frame*."""
    global _logging
    if frame.f_code.co_filename == __file__ or frame.f_globals.get("__name__", "").startswith("logging"):
        return  # whoever logs slowly would be logged
    place = (None, 0, call, library) if gone else (frame.f_code, frame.f_lineno, call, library)
    if place not in _seen and len(_seen) >= _PLACES:
        return
    n = _seen[place] = _seen.get(place, 0) + 1
    if str(n).strip("0") != "1":  # 1, 10, 100
        return
    what = f"in {call}, called by {library or 'an unknown library'}" if call else "computing in C"
    often = "" if n == 1 else f", for the {n}th time"
    where = "goroutine ? [parked or ended since]" if gone else debug.captured(_p.lastid, frame)
    text = f"every goroutine waited {ns / 1e6:.0f} ms for one {what}{often}\n{where}"
    _said.append((logging.WARNING if call or ns >= _LONG else logging.INFO, text))
    if not _logging:
        _logging = True
        proc.go(_write)


def _write() -> None:
    global _logging
    _logging = False
    while _said:
        level, text = _said.popleft()
        _log.log(level, "%s", text.rstrip())
