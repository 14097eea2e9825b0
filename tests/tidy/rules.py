"""What the source tree looks like: lengths, floors, names that nobody uses, words that do not belong.

Each rule is a function that yields what breaks it.  A rule that must be broken has its exception in the table beside it, with
the reason.
"""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "gopark"
CODE = ("src/gopark", "tests", "benchmarks", "examples", "docs")

FILE_LINES = 620  # a file is a room with one purpose
FUNCTION_LINES = 60  # what fits on a screen
TEST_LINES = 72  # a test tells its story in one piece


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path


@cache
def text(path: Path) -> str:
    return path.read_text()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- lengths -----------------------------------------------------------------------------------------------------------


def files_are_short() -> Iterator[str]:
    for path in files(*CODE, suffixes=(".py", ".pyx", ".pxi", ".pxd", ".h", ".c")):
        lines = text(path).count("\n")
        if lines > FILE_LINES:
            yield f"{name(path)}: {lines} lines, more than {FILE_LINES}: which room of it can be a file of its own?"


def functions_are_short() -> Iterator[str]:
    for path in files(*CODE):
        limit = FUNCTION_LINES if path.is_relative_to(SOURCE) else TEST_LINES
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > limit:
                    yield f"{name(path)}:{node.lineno}: {node.name} has {lines} lines, more than {limit}"


def every_file_says_what_it_is_for() -> Iterator[str]:
    for path in files("src/gopark", "tests", "benchmarks", "examples"):
        if text(path).strip() and not ast.get_docstring(tree(path)):
            yield f"{name(path)}: no docstring"
        if path.is_relative_to(SOURCE) and not path.stem.startswith("_"):
            twin = path.with_suffix(".pxd")
            if twin.exists() and not text(twin).strip():
                yield f"{name(twin)}: is empty"
    for path in files("src/gopark", suffixes=(".pxd",)):
        if not path.with_suffix(".py").exists() and not path.with_suffix(".pyx").exists():
            yield f"{name(path)}: augments nothing"


# -- floors ------------------------------------------------------------------------------------------------------------

# Who may import whom: only what is on the same floor or a lower one.  (The deepest entry that fits counts.)
FLOORS = {
    "gopark._pure": 0,
    "gopark._eager": 0,
    "gopark.runtime": 1,
    "gopark.poll": 2,
    "gopark.net": 3,
    "gopark.sync": 3,
    "gopark.context": 3,
    "gopark.errgroup": 3,
    "gopark.time": 3,
    "gopark.signal": 3,
    "gopark.files": 3,
    "gopark.hook": 4,
    "gopark.aio": 4,
    "gopark.http": 4,
    "gopark.sim": 4,
    "gopark.testing": 4,
    "gopark.contrib": 5,
    "gopark": 6,  # the public face
    "gopark.cli": 7,
    "gopark.__main__": 7,
}

# importer, what it imports: where a backend is chosen.
ONLY = {"gopark.runtime.netpoll_epoll": {"gopark.runtime.netpoll"}}


