"""A pipeline: find files, hash them several at a time, print.

    python examples/pipeline.py DIRECTORY

Stages are goroutines, channels carry the work between them.  Each stage closes its channel when it has no
more to send, so the end travels down the pipeline by itself.
"""

import argparse
import hashlib
import os
from pathlib import Path

import gopark
from gopark import Chan, go


def find(directory: str, paths: Chan) -> None:
    """Stage 1: every file below *directory*."""
    for folder, _, names in os.walk(directory):
        for name in names:
            paths.send(Path(folder, name))
    paths.close()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Chan, sums: Chan) -> None:
    """Stage 2, one of several: a disk cannot be polled, so each file is read on an OS thread."""
    for path in paths:
        try:
            sums.send((path, gopark.blocking(digest, path)))
        except OSError as error:
            sums.send((path, f"({error.strerror})"))


def close_after(stages: list[gopark.Goroutine], ch: Chan) -> None:
    for stage in stages:
        stage.join()
    ch.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the SHA-256 of every file below a directory.")
    parser.add_argument("directory")
    parser.add_argument("--hashers", type=int, default=8, help="files read at a time (default: %(default)s)")
    options = parser.parse_args()

    paths, sums = Chan(), Chan()
    go(find, options.directory, paths)
    hashers = [go(hash_files, paths, sums) for _ in range(options.hashers)]
    go(close_after, hashers, sums)
    for path, checksum in sums:
        print(checksum, path)


if __name__ == "__main__":
    gopark.run(main)
