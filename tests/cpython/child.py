"""One module of CPython's own tests, in a process of its own: what each test came to goes line by line to a file.

Usage: child.py MODULE RESULTS PLAN.  This file is the program: it runs as it is, or under ``gopark run``, and knows nothing
of gopark.  Whoever started it (``suite.py``) sees by the file which test is under way, kills what hangs, and starts it again
with what is left to do.
"""

import faulthandler
import importlib.util
import json
import os
import pkgutil
import sys
import time
import traceback
import unittest
from collections.abc import Iterator
from typing import Any

import test

# What the tests below may replace or mock.
_write, _getpid, _now = os.write, os.getpid, time.monotonic


class Results(unittest.TestResult):
    """Writes a record when a test begins, and one when it has ended."""

    def __init__(self, fd: int, numbers: dict[int, int]) -> None:
        super().__init__()
        self.fd = fd
        self.pid = _getpid()
        self.numbers = numbers  # id() of a test: its number
        self.began = 0.0
        self.state, self.message = "pass", ""

    def emit(self, *record: object) -> None:
        if _getpid() == self.pid:  # not a child that a test has forked
            _write(self.fd, (json.dumps(record) + "\n").encode())

    def number(self, test: Any) -> int:
        return self.numbers.get(id(test), -1)

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.emit("begin", self.number(test), test.id())
        self.began, self.state, self.message = _now(), "pass", ""

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        seconds = round(_now() - self.began, 3)
        self.emit("end", self.number(test), test.id(), self.state, seconds, self.message)

    def note(self, state: str, test: Any, message: str) -> None:
        if isinstance(test, unittest.TestCase) or hasattr(test, "_testMethodName"):
            self.state, self.message = state, message
        else:
            self.emit("fixture", test.id(), state, message)  # setUpClass, setUpModule and so on

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.note("error", test, explained(err))

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.note("fail", test, explained(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note("fail", test, f"{subtest}\n{explained(err)}")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        if self.state == "pass":
            self.note("skip", test, reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.note("fail", test, "unexpected success")


def explained(err: Any) -> str:
    try:
        return "".join(traceback.format_exception(*err))[-4000:]
    except Exception:
        return repr(err)


def flat(suite: Any) -> Iterator[Any]:
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from flat(one)
        else:
            yield one


def why_not_loaded(tests: list[Any]) -> str | None:
    """unittest turns a module that raises or skips itself into a test that does."""
    if len(tests) != 1 or type(tests[0]).__name__ not in ("_FailedTest", "ModuleSkipped"):
        return None
    try:
        getattr(tests[0], tests[0]._testMethodName)()
    except unittest.SkipTest as e:
        return f"skip: {e}"
    except BaseException as e:
        return f"fail: {e!r}"
    return None


def loaded(module: str) -> unittest.TestSuite:
    """Its tests.  A package that is not in the standard library's folder cannot load its modules by itself."""
    loader = unittest.defaultTestLoader
    spec = importlib.util.find_spec(module)
    places = spec.submodule_search_locations if spec is not None else None
    if not places or places[0].startswith(os.path.dirname(os.__file__)):
        return loader.loadTestsFromName(module)
    suite = unittest.TestSuite()
    for info in pkgutil.iter_modules(places):
        if info.name.startswith("test_"):
            try:
                suite.addTest(loader.loadTestsFromName(f"{module}.{info.name}"))
            except Exception as e:
                print(
                    f"{module}.{info.name} is another version's, and cannot be loaded: {e!r}", file=sys.stderr
                )
    return suite


def main() -> None:
    module, results_path, plan_path = sys.argv[1:]
    with open(plan_path) as f:
        plan = json.load(f)
    fd = os.open(results_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    sys.argv[:] = [module]
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    faulthandler.enable()

    from test import support

    support.use_resources = plan["resources"]
    support.verbose = 0
    results = Results(fd, {})
    try:
        suite = loaded(f"test.{module}")
    except unittest.SkipTest as e:
        return results.emit("not loaded", f"skip: {e}")
    tests = list(flat(suite))
    reason = why_not_loaded(tests)
    if reason is not None:
        return results.emit("not loaded", reason)
    results.numbers.update((id(t), number) for number, t in enumerate(tests))
    results.emit("loaded", [t.id() for t in tests])
    done, only = set(plan["done"]), plan["only"]
    chosen = [t for number, t in enumerate(tests) if (number in only if only else number not in done)]
    unittest.TestSuite(chosen).run(results)
    results.emit("ended")


# Where else there are test modules: in children that multiprocessing spawns, too.
test.__path__ += filter(None, os.environ.get("CPYTHON_TESTS", "").split(os.pathsep))

if __name__ == "__main__":
    main()