def floor(module: str) -> int:
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of what a .py, .pyx or .pxd imports of the package, wherever in the file."""
    if path.suffix == ".py":
        found: list[tuple[int, str, list[str]]] = []
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                found.append((node.lineno, node.module or "", [alias.name for alias in node.names]))
            elif isinstance(node, ast.Import):
                found += [(node.lineno, alias.name, []) for alias in node.names]
    else:
        matches = re.finditer(r"^\s*from ([\w.]+) c?import ([\w, ]+)", text(path), re.MULTILINE)
        found = [(text(path)[: m.start()].count("\n") + 1, m[1], re.findall(r"\w+", m[2])) for m in matches]
    for line, module, names in found:
        if module.partition(".")[0] != "gopark":
            continue
        whole = {n for n in names if is_module(f"{module}.{n}")}
        yield from ((line, f"{module}.{n}") for n in whole)
        if len(whole) < len(names) or not names:
            yield line, module


def is_module(full: str) -> bool:
    path = SOURCE.parent.joinpath(*full.split("."))
    return path.is_dir() or any(path.with_suffix(s).exists() for s in (".py", ".pyx"))


def floors_import_downward_only() -> Iterator[str]:
    for path in files("src/gopark", suffixes=(".py", ".pyx", ".pxi", ".pxd")):
        me = module_of(path)
        for line, module in imports(path):
            if floor(module) > floor(me):
                yield f"{name(path)}:{line}: imports {module}, which is on a higher floor"
            if module in ONLY and me not in ONLY[module] | {module}:
                yield f"{name(path)}:{line}: imports {module}; only {', '.join(ONLY[module])} may"


# -- dead code ---------------------------------------------------------------------------------------------------------

# Defined in src/ and named nowhere else there, nor in the documentation, with the reason to have it all the same.
USED_FROM_OUTSIDE = {
    "refs": "FDMutex's state for tests",
    "set_slice": "tests make time slices short",
    "SLICE_NS": "... and then as they were",
    "WOKEN_NOT": "0 by name: what the other values of Sudog.woken are told from",
}
# Files whose names are a table that stands for itself: every constant of epoll(7), every code of the state machine.
# ... and what a plugin, or a worker, of somebody else's program defines is called by that program, by name.
TABLES = {
    "src/gopark/runtime/epoll.py",
    "src/gopark/runtime/pollstate.py",
    "src/gopark/contrib/pytest.py",
    "src/gopark/contrib/gunicorn.py",
    "src/gopark/contrib/celery.py",
}


def definitions(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of functions, classes, module variables and instance attributes."""
    if path.suffix in (".pyx", ".pxi"):
        for number, line in enumerate(text(path).splitlines(), 1):
            if match := re.match(r"(?:cdef|cpdef|def)\b.*?(\w+)\(.*:\s*(?:#.*)?$", line):
                yield number, match[1]
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Attribute):
                    yield node.lineno, target.attr
                elif isinstance(target, ast.Name) and node in tree(path).body:
                    yield node.lineno, target.id


def nothing_is_unused() -> Iterator[str]:
    """By name alone: what shares its name with something that is used passes."""
    words: Counter[str] = Counter()
    for path in files("src/gopark", suffixes=(".py", ".pyx", ".pxi", ".h")):
        words.update(
            re.findall(r"\w+", re.sub(r"#.*", "", text(path)) if path.suffix != ".h" else text(path))
        )
    documents = "\n".join(map(text, [*files("docs", suffixes=(".md",)), *ROOT.glob("*.md")]))
    documented = set(re.findall(r"\w+", documents))
    public = documented | set(re.findall(r"\w+", "\n".join(map(text, files("tests", "examples")))))
    for path in files("src/gopark", suffixes=(".py", ".pyx", ".pxi")):
        # What programs use is used if a test does; the floors below need more of a reason.
        outside = public if floor(module_of(path)) > 2 else documented | USED_FROM_OUTSIDE.keys()
        for line, found in definitions(path):
            used = words[found] > 1 or found in outside or found.startswith("__")
            if not used and name(path) not in TABLES:
                yield f"{name(path)}:{line}: nothing uses {found}"


def exceptions_are_still_needed() -> Iterator[str]:
    defined = {
        found
        for path in files("src/gopark", suffixes=(".py", ".pyx", ".pxi"))
        for _, found in definitions(path)
    }
    for gone in USED_FROM_OUTSIDE.keys() - defined:
        yield f"tests/tidy/rules.py: USED_FROM_OUTSIDE: there is no {gone} any more"


# -- words -------------------------------------------------------------------------------------------------------------

# pattern -> (why not, folders, files that may)
BANNED: dict[str, tuple[str, tuple[str, ...], set[str]]] = {
    r"\bimport \*": (
        "names that nobody can look up",
        ("src/gopark", "tests"),
        {"src/gopark/runtime/_sys.pyi", "src/gopark/runtime/_sys_py.py"},
    ),
    r"\b(?:TODO|FIXME|XXX|HACK)\b(?!\(\w+\))": ("say whose it is: TODO(name)", CODE, set()),
    r"\btime\.sleep\(": (
        "blocks the thread with everybody on it",
        ("src/gopark/runtime", "src/gopark/poll", "src/gopark/net", "src/gopark/sync"),
        {
            "src/gopark/runtime/netpoll_epoll.py",  # in the place of a wait that cannot be
            "src/gopark/runtime/deadlock.py",  # everybody sleeps, and the question is whether for good
        },
    ),
    r"\bsocket\.fromfd\(": (
        "dup2s a descriptor; an exception then closes the wrong one",
        ("src/gopark",),
        set(),
    ),
    r"\bprint\(": (
        "the runtime reports through debug and excepthook",
        ("src/gopark/runtime", "src/gopark/poll", "src/gopark/net", "src/gopark/sync"),
        set(),
    ),
    r"(?i)\b(?:blacklist|whitelist|sanity check|obviously|simply put)\b": ("say what is meant", CODE, set()),
    r"/(?:tmp/(?:brief|wt)|work/(?:shared|main))\b": ("a path of one machine", CODE, set()),
}


