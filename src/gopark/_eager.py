"""The package is imported as a whole, also where every import is lazy (CPython 3.15's -X lazy_imports=all, PEP 810).

There an import statement at the top of a file only makes a name that imports when it is first used.  The runtime cannot
have that: modules introduce themselves to one another and to the interpreter (hooks for fork and exit), and an import in
the middle of a signal handler, a finalizer or a scheduling decision runs foreign code where none may run; or it fails, in a
process that has given up its privileges.
"""

import sys


def resolve() -> None:
    """Import now what the package's modules have imported lazily; nothing to do in most Pythons."""
    if not hasattr(sys, "get_lazy_imports") or sys.get_lazy_imports() != "all":
        return
    done: set[str] = set()
    while todo := [name for name in sys.modules if name.partition(".")[0] == "gopark" and name not in done]:
        for name in todo:
            done.add(name)
            module = sys.modules[name]
            for attribute in list(vars(module)):
                getattr(module, attribute)  # what is still lazy is imported by this
