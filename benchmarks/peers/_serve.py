"""What all echo servers in Python share: the command line, the announcement, the limit on open files.

The serving itself stays in each peer's own file, written as that peer's users write it.
"""

import argparse
import resource

HOST = "127.0.0.1"
BACKLOG = 4096
READ_SIZE = 65536


def start() -> argparse.Namespace:
    """Raise the limit on open files and read the command line that every server understands."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--yielding", type=int, default=0, help="so many busy loops that yield on each turn")
    parser.add_argument("--spinning", type=int, default=0, help="so many busy loops that never yield")
    return parser.parse_args()


def announce(port: int) -> None:
    print("LISTENING", port, flush=True)


def spin() -> None:
    """A CPU-bound task in plain Python: never yields, never ends."""
    n = 0
    while True:
        n += 1
