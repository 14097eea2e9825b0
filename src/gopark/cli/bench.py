"""compare gopark with its peers on this machine (needs the source tree)

Runs ``benchmarks/run.py`` of the source tree with this interpreter; all arguments are that program's. The
source tree is $GOPARK_SOURCE, or the current directory, or the checkout that this file is part of.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PASS_THROUGH = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """benchmarks/run.py has a parser of its own."""


def main(args: argparse.Namespace) -> int:
    """Run the benchmarks and return their exit status; 2 when there are none."""
    program = find_benchmarks()
    if program is None:
        print(
            "gopark bench: the benchmarks are in gopark's source tree, not in the installed package.\n"
            "Run it there, or set GOPARK_SOURCE to the directory that holds benchmarks/run.py.",
            file=sys.stderr,
        )
        return 2
    return subprocess.call([sys.executable, str(program), *args.arguments])


def find_benchmarks() -> Path | None:
    """The path of benchmarks/run.py. A GOPARK_SOURCE that is set but wrong is not made up for."""
    chosen = os.environ.get("GOPARK_SOURCE")
    trees = [Path(chosen)] if chosen else [Path.cwd(), Path(__file__).resolve().parents[3]]
    for tree in trees:
        program = tree / "benchmarks" / "run.py"
        if (
            program.is_file() and (tree / "src" / "gopark").is_dir()
        ):  # some other project's benchmarks are not ours
            return program
    return None
