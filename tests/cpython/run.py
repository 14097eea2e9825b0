"""``make test-cpython``: CPython's own tests as they are and under ``gopark run``, and what differs.

    run.py [--python PYTHON] [--tier 1|2] [MODULE...]

Everything is run without gopark first, with the same interpreter, unless that has been done before (--again: anew).  What
passes there has to pass under ``gopark run``, or to stand among the exceptions in ``lists.py``.  Records and logs go to
``build/cpython``, a summary to the file that --summary names.  The exit status is 1 if anything is worse than without gopark.
"""

import argparse
import concurrent.futures
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parents[1])

from cpython import lists, suite  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


class Difference(NamedTuple):
    module: str
    test: str
    plain: str
    patched: str
    message: str

    @property
    def allowed(self) -> bool:
        return self.test in lists.ALLOWED and self.module in lists.TIER_2


def main() -> int:
    args = arguments()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would its children
    out = args.out / suite.tag(args.python)
    plain, patched = (
        suite.Options(args.python, is_patched, out / name, args.timeout, library=args.library)
        for name, is_patched in (("plain", False), ("patched", True))
    )
    there = [name for name in args.modules if suite.available(plain, name)]
    for name in args.modules:
        if name not in there:
            print(f"test_{name}: not installed with {args.python}", flush=True)
    run(
        [name for name in there if args.again or not (plain.out / f"{name}.jsonl").exists()], plain, args.jobs
    )
    if args.plain:
        return 0
    run(there, patched, args.jobs)
    assert len(lists.ALLOWED) <= lists.MOST_ALLOWED
    found = [d for name in there for d in differences(name, plain.out, patched.out)]
    table = "\n".join(summary(there, plain.out, patched.out, found))
    print(table)
    if args.summary:
        args.summary.write_text(f"# CPython's own tests, {suite.tag(args.python)}\n\n{table}\n")
    return int(any(not d.allowed for d in found))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter, with gopark installed")
    parser.add_argument("--tier", choices=["1", "2", "all", "short"], default="all")
    parser.add_argument("--plain", action="store_true", help="only without gopark")
    parser.add_argument(
        "--again", action="store_true", help="without gopark, too, although there are results"
    )
    parser.add_argument(
        "--library", default="", help="a folder with test modules that the installation lacks"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cpython")
    parser.add_argument("--summary", type=Path)
    parser.add_argument("--timeout", type=float, default=60.0, help="s without news: a hang (%(default)s)")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="without test_; all of the tier by default"
    )
    args = parser.parse_args()
    tiers = {"1": lists.TIER_1, "2": lists.TIER_2, "all": lists.TIER_1 + lists.TIER_2, "short": lists.SHORT}
    args.modules = [name.removeprefix("test_") for name in args.modules] or tiers[args.tier]
    return args


def run(names: list[str], options: suite.Options, jobs: int) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        modules = [suite.Module(name, lists.RESOURCES.get(name, []), options) for name in names]
        for module in pool.map(suite.Module.run, modules):
            how = "gopark" if options.patched else "plain"
            counts = ", ".join(f"{n} {state}" for state, n in sorted(module.counts().items()))
            print(
                f"{how:6} test_{module.name}: {counts}{''.join(f'; {n}' for n in module.notes)}", flush=True
            )


def differences(name: str, plain: Path, patched: Path) -> Iterator[Difference]:
    """What is worse under gopark."""
    before, after = results(plain / f"{name}.jsonl"), results(patched / f"{name}.jsonl")
    for test, record in before.items():
        if record["state"] not in suite.GOOD:
            continue
        now = after.get(test, {"state": "not run", "message": ""})
        if now["state"] not in suite.GOOD:
            yield Difference(name, test, record["state"], now["state"], now["message"])
    for test, record in after.items():
        if test not in before and record["state"] not in (*suite.GOOD, "skip"):
            yield Difference(name, test, "not there", record["state"], record["message"])


def results(path: Path) -> dict[str, dict[str, Any]]:
    """By the name of the test; what is wrong outside of any test has a name, too."""
    found: dict[str, dict[str, Any]] = {}
    for line in suite.load(path):
        if "test" in line:
            found[line["test"]] = line
        elif "fixture" in line and line["state"] != "skip":
            found[line["fixture"]] = line
        elif "note" in line and "skip:" not in line["note"]:
            found[f"({line['note']})"] = {"state": "fail", "message": line["note"]}
    return found


def summary(names: list[str], plain: Path, patched: Path, found: list[Difference]) -> Iterator[str]:
    yield "| module | tests | run | failed without gopark | worse under gopark |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    total = [0, 0, 0, 0]
    for name in names:
        records = [r for r in suite.load(plain / f"{name}.jsonl") if "test" in r]
        ran = [r for r in records if r["state"] != "skip"]
        failed = [r for r in ran if r["state"] not in suite.GOOD]
        row = [len(records), len(ran), len(failed), sum(d.module == name for d in found)]
        total = [a + b for a, b in zip(total, row, strict=True)]
        yield f"| test_{name} | {' | '.join(map(str, row))} |"
    yield f"| all | {' | '.join(map(str, total))} |"
    for d in found:
        yield f"\n{d.test}: {d.plain} -> {d.patched}{' (allowed: ' + lists.ALLOWED[d.test] + ')' if d.allowed else ''}"
        yield "\n".join("    " + line for line in d.message.rstrip().splitlines()[-25:])


if __name__ == "__main__":
    sys.exit(main())
