"""Builds the compiled core. Everything that is not about extensions is in pyproject.toml.

Each X.py with an X.pxd beside it, and each X.pyx, becomes one extension module; the .py is shipped too and
runs wherever the extension does not. All or nothing: modules that call one another directly in C cannot be
mixed with interpreted ones, so when one extension cannot be built, none is installed.

GOPARK_PURE=1         builds no extension
GOPARK_REQUIRE_EXT=1  a failure to build them is an error, not an interpreted installation
GOPARK_DEBUG=1        -O0 -g

A free-threaded Python (3.14t and later) gets the interpreted core, which refuses to run without the GIL: nothing of gopark
has been made safe for that yet, and compiled code least of all.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py


def requested(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


SOURCE = Path("src")
DEBUG = requested("GOPARK_DEBUG")
BUILD_BASE = "build/debug" if DEBUG else "build/release"
GENERATED_C = "build/cython"

# "0": exceptions are saved and restored with CPython's own functions. Cython's shortcut ("1") reads the
# fields of the thread state itself, and greenlet exchanges those in every switch; gevent builds so, too.
CYTHON_FAST_THREAD_STATE = "0"

COMPILE_ARGS = ["-O0", "-g"] if DEBUG else ["-O3", "-g0", "-fno-plt"]
# What is an error from GCC 14 on: so no older one lets it pass.
COMPILE_ARGS += [
    "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion",
    "-Werror=implicit-function-declaration",
]

MACROS = [("CYTHON_FAST_THREAD_STATE", CYTHON_FAST_THREAD_STATE)]
if not DEBUG:
    MACROS.append(("CYTHON_WITHOUT_ASSERTIONS", "1"))

DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # types come from the .pxd alone; annotations are for mypy
    "binding": True,  # functions look like Python's: inspect.signature, __doc__, __qualname__
    "embedsignature": False,  # beside binding it only adds a line to docstrings, which Python does not
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "unraisable_tracebacks": False,  # what a __del__ raises is told by sys.unraisablehook, and not once more before it
    "auto_pickle": False,  # nothing in the core can be pickled
    "allow_none_for_extension_args": False,  # calls from Python; from C they are not checked, and need not be
}


class BuildFailed(Exception):
    pass


# Their .pxd is all that the compiled core needs of them: its functions are inline.
NOT_COMPILED = ("__init__", "quiet")


def extensions() -> list[Extension]:
    compiled = [
        path
        for path in SOURCE.rglob("*.py")
        if path.stem not in NOT_COMPILED and path.with_suffix(".pxd").exists()
    ]
    compiled += SOURCE.rglob("*.pyx")
    return [
        Extension(
            ".".join(path.relative_to(SOURCE).with_suffix("").parts),
            [str(path)],
            define_macros=MACROS,
            extra_compile_args=COMPILE_ARGS,
        )
        for path in sorted(compiled)
    ]


class BuildExtensions(build_ext):
    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        inplace = self.inplace  # the inherited run() switches it off and on again
        try:
            self.generate_c()
            super().run()
        except Exception as error:
            failure = BuildFailed(f"{type(error).__name__}: {error}")
            if not inplace or requested("GOPARK_REQUIRE_EXT"):
                raise failure from error
            # An editable installation cannot be started over, as main() does.
            self.inplace = inplace
            for ext in self.extensions:
                Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            self.extensions = self.distribution.ext_modules = []
            warn_interpreted(failure)

    def generate_c(self) -> None:
        import greenlet
        from Cython.Build import cythonize

        # DIRECTIVES may have changed, or a structure that another module reads the fields of: Cython does not see the
        # first, and follows .pxd files only where they do not import each other in a circle.
        changed = max(path.stat().st_mtime for path in [Path("setup.py"), *SOURCE.rglob("*.pxd")])
        for path in Path(GENERATED_C).rglob("*.c"):
            if path.stat().st_mtime < changed:
                path.unlink()
        generated = cythonize(
            self.extensions,
            build_dir=GENERATED_C,
            include_path=[str(SOURCE)],
            compiler_directives=DIRECTIVES,
            nthreads=os.cpu_count() or 1,
            force=self.force,
        )
        sources = {ext.name: ext.sources for ext in generated}
        for ext in self.extensions:
            ext.sources = sources[ext.name]
            # COMPILE_ARGS, and the layout of other modules' structures: a stale object would read the wrong fields.
            ext.depends = ["setup.py", *map(str, [*SOURCE.rglob("*.pxd"), *SOURCE.rglob("*.h")])]
            ext.include_dirs.append("src/gopark/runtime")  # for "_sys.h" and "_sysmon.h"
            ext.include_dirs.append("src/gopark/hook")  # for "rooms.h"
            ext.include_dirs.append(str(Path(greenlet.__file__).parent.parent))  # for "greenlet/greenlet.h"


class BuildPython(build_py):
    def run(self) -> None:
        # build/ outlives a build, and a wheel takes all that lies there: drop what has left the source tree.
        keep = {ext.name for ext in self.distribution.ext_modules or ()}
        for path in Path(self.build_lib).rglob("*.*"):
            module = path.relative_to(self.build_lib)
            if path.suffix == ".so":
                stale = ".".join([*module.parent.parts, path.name.split(".")[0]]) not in keep
            else:
                stale = path.is_file() and not (SOURCE / module).exists()
            if stale:
                path.unlink()
        super().run()


def warn_interpreted(failure: BuildFailed) -> None:
    bar = "*" * 100
    print(
        f"{bar}\nThe compiled core of gopark could not be built ({failure}).\n"
        "gopark will run INTERPRETED: everything works, but slower. With a C compiler and Python's headers\n"
        f"in place, `pip install --force-reinstall --no-cache-dir gopark` compiles it.\n{bar}",
        file=sys.stderr,
        flush=True,
    )


def warn_free_threaded() -> None:
    bar = "*" * 100
    print(
        f"{bar}\nThis is a free-threaded Python, on which gopark does not build its compiled core.  It will run INTERPRETED, "
        "and\nwith the GIL only: start your programs with PYTHON_GIL=1 in the environment, or with -X gil=1.  An ordinary "
        f"build of\nPython runs gopark at its full speed.\n{bar}",
        file=sys.stderr,
        flush=True,
    )


def build(ext_modules: list[Extension]) -> None:
    setup(
        ext_modules=ext_modules,
        cmdclass={"build_ext": BuildExtensions, "build_py": BuildPython},
        options={"build": {"build_base": BUILD_BASE}},
    )


def main() -> None:
    if requested("GOPARK_PURE"):
        build([])
        return
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        if requested("GOPARK_REQUIRE_EXT"):
            raise SystemExit(
                "error: GOPARK_REQUIRE_EXT is set, but a free-threaded Python has no compiled core of gopark"
            )
        warn_free_threaded()
        build([])
        return
    try:
        build(extensions())
    except BuildFailed as failure:
        if requested("GOPARK_REQUIRE_EXT"):
            raise SystemExit(
                f"error: GOPARK_REQUIRE_EXT is set, and the compiled core failed: {failure}"
            ) from failure
        warn_interpreted(failure)
        build([])


if __name__ == "__main__":  # Cython's worker processes import this file again where they are spawned
    main()