def banned_words() -> Iterator[str]:
    for pattern, (why, folders, allowed) in BANNED.items():
        for path in files(*folders, suffixes=(".py", ".pyx", ".pxi", ".pyi", ".pxd", ".h", ".md")):
            if name(path) in allowed or path.name == "rules.py":
                continue
            for match in re.finditer(pattern, text(path)):
                line = text(path)[: match.start()].count("\n") + 1
                yield f"{name(path)}:{line}: {match[0]!r}: {why}"


# -- tests, news -------------------------------------------------------------------------------------------------------

# Folders of tests that mirror no part of the package, and what they are about.
OTHER_TESTS = {
    "cpython": "the interpreter's own tests",
    "docs": "the documentation",
    "examples": "the examples",
    "faults": "system calls and allocations that fail",
    "packaging": "what is built and installed",
    "stress": "everything at once",
    "tidy": "the source tree",
}


def tests_mirror_the_package() -> Iterator[str]:
    for folder in sorted(path for path in (ROOT / "tests").iterdir() if path.is_dir()):
        if folder.name.startswith(("_", ".")) or folder.name in OTHER_TESTS:
            continue
        if not (SOURCE / folder.name).is_dir() and not (SOURCE / f"{folder.name}.py").exists():
            yield f"tests/{folder.name}: there is no gopark.{folder.name}"
    for path in SOURCE.iterdir():
        module = path.stem
        if module.startswith("_") or path.suffix not in ("", ".py"):
            continue
        if not any((ROOT / "tests" / module).glob("test_*.py")):
            yield f"{name(path)}: has no tests in tests/{module}"
    for path in files("tests"):
        tests = [n for n in tree(path).body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
        if tests and not path.name.startswith("test_"):
            yield f"{name(path)}: pytest does not look for tests here"


def names_of_tests_are_not_repeated() -> Iterator[str]:
    """The second of two functions of one name replaces the first, which then never runs."""
    for path in files("tests"):
        seen = Counter(n.name for n in tree(path).body if isinstance(n, ast.FunctionDef))
        yield from (f"{name(path)}: {test} is defined {n} times" for test, n in seen.items() if n > 1)


def every_test_has_a_timeout() -> Iterator[str]:
    options = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["pytest"]["ini_options"]
    if not 0 < options.get("timeout", 0) <= 60:
        yield "pyproject.toml: tool.pytest.ini_options.timeout is what ends a test that hangs"
    for path in files("tests"):
        for match in re.finditer(r"mark\.timeout\((\d+)", text(path)):
            if not 0 < int(match[1]) <= 300:
                yield f"{name(path)}: a timeout of {match[1]} s"


def news_is_named_as_towncrier_wants_it() -> Iterator[str]:
    config = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["towncrier"]
    kinds = "|".join(kind["directory"] for kind in config["type"])
    for path in sorted((ROOT / "changes").iterdir()):
        if path.name == "README.md":
            continue
        if not re.fullmatch(rf"(?:\d+|\+[\w-]+)\.(?:{kinds})\.md", path.name):
            yield f"{name(path)}: should be NUMBER.KIND.md or +WORDS.KIND.md, KIND one of {kinds}"
        elif not text(path).strip() or len(text(path)) > 1200:
            yield f"{name(path)}: one to three sentences"


RULES = [
    files_are_short,
    functions_are_short,
    every_file_says_what_it_is_for,
    floors_import_downward_only,
    nothing_is_unused,
    exceptions_are_still_needed,
    banned_words,
    tests_mirror_the_package,
    names_of_tests_are_not_repeated,
    every_test_has_a_timeout,
    news_is_named_as_towncrier_wants_it,
]
