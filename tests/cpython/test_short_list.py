"""CPython's own tests under ``gopark run``: the fast ones.  All of them: ``make test-cpython``.

What fails is run once without gopark: what this machine, or this CPython, cannot do is not held against gopark.
"""

import sys
from pathlib import Path

import pytest

import gopark.hook
from cpython import lists, suite

WHY = gopark.hook.refusal()


@pytest.mark.skipif(WHY is not None, reason=f"cannot be patched here: {WHY}")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", lists.SHORT)
def test_cpythons_own(name: str, tmp_path: Path) -> None:
    options = suite.Options(sys.executable, True, tmp_path, 30.0, 60.0)
    if not suite.available(options, name):
        pytest.skip(f"this CPython is installed without its test_{name}")
    resources = lists.RESOURCES.get(name, [])
    patched = suite.Module(name, resources, options).run()
    bad = {
        record["test"]: record
        for record in patched.records.values()
        if record["state"] not in (*suite.GOOD, "skip")
    }
    wrong = [f"{f['fixture']}: {f['message']}" for f in patched.fixtures if f["state"] != "skip"]
    wrong += [note for note in patched.notes if "skip:" not in note]
    if bad or wrong:
        (tmp_path / "plain").mkdir()
        plain = suite.Module(
            name, resources, suite.Options(sys.executable, False, tmp_path / "plain", 30.0, 60.0)
        ).run()
        good = {record["test"] for record in plain.records.values() if record["state"] in suite.GOOD}
        wrong = [] if plain.notes else wrong
        wrong += [
            f"{test}: {record['state']}\n{record['message']}" for test, record in bad.items() if test in good
        ]
    assert not wrong, "\n".join([*wrong, f"its output: {(tmp_path / f'{name}.log').read_text()[-5000:]}"])
