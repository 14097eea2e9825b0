"""Which locks that belong to the OS thread does a function hold: threading.RLock, alone or in a Condition.

Such a lock keeps no other goroutine of the same thread out.  So who holds one is not preempted; nothing else can be done
about it from here.  What Python does not say is who holds it: only that the thread does.  But it says, in each function's
table of exception handlers, which instructions are in a `with` block, or in a `try` whose `finally` releases something; and
before the one, and in the other, is written what: a variable, or an attribute of one.  That is looked up again, without
running any of the program's code.

Not seen: what is neither a name nor an attribute (`with locks[i]:`), and acquire without try and finally.
"""

import dis
import inspect
import threading
from types import CodeType, FrameType, MemberDescriptorType
from typing import Any

from gopark.runtime import _sys

_Path = tuple[str, ...]  # a name and the attributes that follow it
_Region = tuple[int, int, list[_Path]]  # in these instructions, as offsets, what has these names is held

_RLOCK = type(threading.RLock())
_PY_RLOCK: Any = threading._PyRLock  # type: ignore[attr-defined]
_ENTERS = {"BEFORE_WITH", "LOAD_SPECIAL", "COPY", "SWAP", "CALL", "PUSH_NULL", "CACHE", "NOP", "POP_TOP"}

_regions: dict[int, tuple[CodeType, list[_Region]]] = {}  # by id; the code is kept, so that the id is its own


def holds(frame: FrameType) -> bool:
    """Is *frame* where it holds a lock of the thread's?"""
    code = frame.f_code
    known = _regions.get(id(code))
    if known is None:
        if len(_regions) >= 4096:
            _regions.clear()
        known = _regions[id(code)] = code, _analyse(code)
    at = frame.f_lasti
    for start, end, paths in known[1]:
        if start <= at < end:
            return any(_is_held(_look_up(frame, path)) for path in paths)
    return False


def _analyse(code: CodeType) -> list[_Region]:
    """The regions of *code* in which something is held that has a name."""
    instructions = list(dis.get_instructions(code))
    index = {ins.offset: i for i, ins in enumerate(instructions)}
    entries: list[Any] = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    begins: dict[int, int] = {}
    for entry in entries:
        begins[entry.target] = min(entry.start, begins.get(entry.target, entry.start))
    paths = {
        target: _path_of_handler(instructions, index[target], index[begin])
        for target, begin in begins.items()
    }
    regions: list[_Region] = []
    for entry in entries:
        # The table has the innermost handler alone; what is around it is the handler's own handler, and so on.
        found: list[_Path] = []
        target: int | None = entry.target
        for _ in range(len(entries)):
            if target is None:
                break
            path = paths[target]
            if path is not None:
                found.append(path)
            target = next((e.target for e in entries if e.start <= target < e.end), None)
        if found:
            regions.append((entry.start, entry.end, found))
    return regions


def _path_of_handler(instructions: list[dis.Instruction], handler: int, begin: int) -> _Path | None:
    """What is held until that handler, whose block begins there, has run; None if it is something else."""
    for i in range(handler, len(instructions)):
        ins = instructions[i]
        if ins.opname == "WITH_EXCEPT_START":
            return _path_of_with(instructions, begin)
        if ins.opname in ("LOAD_METHOD", "LOAD_ATTR") and ins.argval == "release":
            return _path(instructions, i - 1)
        if ins.opname in ("RERAISE", "RETURN_VALUE", "JUMP_BACKWARD"):
            break
    return None


def _path_of_with(instructions: list[dis.Instruction], begin: int) -> _Path | None:
    """What the `with` whose block begins there is about."""
    i = begin
    while i >= 0 and instructions[i].opname not in ("BEFORE_WITH", "LOAD_SPECIAL"):
        i -= 1
    while i >= 0 and instructions[i].opname in _ENTERS:
        i -= 1
    return _path(instructions, i)


def _path(instructions: list[dis.Instruction], last: int) -> _Path | None:
    """The name and attributes that are loaded by the instructions up to *last*; None if it is something else."""
    names: list[str] = []
    for i in range(last, -1, -1):
        ins = instructions[i]
        if ins.opname == "LOAD_ATTR":
            names.append(ins.argval)
        elif "LOAD_FAST" in ins.opname or ins.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF"):
            # (Two variables in one instruction: the second is on top.)
            names.append(ins.argval if isinstance(ins.argval, str) else ins.argval[-1])
            return tuple(reversed(names))
        else:
            return None
    return None


def _look_up(frame: FrameType, path: _Path) -> Any:
    value = _sys.frame_local(frame, path[0]) if frame.f_code.co_flags & inspect.CO_OPTIMIZED else None
    if value is None:
        value = frame.f_globals.get(path[0])
    for name in path[1:]:
        value = _attribute(value, name)
    return value


def _attribute(value: Any, name: str) -> Any:
    found = inspect.getattr_static(value, name, None)
    if isinstance(found, MemberDescriptorType):  # a slot
        try:
            found = found.__get__(value)
        except AttributeError:  # it has no value
            found = None
    return found


def _is_held(lock: Any) -> bool:
    """Does this thread hold it, and does that keep no goroutine out?"""
    kind = type(lock)
    if issubclass(kind, threading.Condition):
        lock = _attribute(lock, "_lock")
        kind = type(lock)
    if kind is _RLOCK:
        owned: bool = lock._is_owned()
        return owned
    if issubclass(kind, _PY_RLOCK):
        return bool(_attribute(lock, "_owner") == _sys.thread_ident())
    return False
