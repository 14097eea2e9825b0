"""Importing the package: in any order, with warnings as errors, lazily, and on Pythons that it cannot run on."""

import sys

import pytest

from support import python

# What `import gopark` and everything under it comes down to, but for programs.
ALL = """
import importlib, pkgutil
import gopark
HOOKS = "" if gopark.IS_COMPILED else "gopark.hook._hook"  # C code
for module in pkgutil.walk_packages(gopark.__path__, "gopark."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as e:  # contrib's are for programs that are not there, perhaps
        if (not module.name.startswith("gopark.contrib.") or e.name.startswith("gopark")) and e.name != HOOKS:
            raise
    except ImportError as e:
        if "_hook" not in str(e) or gopark.IS_COMPILED:
            raise
"""

ECHO = """
import gopark
g = gopark.go(lambda: gopark.sleep(0.001) or "hello")
print(g.result())
"""


def test_every_module_imports_with_warnings_as_errors() -> None:
    done = python("import warnings\nwarnings.simplefilter('error')\n" + ALL)
    assert done.stderr == ""


def test_the_runtime_works_whichever_of_its_modules_comes_first() -> None:
    """A program may begin with any of them: `import gopark.runtime.p`."""
    program = """
        import os, pkgutil, sys, importlib.util
        root = importlib.util.find_spec("gopark").submodule_search_locations
        names = [m.name for m in pkgutil.iter_modules([f"{root[0]}/runtime"], "gopark.runtime.")]
        assert len(names) > 20
        children = {}
        for name in names:
            pid = os.fork()
            if pid == 0:
                try:
                    importlib.import_module(name)
                    import gopark
                    assert gopark.go(lambda: gopark.sleep(0) or 1).result() == 1
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children[pid] = name
            if len(children) == 2:
                pid, status = os.wait()
                if status:
                    print(children[pid])
                del children[pid]
        while children:
            pid, status = os.wait()
            if status:
                print(children[pid])
            del children[pid]
    """
    done = python(program)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports can be lazy from 3.15 on")
@pytest.mark.parametrize("mode", ["all", "normal"])
def test_lazy_imports_change_nothing(mode: str) -> None:
    done = python(ECHO, PYTHON_LAZY_IMPORTS=mode)
    assert (done.stdout, done.stderr) == ("hello\n", "")


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports can be lazy from 3.15 on")
def test_nothing_is_left_to_be_imported_later() -> None:
    """The runtime cannot have an import in the middle of a signal handler or a scheduling decision."""
    program = """
        import sys, types
        import gopark
        for name, module in sys.modules.items():
            if name.startswith("gopark"):
                for key in list(vars(module)):
                    if type(vars(module)[key]) is types.LazyImportType:
                        print(name, key)
    """
    assert python(program, PYTHON_LAZY_IMPORTS="all").stdout == ""


def test_aio_comes_with_asyncio_when_it_is_used_and_costs_nothing_before() -> None:
    python(
        """
        import sys, gopark
        from gopark import aio
        assert "asyncio" not in sys.modules
        # With one, every gopark.go and gopark.sleep is looked up anew, by name.
        assert "__getattr__" not in vars(gopark)
        assert callable(aio.wait) and "asyncio" in sys.modules
        import gopark.aio as real
        assert gopark.aio is real is sys.modules["gopark.aio"] and aio.wait is real.wait
        """
    )


def test_a_python_without_the_gil_is_told_how_to_have_it() -> None:
    """As 3.13t and later say it: in the compiled core only where PYTHON_GIL=0 forbids it to come back by itself."""
    program = """
        import sys
        sys._is_gil_enabled = lambda: False
        try:
            import gopark
        except ImportError as e:
            print(e)
    """
    assert "PYTHON_GIL=1" in python(program).stdout


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: None)() is None or "t" not in sys.abiflags,
    reason="not free-threaded",
)
def test_a_free_threaded_build_runs_with_the_gil() -> None:
    program = "import sys\nimport gopark\nprint(sys._is_gil_enabled())\n"
    assert python(program, PYTHON_GIL="1").stdout == "True\n"
    refused = python(program, PYTHON_GIL="0", check=False)
    assert "PYTHON_GIL=1" in refused.stderr
    assert refused.returncode == 1
