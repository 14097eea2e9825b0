"""print what every goroutine of a running process does

Asks the process's debug socket; it goes on undisturbed, and need not have been prepared. In a process that is
stuck in C code that holds the GIL nothing can answer: after two seconds the command says so, and prints what
faulthandler can tell from outside Python, the traceback of each thread.
"""

import argparse
import sys

from gopark.cli import _attach

EXPLANATION = """
What follows is faulthandler's report: where each THREAD is, the most recent call first. The thread that
gopark runs on shows the goroutine that is running there, and its first line is the Python line that has
called into C and does not come back; there are no other goroutines in it, as reading them takes the GIL.
`py-spy dump --native --pid {pid}` shows the C functions.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", type=_attach.pid, help="the process")


def main(args: argparse.Namespace) -> int:
    """0: printed; 1: it cannot be looked into; 3: it is stuck, and faulthandler's report was printed."""
    try:
        with _attach.Target(args.pid) as target:
            try:
                _attach.show(target.ask("dump"))
                return 0
            except _attach.Stuck as e:
                print(f"gopark dump: {e}", file=sys.stderr, flush=True)
                report = target.tracebacks()
                print(EXPLANATION.format(pid=args.pid))
                _attach.show(report or "(it wrote nothing: not even signals are handled)\n")
                return 3
    except _attach.AttachError as e:
        print(f"gopark dump: {e}", file=sys.stderr)
        return 1
