"""Goroutine dumps: who exists, what each waits for and since when, where its code stands, who created it.

After Go's traceback.  Everything here only reads, and may be called from any thread or signal handler, at any
time: the goroutines go on changing meanwhile, so each is read again if it moved while it was looked at.  What
must not live here: how a dump is asked for (debug_signals.py, debug_server.py).

Python frames of a parked goroutine come from its greenlet's gr_frame.  The core's own frames are left out:
there are none in the compiled core, and in the interpreted one they are the same for everybody."""

import os
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import CodeType, FrameType
from typing import Any

from gopark.runtime import _sys, blocking, foreign, g, interrupts, proc
from gopark.runtime.g import Goroutine
from gopark.runtime.output import printable, write
from gopark.runtime.polldesc import PollDesc
from gopark.runtime.text import escaped

__all__ = [
    "Frame",
    "Snapshot",
    "as_dict",
    "parts",
    "printable",
    "report",
    "snapshots",
    "stack",
    "text",
    "write",
]

_FRAMES = 100  # more are cut out in the middle, as in Go
_TRIES = 5  # how often a goroutine that will not keep still is read
_CORE = "gopark.runtime."  # frames of these modules are left out; so are threading's, below every thread

_p = proc.getp()


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback."""

    function: str  # with its module
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen of one goroutine."""

    id: int
    name: str  # "" unless it was given one
    status: str  # running, runnable, waiting or dead
    reason: str  # why it waits; "" if it does not
    waited: float  # s since it parked; 0.0 if it does not wait
    waits_for: str  # what its park lock says; "" for nothing
    frames: tuple[Frame, ...]  # most recent first
    thread: tuple[Frame, ...]  # of the thread that runs its blocking call
    created: Frame | None
    creator_id: int  # the goroutine that created it; 0: none


class _Context:
    """What is looked up once for a dump of many goroutines."""

    def __init__(self, joined: dict[int, int]) -> None:
        self.joined = joined  # by id of the list on which they wait: the goroutine whose end it is
        self.files: dict[str, str] | None = None

    def module(self, code: CodeType) -> str:
        """The name of the module that *code* is from: a code object does not say."""
        if self.files is None:
            self.files = {}
            for name, module in dict.copy(sys.modules).items():
                file = foreign.module_file(module)
                if file:
                    self.files.setdefault(file, foreign.plain(name))
            main = foreign.module_file(dict.get(sys.modules, "__main__"))
            if main:
                self.files[main] = self.files[os.path.abspath(main)] = "__main__"
        file = code.co_filename
        return self.files.get(file) or os.path.basename(file).removesuffix(".py")


# -- one goroutine -------------------------------------------------------------------------------------------


def _line(code: CodeType, lasti: int) -> int:
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return line
    return code.co_firstlineno


def _entry(fn: Any) -> Frame:
    """The function of a goroutine without a Python frame: it has not started, or is not written in Python."""
    code = foreign.code(fn)
    if code is not None:
        return Frame(foreign.name(fn), code.co_filename, code.co_firstlineno)
    return Frame(foreign.name(fn), "", 0)


def _walk(frame: FrameType | None) -> list[Frame]:
    out: list[Frame] = []
    while frame is not None:
        module = foreign.plain(dict.get(frame.f_globals, "__name__"))
        code = frame.f_code
        if code in interrupts.bottoms:
            break
        if module.startswith(_CORE) or module == "threading":
            if code.co_name.startswith("_on_"):
                out.clear()  # the core's signal handler: what it has called is not the goroutine's doing
        else:
            out.append(
                Frame(f"{module}.{code.co_qualname}", code.co_filename, frame.f_lineno or code.co_firstlineno)
            )
        frame = frame.f_back
    return out


def _frames(frame: FrameType | None) -> tuple[Frame, ...]:
    out = tuple(_walk(frame))
    if len(out) > _FRAMES:
        half = _FRAMES // 2
        cut = Frame(f"... {len(out) - 2 * half} frames elided ...", "", 0)
        out = (*out[:half], cut, *out[-half:])
    return out


