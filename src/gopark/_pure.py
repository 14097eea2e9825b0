"""GOPARK_PURE=1: the interpreted core, although compiled modules lie beside the .py files.

Python prefers an extension module to the .py of the same name. The finder below goes before Python's own and
serves the modules of this package from source alone. It must be in place before any other module of gopark
is imported, and this file imports nothing of gopark.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType

PACKAGE = __name__.partition(".")[0]


class SourceOnlyFinder:
    """A meta path finder for the modules below ``gopark``, which never loads an extension module."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec from its source; None for what is not ours to find.

        Raises ModuleNotFoundError for a module that exists as an extension only: with None, Python's own
        finder would load it.
        """
        if path is None or not fullname.startswith(PACKAGE + "."):
            return None
        for entry in path:
            spec = FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        for entry in path:
            spec = FileFinder(entry, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                raise ModuleNotFoundError(
                    f"No module named {fullname!r}: it exists compiled only, and GOPARK_PURE is set",
                    name=fullname,
                )
        return None


def requested() -> bool:
    """Whether the environment asks for the interpreted core: GOPARK_PURE is set, and neither empty nor 0."""
    return os.environ.get("GOPARK_PURE", "") not in ("", "0")


def install() -> None:
    """From now on, import the modules of gopark from source."""
    if not any(isinstance(finder, SourceOnlyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SourceOnlyFinder())


def install_if_requested() -> None:
    """Called first thing by the package."""
    if requested():
        install()


def core() -> str:
    """ "compiled" or "interpreted": what an import gets. Looks at files only and imports nothing."""
    runtime = Path(__file__).parent / "runtime"
    compiled = any(path.name.endswith(tuple(EXTENSION_SUFFIXES)) for path in runtime.glob("*"))
    return "compiled" if compiled and not requested() else "interpreted"
