"""The command ``gopark``: finds the command's module and hands over to it.

One file a command. Each has a docstring whose first line is its help text, ``add_arguments(parser)`` and
``main(args) -> int``, the exit status; with ``PASS_THROUGH = True`` its arguments are not parsed, and arrive
as the list ``args.arguments``. A command is imported only when it runs, so nothing here imports one, nor the
runtime.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from gopark import _pure

COMMANDS = {
    "run": "gopark.cli.run",
    "demo": "gopark.cli.demo",
    "dump": "gopark.cli.dump",
    "ps": "gopark.cli.ps",
    "bench": "gopark.cli.bench",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gopark`` with these arguments (sys.argv's by default) and return the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] not in COMMANDS:
        top_parser().parse_args(argv or ["--help"])
        return 2  # parse_args has printed and left by itself
    name, arguments = argv[0], argv[1:]
    try:
        command = importlib.import_module(COMMANDS[name])
    except ModuleNotFoundError as error:
        if error.name != COMMANDS[name]:
            raise
        print(f"gopark: the command {name!r} is not part of this installation", file=sys.stderr)
        return 2
    if getattr(command, "PASS_THROUGH", False):
        args = argparse.Namespace(arguments=arguments)
    else:
        parser = argparse.ArgumentParser(
            prog=f"gopark {name}",
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(parser)
        args = parser.parse_args(arguments)
    status: int = command.main(args)
    return status


def top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {help_line(module)}" for name, module in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="gopark",
        description="Go's network poller and scheduler for Python.",
        epilog=f"commands:\n{commands}\n\n`gopark COMMAND --help` says more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version())
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="one of the commands below")
    return parser


def version() -> str:
    """One line with all that a bug report needs first."""
    import importlib.metadata
    import platform

    found = []
    for distribution in ("gopark", "greenlet"):
        try:
            found.append(importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            found.append("(not installed)")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()}"
    return f"gopark {found[0]} ({_pure.core()} core, {python}, greenlet {found[1]}, {system})"


def help_line(module: str) -> str:
    """The first line of a module's docstring, read from its source so that it need not be imported."""
    import ast
    import importlib.util

    try:
        spec = importlib.util.find_spec(module)
        source = Path((spec and spec.origin) or "").read_text(encoding="utf-8")
    except OSError:
        return "(not part of this installation)"
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
