"""run an unmodified program: its threads are goroutines, and what would block parks

    gopark run [--hooks] [python's options] FILE [ARGUMENT...]
    gopark run [--hooks] [python's options] -m MODULE [ARGUMENT...]
    gopark run [--hooks] [python's options] -c CODE [ARGUMENT...]
    gopark run [--hooks] [python's options] - [ARGUMENT...]

FILE may be a folder or a zip file with a __main__.py, as for python; - is the standard input. Python's options (-X, -W, -O,
-u, -I, -i and so on) mean what they mean to python. --hooks lists, at the program's end, which calls were hooked in which
libraries; without a program it lists those of gopark itself. GOPARK_HOOKS=+name,-name adds libraries and leaves out others.
"""

import argparse
import atexit
import os
import runpy
import sys
import textwrap
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import NamedTuple, NoReturn, TextIO

import greenlet

import gopark
from gopark import cli
from gopark.runtime import interrupts

PASS_THROUGH = True

_FLAGS = "bBdEiIOPqRsStuv"  # python's options that take no value
_VALUED = ("-W", "-X", "--check-hash-based-pycs")
_USAGE = 2


class Invocation(NamedTuple):
    """What a command line asks for."""

    options: list[str]  # the interpreter's
    hooks: bool
    kind: str  # "" (no program), "-c", "-m", "-" or "FILE"
    program: str
    arguments: list[str]

    @property
    def rest(self) -> list[str]:
        """The command line without the interpreter's options."""
        program = (
            [self.program] if self.kind in ("FILE", "-") else [self.kind, self.program] if self.kind else []
        )
        return ["--hooks"] * self.hooks + program + self.arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line is python's own, which argparse cannot read: parse does."""


def main(args: argparse.Namespace) -> int:
    """Run the program; what ends it is raised, so that the interpreter ends as it would without gopark."""
    try:
        this = parse(args.arguments)
    except ValueError as e:
        print(f"gopark run: {e}\n`gopark run --help` says more", file=sys.stderr)
        return _USAGE
    if this is None:
        return 0
    if this.options:
        again(this)
    try:
        gopark.patch()
    except (RuntimeError, OSError) as e:
        print(f"gopark run: {str(e).removeprefix('gopark.patch: ')}", file=sys.stderr)
        return 1
    if this.hooks and this.kind:
        atexit.register(list_hooks, sys.stderr)  # when the program has loaded all its libraries
    elif this.hooks:
        list_hooks(sys.stdout)
    if this.kind:
        run(this)
    return 0


# -- the command line --------------------------------------------------------------------------------------------------


def parse(words: Sequence[str]) -> Invocation | None:
    """None: it has been answered (help, version).  ValueError says what is wrong."""
    left = list(words)
    options: list[str] = []
    hooks = False
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word in ("-h", "-?", "--help"):
            print(f"usage: {(__doc__ or '').partition(chr(10) * 2)[2].strip()}")
            return None
        if word in ("-V", "-VV", "--version"):
            print(cli.version())
            return None
        if word == "--hooks":
            hooks = True
        elif word == "--":
            break
        elif word.startswith("--") and word not in _VALUED:
            raise ValueError(f"unknown option {word}")
        else:
            kind = take_option(word, left, options)
            if kind:
                return Invocation(options, hooks, kind, left.pop(0), left)
    if not left:
        if not hooks:
            raise ValueError("which program? FILE, -m MODULE, -c CODE, or - for the standard input")
        return Invocation(options, hooks, "", "", [])
    return Invocation(options, hooks, "-" if left[0] == "-" else "FILE", left.pop(0), left)


def take_option(word: str, left: list[str], options: list[str]) -> str:
    """One word of options, several letters perhaps, to *options*.  "-c" or "-m" if it says what to run: left[0]."""
    if word in _VALUED:
        if not left:
            raise ValueError(f"argument expected for {word}")
        options += [word, left.pop(0)]
        return ""
    for at, letter in enumerate(word[1:], 2):
        if letter in "cmWX":
            if word[at:]:
                left.insert(0, word[at:])
            elif not left:
                raise ValueError(f"argument expected for the -{letter} option")
            if letter in "cm":
                return f"-{letter}"
            options.append(f"-{letter}{left.pop(0)}")
            return ""
        if letter not in _FLAGS:
            raise ValueError(f"unknown option -{letter}")
        options.append(f"-{letter}")
    return ""


def again(this: Invocation) -> NoReturn:
    """The interpreter's options are for an interpreter that starts: this one becomes it."""
    ours = len(sys.orig_argv) - len(sys.argv) + 1  # python, its options, and how the command was started
    how = sys.orig_argv[1:ours]
    if "-S" in this.options:
        # It does not look into the folders where gopark is.
        folders = {str(Path(module.__file__ or "").parents[1]) for module in (gopark, greenlet)}
        how = [
            "-c",
            f"import sys; sys.path += {sorted(folders)}; from gopark.cli import main; sys.exit(main())",
        ]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(sys.executable, [sys.executable, *this.options, *how, "run", *this.rest])