def _thread_frame(ident: int) -> FrameType | None:
    if ident == _sys.thread_ident():
        return sys._getframe()
    if ident == _p.thread and _p.hook is not None:
        ident = _p.hook.ident()
    return sys._current_frames().get(ident)


def _top_frame(gp: Goroutine) -> FrameType | None:
    stack = gp.stack
    if stack is None:
        return None
    frame: FrameType | None = stack.gr_frame
    if frame is not None:
        return frame
    # It has no saved frame: its stack is the one that the thread is on (the goroutine runs, or has parked and
    # looks for the next one there), or it runs nothing written in Python.
    frame = _thread_frame(_p.thread)
    if gp is _p.curg or gp is _p.maing:
        return frame
    code = foreign.code(gp.fn)
    bottom = frame if code is not None else None
    while bottom is not None:
        if bottom.f_code is code:
            return frame
        bottom = bottom.f_back
    return None


def _descriptor(fd: int) -> str:
    """What a descriptor is: both addresses of a socket, or what /proc calls it."""
    if fd < 0:
        return "closed"
    names = _sys.socket_names(fd)
    if names is None:
        try:
            return escaped(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            return ""
    local, peer = names
    return f"{local or '?'} <-> {peer}" if peer else local


def _waits_for(gp: Goroutine, context: _Context) -> str:
    lock = gp.parklock
    if lock is None:
        return ""
    if id(lock) in context.joined:
        return f"the end of goroutine {context.joined[id(lock)]}"
    text = foreign.describe(lock, gp.parkmode)
    if type(lock) is PollDesc:
        where = _descriptor(lock.fd)
        return f"{text}, {where}" if where else text
    return text


def _read(gp: Goroutine, context: _Context) -> Snapshot:
    status = g.STATUS_NAMES.get(gp.status, "?")
    waiting = status == "waiting"
    frames = _frames(_top_frame(gp))
    fn = gp.fn
    if not frames and fn is not None:
        frames = (_entry(fn),)
    lock = gp.parklock
    thread = lock.thread if waiting and type(lock) is blocking.Call else 0
    code = gp.creator
    created = None
    if code is not None:
        created = Frame(
            f"{context.module(code)}.{code.co_qualname}", code.co_filename, _line(code, gp.creator_lasti)
        )
    return Snapshot(
        id=gp.id,
        name=foreign.plain(gp.called()),
        status=status,
        reason=gp.waitreason if waiting else "",
        waited=max(0.0, (_sys.coarsetime() - gp.waitsince) / 1e9) if waiting else 0.0,
        waits_for=_waits_for(gp, context) if waiting else "",
        frames=frames,
        thread=_frames(_thread_frame(thread)) if thread else (),
        created=created,
        creator_id=gp.parent_id,
    )


def _snapshot(gp: Goroutine, context: _Context) -> Snapshot:
    # Another thread's dump can lose the GIL at any point: what it read is one state only if nothing moved.
    for attempt in range(_TRIES):
        before = (gp.status, gp.parkseq, gp.stack)
        try:
            seen = _read(gp, context)
        except Exception:
            if attempt == _TRIES - 1:
                return Snapshot(
                    gp.id, foreign.plain(gp.called()), "changing", "", 0.0, "", (), (), None, gp.parent_id
                )
            continue
        if before == (gp.status, gp.parkseq, gp.stack):
            break
    return seen


# -- all of them ---------------------------------------------------------------------------------------------


def _goroutines() -> tuple[list[weakref.ref[Goroutine]], _Context]:
    # Not the goroutines themselves: whoever ends meanwhile would be finalized here, with the program's code.
    for attempt in range(100):
        try:
            gs = list(_p.allgs)
            break
        except RuntimeError:  # a finalizer of somebody's changed the set meanwhile
            if attempt == 99:
                raise
    ids = sorted([(gp.id, weakref.ref(gp)) for gp in gs], key=_by_id)
    joined = {id(gp.joinq): gp.id for gp in gs if gp.joinq is not None}
    return [ref for _, ref in ids], _Context(joined)


def _by_id(item: tuple[int, Any]) -> int:
    return item[0]


def snapshots() -> Iterator[Snapshot]:
    """Every goroutine, the main one first, then by id.  Any thread may ask."""
    refs, context = _goroutines()
    for ref in refs:
        gp = ref()
        if gp is not None and gp.status != g.GDEAD:
            seen = _snapshot(gp, context)
            gp = None
            yield seen


def as_dict(seen: Any) -> Any:
    """A Snapshot as JSON knows it.  (dataclasses.asdict copies deeply, which runs objects' code.)"""
    if isinstance(seen, tuple):
        return [as_dict(item) for item in seen]
    if type(seen) in (Frame, Snapshot):
        return {field.name: as_dict(getattr(seen, field.name)) for field in fields(seen)}
    return seen


def _lines(frames: tuple[Frame, ...]) -> Iterator[str]:
    for frame in frames:
        function = printable(frame.function)
        if frame.line:
            yield f"{function}(...)\n\t{printable(frame.file)}:{frame.line}"
        elif function.startswith("..."):
            yield function
        else:
            yield f"{function}(...)\n\t(not Python code)"


def text(seen: Snapshot) -> str:
    """One goroutine as Go prints it."""
    state = seen.reason or seen.status
    minutes = int(seen.waited // 60)
    if minutes >= 1:
        state += f", {minutes} minutes"
    out = [f"goroutine {seen.id} [{state}]:"]
    if seen.name:
        out.append(f"    name: {printable(seen.name)}")
    if seen.waits_for:
        out.append(f"    waits for: {printable(seen.waits_for)}")
    if seen.thread:
        out.append("    on its thread:")
        out += (f"    {line}".replace("\t", "\t    ") for line in _lines(seen.thread))
    out += _lines(seen.frames)
    if seen.created is not None:
        where = f" in goroutine {seen.creator_id}" if seen.creator_id else ""
        created = seen.created
        out.append(
            f"created by {printable(created.function)}{where}\n\t{printable(created.file)}:{created.line}"
        )
    return "\n".join(out) + "\n"


def parts() -> Iterator[str]:
    """stack() in parts, one a goroutine: what takes long can be done bit by bit."""
    empty = True
    for seen in snapshots():
        yield text(seen) if empty else "\n" + text(seen)
        empty = False
    if empty:
        yield "no goroutines: gopark is not running\n"


def stack(all: bool = True) -> str:
    """What every goroutine does, or (*all* false) the calling one only: text in the format of Go's dumps.

    The state, how long it has lasted (from one minute on), the name if one was given, what it waits for, the
    Python frames, most recent first, and who created it.  Goroutine 1 first, then by id.  Safe to call from
    any thread and from signal handlers, as long as the __repr__ of the program's own subclasses of Chan and of the
    locks, which say what is waited for, is.  After Go's runtime.Stack."""
    me = _sys.thread_ident()
    asked = me in foreign.asking
    foreign.asking.add(me)
    try:
        return report() if all else _caller()
    finally:
        if not asked:
            foreign.asking.discard(me)


def captured(gid: int, frame: FrameType | None) -> str:
    """Where a goroutine is that has the thread, or had it until just now: what the scheduler's tally keeps."""
    gp = next((gp for gp in list(_p.allgs) if gp.id == gid), None)
    if gp is None:
        return f"goroutine {gid} [ended]:\n"
    frames = _frames(frame or sys._getframe())
    code = gp.creator
    created = None
    if code is not None:
        module = _Context({}).module(code)
        created = Frame(f"{module}.{code.co_qualname}", code.co_filename, _line(code, gp.creator_lasti))
    name = foreign.plain(gp.called())
    return text(Snapshot(gid, name, "running", "", 0.0, "", frames, (), created, gp.parent_id))


_p.tally.capture = captured


def report() -> str:
    """What every goroutine does, said without a line of the program's code."""
    return "".join(parts())


def _caller() -> str:
    gp = _p.curg
    if gp is None or _sys.thread_ident() != _p.thread:
        return "not in a goroutine:\n" + "".join(f"{line}\n" for line in _lines(_frames(sys._getframe())))
    return text(_snapshot(gp, _Context({})))
