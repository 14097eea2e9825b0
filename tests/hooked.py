"""Programs in a patched Python process of their own: what is patched is the whole process, so the tests' own is not."""

import subprocess
import textwrap

from support import python

PRELUDE = """\
import gopark, os, signal, socket, sys, threading, time
from gopark import go
gopark.patch()
"""


def patched(
    program: str, *, timeout: float = 30.0, check: bool = True, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run *program* in a process that is patched; never longer than *timeout* seconds.

    With *check* it must exit with 0.  The modules that most such programs want are imported."""
    return python(PRELUDE + textwrap.dedent(program), timeout=timeout, check=check, **env)
