"""Looking at the program's objects without running its code.

Dumps are made on a thread that is there to say who holds a lock, by the scheduler, in signal handlers: a __repr__, a
__getattr__ or a property of the program's, which may wait for that very lock, must not be called there.  So attributes
are read past the objects' classes, our own classes describe what inherits from them, and texts are copied to plain str.
The one exception is gopark.stack, called by the program itself, which shows the reprs of the program's own locks.
"""

from collections.abc import Callable
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from gopark.runtime import _sys
from gopark.runtime.g import ParkLock

_OURS = "gopark."  # classes of these modules are not foreign

# Not type(x).__mro__ and the like: a metaclass could answer.
_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_vars: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
_module_vars: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__
_partial_func: Callable[[Any], Any] = partial.__dict__["func"].__get__

asking: set[int] = (
    set()
)  # idents of threads whose own code has asked (gopark.stack): what it calls is its own affair


def plain(value: Any) -> str:
    """*value* as a plain str, also if it is of a subclass; "?" if it is no text."""
    return str.__str__(value) if issubclass(type(value), str) else "?"


def module_file(module: Any) -> str:
    """A module's __file__; "" if it has none.  (A lazy module would be imported by a look at its attributes.)"""
    if not issubclass(type(module), ModuleType):
        return ""
    file = dict.get(_module_vars(module), "__file__")
    return plain(file) if issubclass(type(file), str) else ""


def function(fn: Any) -> Any:
    """What a callable comes down to: through functools.partial, bound methods, callable objects."""
    for _ in range(10):
        cls = type(fn)
        if issubclass(cls, partial):
            fn = _partial_func(fn)
        elif cls is MethodType:
            fn = fn.__func__
        elif cls is FunctionType or cls is BuiltinFunctionType or issubclass(cls, type):
            break
        else:
            call = next((_vars(c)["__call__"] for c in _mro(cls) if "__call__" in _vars(c)), None)
            if type(call) is not FunctionType:
                break
            fn = call
    return fn


def code(fn: Any) -> CodeType | None:
    """The code of the function that a callable comes down to; None if it is not written in Python."""
    fn = function(fn)
    return fn.__code__ if type(fn) is FunctionType else None


def name(fn: Any) -> str:
    """The same function's name, with its module."""
    fn = function(fn)
    if not issubclass(type(fn), type):
        own = plain(_look(fn, "__qualname__"))
        if own != "?":
            return f"{plain(_look(fn, '__module__'))}.{own}"
        fn = type(fn)
    return f"{plain(_module(fn))}.{plain(_qualname(fn))}"


def _look(obj: Any, attribute: str) -> Any:
    """What C code has put under that name; None if it was not C code."""
    found: Any = next((_vars(c)[attribute] for c in _mro(type(obj)) if attribute in _vars(c)), None)
    return found.__get__(obj) if type(found) in (GetSetDescriptorType, MemberDescriptorType) else None


def describe(lock: ParkLock, mode: int) -> str:
    """lock.describe(mode), as the class of ours says it that the lock's inherits from."""
    for cls in _mro(type(lock)):
        if plain(_module(cls)).startswith(_OURS) and "describe" in _vars(cls):
            ours: Any = cls
            return plain(ours.describe(lock, mode))
    return ""


def representation(obj: Any) -> str:
    """repr(obj): of the program's own class if it is the program that asks, else as the class of ours says it that the
    object's inherits from."""
    if _sys.thread_ident() in asking:
        try:
            return plain(repr(obj))
        except Exception:
            pass
    for cls in _mro(type(obj)):
        if plain(_module(cls)).startswith(_OURS) and "__repr__" in _vars(cls):
            ours: Any = cls
            return plain(ours.__repr__(obj))
    return object.__repr__(obj)
