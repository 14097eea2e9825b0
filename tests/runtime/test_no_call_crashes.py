"""Nothing that Python code can reach corrupts memory: objects made without __init__, calls with anything at all.

Names with an underscore are the core's own.  Each class, and each function, is tried in a process of its own, forked from one
that has imported everything; what it raises is its business, but it must not die of a signal, as C code does."""

import pytest

from support import IS_COMPILED, python

PROGRAM = """
    import importlib, os, pkgutil, select, signal, sys, time
    import gopark

    FATAL = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL}
    # They park on the lock that they are given, or are the scheduler itself.
    LEFT_OUT = {"gopark", "gopark_until", "findrunnable", "g0_main", "goroutine_main", "mro"}

    modules = []
    for m in pkgutil.walk_packages(gopark.__path__, "gopark."):
        others = m.name.startswith(("gopark.cli", "gopark.contrib"))  # commands; what imports other packages
        if not others and not any(part.startswith("_") for part in m.name.split(".")):
            modules.append(importlib.import_module(m.name))
    HEAP_TYPE = 1 << 9  # a class of Python's, not of C
    classes = {
        v for module in modules for v in vars(module).values()
        if isinstance(v, type) and v.__module__.startswith("gopark.") and not v.__flags__ & HEAP_TYPE
    }
    assert len(classes) > 30, classes

    def bare(cls):
        try:
            return cls.__new__(cls)
        except TypeError:  # it insists on its arguments
            return None

    def forgetful(cls):
        class Forgetful(cls):
            def __init__(self):
                pass
        try:
            return Forgetful()
        except TypeError:
            return None

    BARE = [o for o in map(bare, sorted(classes, key=repr)) if o is not None]

    def arguments():
        yield ()
        for v in (None, 0, 1, -1, b"x", "x", [], int, *BARE):
            yield from ((v,), (v, 1), (v, 1, "x"), (v, 1, 1), (v, 1, "x", 1))
        for v in (None, 0, "x", int):
            yield from ((v,) * 2, (v,) * 3, (1, v), ("x", v))

    def interrupted(*_):
        raise KeyError("it waited")

    def try_all(calls, w):
        signal.signal(signal.SIGALRM, interrupted)
        for name, call in calls:
            for args in arguments():
                os.write(w, f"{name} {[type(a).__name__ for a in args]}\\n".encode())
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                try:
                    call(*args)
                except BaseException:
                    pass
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)

    def apart(what, calls):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            quiet = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(quiet, fd)
            try:
                gopark.run(try_all, calls, w)
            finally:
                os._exit(0)
        os.close(w)
        last, end = b"", time.monotonic() + 4
        while select.select([r], [], [], max(0, end - time.monotonic()))[0]:
            data = os.read(r, 65536)
            if not data:
                break
            last = data
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(r)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in FATAL:
            print(what, signal.Signals(os.WTERMSIG(status)).name, last.splitlines()[-1:])

    def methods(obj):
        for name in dir(obj):
            if name not in LEFT_OUT and (not name.startswith("_") or name in SPECIAL):
                yield name, lambda *a, name=name: getattr(obj, name)(*a)

    SPECIAL = {"__repr__", "__len__", "__enter__", "__exit__", "__iter__", "__next__", "__bool__"}
"""


@pytest.mark.skipif(
    not IS_COMPILED, reason="it is the compiled core's objects that have no guard of Python's"
)
@pytest.mark.parametrize("made", ["bare", "forgetful"])
def test_no_object_made_without_init_crashes_whatever_is_called(made: str) -> None:
    done = python(
        PROGRAM
        + f"""
    for cls in sorted(classes, key=repr):
        obj = {made}(cls)
        if obj is not None:
            apart(cls, list(methods(obj)))
    """,
        timeout=55,
    )
    assert done.stdout == ""


@pytest.mark.skipif(
    not IS_COMPILED, reason="it is the compiled core's functions that have no guard of Python's"
)
def test_no_function_crashes_whatever_it_is_called_with() -> None:
    done = python(
        PROGRAM
        + """
    for module in modules:
        for name, f in sorted(vars(module).items()):
            if type(f).__name__ == "cython_function_or_method" and f.__module__ == module.__name__:
                if not name.startswith("_") and name not in LEFT_OUT:
                    apart(f"{module.__name__}.{name}", [(name, f)])
    """,
        timeout=55,
    )
    assert done.stdout == ""