def list_hooks(file: TextIO) -> None:
    """Which calls have been hooked where, an object a paragraph."""
    from gopark.hook import _hook

    found: dict[str, set[str]] = {}
    for where, call in _hook.slots_listed():
        found.setdefault(where, set()).add(call)
    for where, calls in sorted(found.items()):
        print(where, *textwrap.wrap(" ".join(sorted(calls)), 100), sep="\n    ", file=file)


# -- the program -------------------------------------------------------------------------------------------------------


def run(this: Invocation) -> None:
    """Run it as __main__, in this interpreter, which then ends as if it had started it itself."""
    # What was there before is the command's script, or the folder that `python -m` starts with.
    first = [] if sys.flags.safe_path else [sys.path.pop(0)]
    sys.argv = [this.program if this.kind in ("FILE", "-") else this.kind, *this.arguments]
    main = ModuleType("__main__")
    main.__dict__.update(__annotations__={}, __builtins__=sys.modules["builtins"])
    sys.modules["__main__"] = main
    try:
        code = prepare(this, main, bool(first))
        exec(code, main.__dict__)
    except BaseException as e:
        let_it_end(e)
        raise
    if sys.flags.inspect:
        let_it_end(None)


interrupts.bottoms.add(run.__code__)


def prepare(this: Invocation, main: ModuleType, path0: bool) -> CodeType:
    """The program's code; *main* and sys.path[0] are as it shall find them.  Errors are python's."""
    if this.kind == "FILE":
        importer = importer_of(this.program)
        if importer is not None:
            sys.path.insert(0, os.path.abspath(this.program))
            return module_code("__main__", main)
        return file_code(this.program, main, path0)
    if path0:
        sys.path.insert(0, os.getcwd() if this.kind == "-m" else "")
    if this.kind == "-m":
        return module_code(this.program, main)
    main.__loader__ = BuiltinImporter
    if this.kind == "-c":
        return text_code(this.program, "<string>")
    main.__file__ = "<stdin>"
    main.__dict__["__cached__"] = None
    return text_code(sys.stdin.buffer.read(), "<stdin>")


def importer_of(path: str) -> object | None:
    """What finds modules in it, if it is a folder, a zip file or the like."""
    import pkgutil

    return pkgutil.get_importer(os.path.abspath(path))


def file_code(path: str, main: ModuleType, path0: bool) -> CodeType:
    full = os.path.abspath(path)
    try:
        with open(full, "rb") as f:
            data = f.read()
    except OSError as e:
        print(f"gopark run: can't open file {full!r}: [Errno {e.errno}] {e.strerror}", file=sys.stderr)
        raise SystemExit(_USAGE) from None
    if path0:
        sys.path.insert(0, os.path.dirname(os.path.realpath(full)))
    main.__dict__.update(__file__=full, __cached__=None)
    if data[: len(MAGIC_NUMBER)] == MAGIC_NUMBER:
        import marshal

        main.__loader__ = SourcelessFileLoader("__main__", full)
        code: CodeType = marshal.loads(data[16:])
        return code
    if full.endswith(".pyc"):
        raise RuntimeError("Bad magic number in .pyc file")
    main.__loader__ = SourceFileLoader("__main__", full)
    return compile(data, full, "exec", dont_inherit=True)


def text_code(text: str | bytes, name: str) -> CodeType:
    code = compile(text, name, "exec", dont_inherit=True)
    if name == "<string>" and sys.version_info >= (3, 13):
        import linecache

        # So that tracebacks show it: CPython 3.13.0 looks for the name, later ones for the code.
        linecache._register_code(code, text, name)  # type: ignore[attr-defined]
        linecache.cache[name] = (len(text), None, str(text).splitlines(keepends=True), name)
    return code


class _NotFound(Exception):
    """What runpy raises for us when there is nothing to run."""


def module_code(name: str, main: ModuleType) -> CodeType:
    """Of a module, or of the __main__ in a package, folder or zip file, as python -m finds it (PEP 338)."""
    try:
        if name == "__main__":
            _, spec, code = runpy._get_main_module_details(_NotFound)  # type: ignore[attr-defined]
        else:
            _, spec, code = runpy._get_module_details(name, _NotFound)  # type: ignore[attr-defined]
    except _NotFound as e:
        print(f"gopark run: {e}", file=sys.stderr)
        raise SystemExit(1) from None
    if name != "__main__":
        sys.argv[0] = spec.origin
    main.__dict__.update(
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
    )
    found: CodeType = code
    return found


# -- its end -----------------------------------------------------------------------------------------------------------


def let_it_end(exc: BaseException | None) -> None:
    """*exc* is about to be raised to the interpreter, which prints it and knows what it means (exit status, SIGINT).

    What it prints shall begin in the program, not with the functions of this file.  None: the program is at its end, and
    the interpreter, asked for `python -i`, shall not print our SystemExit."""
    if exc is not None and isinstance(exc, SystemExit) and not sys.flags.inspect:
        return
    traceback = None if exc is None else of_the_program(exc.__traceback__)
    hook = sys.excepthook

    def excepthook(kind: type[BaseException], value: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        if value is exc:
            sys.last_traceback = traceback
            hook(kind, value.with_traceback(traceback), traceback)
        elif exc is not None:
            hook(kind, value, value.__traceback__)

    sys.excepthook = excepthook


def of_the_program(traceback: TracebackType | None) -> TracebackType | None:
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    return traceback
