"""Runs the main path with faults in a process of its own."""

import subprocess
import sys
from pathlib import Path

from running import environment


def main_path(*arguments: object, **env: str) -> str:
    """What mainpath.py found: a line for each fault that was not survived."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("mainpath.py"), *map(str, arguments)],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
