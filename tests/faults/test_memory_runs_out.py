"""An allocation fails, anywhere: MemoryError where it happened, and the runtime goes on.

But for greenlet, which crashes when it has no room for a new stack or for the copy of one: that can only be told apart.
Which ones is chosen by a seed that is printed; GOPARK_FAULTS_SEED repeats it, GOPARK_FAULTS_COUNT tries more."""

import os
import random

import pytest

from faults.running import main_path
from support import IS_COMPILED

pytest.importorskip(
    "_testcapi", reason="this Python was built without _testcapi, which makes allocations fail"
)

COUNT = int(os.environ.get("GOPARK_FAULTS_COUNT", "40"))


@pytest.mark.skipif(
    not IS_COMPILED, reason="in the interpreted core memory may run out between any two of its bytecodes"
)
def test_an_allocation_that_fails_is_a_memory_error_and_the_runtime_goes_on(shim: str) -> None:
    seed = int(os.environ.get("GOPARK_FAULTS_SEED", random.randrange(1 << 32)))
    print(f"GOPARK_FAULTS_SEED={seed}")
    assert main_path("memory", COUNT, seed, LD_PRELOAD=shim) == ""
