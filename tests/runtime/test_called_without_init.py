"""Objects whose __init__ was never called, and internal methods called with nonsense: an exception, never a crash."""

import pytest

from support import python

CLASSES = [
    "sync.Mutex",
    "sync.RWMutex",
    "sync.RLocker",
    "sync.Cond",
    "sync.Once",
    "sync.WaitGroup",
    "sync.Semaphore",
    "time.Timer",
    "time.Ticker",
    "context.Context",
    "errgroup.Group",
    "files.File",
    "blocking.Call",
    "blocking.Gate",
    "blocking.Worker",
    "blocking.Pool",
    "cond.Latch",
    "handover.Request",
]


@pytest.mark.parametrize("cls", CLASSES)
def test_methods_of_an_object_that_was_not_initialised(cls: str) -> None:
    done = python(
        f"""
        import gopark, inspect, itertools
        from gopark import context, errgroup, files, sync, time
        from gopark.runtime import blocking, handover
        from gopark.sync import cond, rwmutex
        sync.RLocker = rwmutex.RLocker
        cls = {cls}
        kinds = [cls.__new__]
        try:
            class Own(cls):
                def __init__(self): pass
            kinds.append(lambda cls: Own())
        except TypeError: pass          # it cannot be subclassed
        VALUES = (None, 0, 1, -1, (), int, "x", object(), gopark.Chan(1))
        raised = 0

        def attempt(o, name):
            global raised
            try:
                attribute = getattr(o, name)
            except Exception:
                raised += 1
                return
            if not callable(attribute) or name == "__init__": return
            for n in range(4):
                for args in itertools.islice(itertools.product(VALUES, repeat=n), 30):
                    g = gopark.go(attribute, *args)
                    if not g.join(0.02): g.cancel()
                    if g.join(5) and g.exception is not None: raised += 1

        def main():
            names = sorted(n for n in dir(cls) if not n.startswith("_") or n in
                ("__repr__", "__len__", "__enter__", "__exit__", "__iter__", "__next__", "__call__"))
            for kind in kinds:
                for name in names:
                    if name == "serve":
                        continue        # a thread of the pool's would wait there for work
                    attempt(kind(cls), name)
            print("raised" if raised else "nothing raised")
        import sys, warnings
        warnings.simplefilter("ignore")
        sys.stderr = None
        gopark.excepthook = lambda gp, exc: None
        gopark.run(main)
        """
    )
    assert done.stdout.split("\n")[-2] in ("raised", "nothing raised")
