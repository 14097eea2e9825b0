"""Runs modules of CPython's own tests, one process a module, and survives what hangs or crashes.

A test that says nothing for `timeout` seconds is recorded as a hang, its process is killed, and another one goes on with the
next test.  What has failed is run once more, alone: what passes then counts as passed (and is called "flaky").
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LEFT_OUT = HERE / "left_out"
GOOD = ("pass", "flaky")
_EXIT = 25.0  # s from the last test to the end of the process
_ENVIRONMENT = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER")


@dataclass
class Options:
    python: str
    patched: bool
    out: Path
    timeout: float = 40.0
    limit: float = 1500.0  # s for a module
    library: str = ""  # where else to look for modules that this Python's installation has left out

    @property
    def places(self) -> str:
        return os.pathsep.join(filter(None, (str(LEFT_OUT), self.library)))


@dataclass
class Module:
    """A module's run, and what came of it: one record a test, by its number."""

    name: str  # without test_
    resources: list[str]
    options: Options
    tests: list[str] = field(default_factory=list)  # their ids, in order
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    fixtures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> "Module":
        began = time.monotonic()
        while self.once([]):
            if time.monotonic() - began > self.options.limit:
                self.notes.append(f"cut short after {self.options.limit:.0f} s")
                break
        bad = [n for n, record in self.records.items() if record["state"] not in (*GOOD, "skip")]
        for number in bad[:60]:
            if time.monotonic() - began > 2 * self.options.limit:
                break
            self.again(number)
        self.save(time.monotonic() - began)
        return self

    def again(self, number: int) -> None:
        first = self.records.pop(number)
        self.once([number])
        second = self.records.setdefault(number, first)
        if second["state"] == "pass":
            second |= {"state": "flaky", "message": f"{first['state']}: {first['message']}"}
        elif second is not first:
            self.records[number] = first | {"again": second["state"]}

    def once(self, only: list[int]) -> bool:
        """One process.  True if there is more to do."""
        child = Child(self, only)
        outcome = child.watch()
        if outcome == "ended" or only:
            if outcome == "exit hangs":
                self.notes.append("the process did not exit")
            elif only and child.current is not None:
                self.record(child.current, outcome, f"exit status {child.process.returncode}")
            return False
        if outcome == "exit hangs":
            self.notes.append("the process did not exit")
            return False
        if not self.tests:
            self.notes.append(f"not loaded: {outcome}, exit status {child.process.returncode}")
            return False
        self.lost(child, outcome)
        return len(self.records) < len(self.tests)

    def lost(self, child: "Child", outcome: str) -> None:
        """The process is gone before its end: with a test, or with a fixture of the next one's class."""
        message = f"exit status {child.process.returncode}"
        if child.current is not None:
            self.record(child.current, outcome, message)
            return
        left = [n for n in range(len(self.tests)) if n not in self.records]
        for number in left:
            if left and self.tests[number].rpartition(".")[0] == self.tests[left[0]].rpartition(".")[0]:
                self.record(number, f"fixture {outcome}", message)

    def record(self, number: int, state: str, message: str, seconds: float | None = None) -> None:
        self.records[number] = {
            "test": self.tests[number] if 0 <= number < len(self.tests) else "?",
            "state": state,
            "seconds": seconds,
            "message": message,
        }

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for record in self.records.values():
            found[record["state"]] = found.get(record["state"], 0) + 1
        return found

    def save(self, seconds: float) -> None:
        notes = [{"note": note} for note in self.notes]
        lines = [self.records[n] for n in sorted(self.records)] + self.fixtures + notes
        lines.append({"loaded": len(self.tests), "counts": self.counts(), "took": round(seconds, 1)})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.options.out / f"{self.name}.jsonl").write_text(text)


class Child:
    """One process, watched by the file that it writes."""

    def __init__(self, module: Module, only: list[int]) -> None:
        self.module, self.options = module, module.options
        out = self.options.out
        self.results = out / f"{module.name}.results"
        self.results.write_text("")
        plan = out / f"{module.name}.plan"
        done = sorted(module.records)
        plan.write_text(json.dumps({"done": done, "only": only, "resources": module.resources}))
        self.read = 0
        self.current: int | None = None  # the test under way
        self.ended = False
        self.folder = tempfile.mkdtemp(prefix="cpython-")
        env = {k: v for k, v in os.environ.items() if k not in _ENVIRONMENT}
        env |= {"TMPDIR": self.folder, "LC_ALL": "C.UTF-8", "CPYTHON_TESTS": self.options.places}
        command = [self.options.python, "-W", "ignore"]
        command += ["-m", "gopark", "run"] if self.options.patched else []
        command += [str(HERE / "child.py"), f"test_{module.name}", str(self.results), str(plan)]
        with open(out / f"{module.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=env,
                start_new_session=True,
            )

    def watch(self) -> str:
        try:
            return self.wait()
        finally:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self) -> str:
        last = time.monotonic()
        while True:
            gone = self.process.poll() is not None
            if self.look():
                last = time.monotonic()
            silent = time.monotonic() - last
            if gone:
                return "ended" if self.ended else "crash"
            if silent > (_EXIT if self.ended else self.options.timeout):
                self.stop()
                return "exit hangs" if self.ended else "hang"
            time.sleep(0.05)

    def look(self) -> bool:
        """Take in what has been written since; whether there was anything."""
        with open(self.results, "rb") as f:
            f.seek(self.read)
            data = f.read()
        data = data[: data.rfind(b"\n") + 1]
        self.read += len(data)
        for line in data.splitlines():
            self.take(json.loads(line))
        return bool(data)

    def take(self, record: list[Any]) -> None:
        what, *rest = record
        module = self.module
        if what == "loaded":
            module.tests = rest[0]
        elif what == "begin":
            self.current = rest[0]
        elif what == "end":
            number, _, state, seconds, message = rest
            module.record(number, state, message, seconds)
            self.current = None
        elif what == "fixture":
            module.fixtures.append(dict(zip(("fixture", "state", "message"), rest, strict=True)))
        elif what == "not loaded":
            module.notes.append(f"not loaded: {rest[0]}")
            self.ended = True
        elif what == "ended":
            self.ended = True

    def stop(self) -> None:
        """It hangs: have it say where."""
        if self.options.patched:
            self.dump()
        with contextlib.suppress(OSError):
            os.kill(self.process.pid, signal.SIGABRT)  # faulthandler prints the threads' stacks
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)

    def dump(self) -> None:
        with open(self.options.out / f"{self.module.name}.log", "ab") as log:
            log.write(f"=== hangs: test {self.current}\n".encode())
            log.flush()
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [self.options.python, "-m", "gopark", "dump", str(self.process.pid)],
                    stdout=log,
                    stderr=log,
                    timeout=15,
                    check=False,
                )


def tag(python: str) -> str:
    """A name for this interpreter's results."""
    code = (
        "import platform; print(platform.python_implementation().lower(), platform.python_version(), sep='-')"
    )
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def available(options: Options, name: str) -> bool:
    """Whether this Python has this test module."""
    code = (
        "import importlib.util, os, sys, test\n"
        "test.__path__ += sys.argv[2].split(os.pathsep)\n"
        "sys.exit(importlib.util.find_spec('test.test_' + sys.argv[1]) is None)"
    )
    done = subprocess.run(
        [options.python, "-c", code, name, options.places], capture_output=True, check=False
    )
    return done.returncode == 0


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    sys.exit("run tests/cpython/run.py")
