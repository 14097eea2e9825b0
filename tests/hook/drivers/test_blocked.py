"""What blocks the thread in C is named in the log, with its Python stack."""

import shutil
import subprocess

import pytest

import gopark.hook
from hooked import patched

pytestmark = pytest.mark.skipif(
    gopark.hook.refusal() is not None, reason=f"cannot be patched here: {gopark.hook.refusal()}"
)

SOURCE = r"""
#include <time.h>
#include <unistd.h>
void blocks(int ms) { struct timespec t = {ms / 1000, ms % 1000 * 1000000L}; nanosleep(&t, 0); }
long computes(int ms) {
    struct timespec a, b;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
    return 0;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None:
        pytest.skip("no C compiler: the library cannot be built")
    folder = tmp_path_factory.mktemp("library")
    (folder / "lib.c").write_text(SOURCE)
    target = folder / "libstubborn.so"
    done = subprocess.run(
        [cc, "-shared", "-fPIC", "-O1", "-o", target, folder / "lib.c"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return str(target)


PROGRAM = """
import ctypes, logging
lib = ctypes.CDLL({library!r})  # not one that is hooked
def culprit(call, ms):
    call(ms)
    for _ in range(10000):
        pass
go(lambda: [gopark.sleep(0.001) for _ in range(100)])
"""


def log(library: str, program: str, **env: str) -> str:
    return patched(PROGRAM.format(library=library) + program, **env).stderr


def test_library_that_blocks_is_named_with_the_python_stack(library: str) -> None:
    said = log(library, "go(culprit, lib.blocks, 150).join()")
    assert "in clock_nanosleep, called by libstubborn.so" in said, said
    assert "culprit(...)" in said and "every goroutine waited" in said, said


def test_c_code_that_computes_is_named(library: str) -> None:
    said = log(library, "go(culprit, lib.computes, 150).join()")
    assert "computing in C" in said and "culprit(...)" in said, said


def test_each_place_is_named_once_and_then_ten_times_as_often(library: str) -> None:
    said = log(library, "for _ in range(40): go(culprit, lib.blocks, 25).join()")
    # On a busy machine the handler may find the line after the call: another place.
    assert 2 <= said.count("every goroutine waited") <= 8 and "for the 10th time" in said, said


def test_goroutine_that_ends_in_the_call_is_not_confused_with_the_next(library: str) -> None:
    said = log(library, "blocker = go(lib.blocks, 150)\nblocker.join()\ngopark.sleep(0.05)")
    assert "called by libstubborn.so" in said and "parked or ended since" in said, said
    assert "<lambda>" not in said, said


def test_very_long_block_is_named_while_it_lasts(library: str) -> None:
    said = log(library, "logging.disable()\ngo(culprit, lib.blocks, 1300).join()")
    assert (
        "gopark: every goroutine waits: clock_nanosleep has had the thread for 1 s (called in libstubborn.so)"
        in said
    )


def test_python_code_parked_calls_and_idleness_are_not_named(library: str) -> None:
    said = log(
        library,
        """
def hog():
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(100))
hogs = [go(hog) for _ in range(3)]
time.sleep(0.1)
for h in hogs:
    h.join()
gopark.blocking(time.sleep, 0.1)
""",
    )
    assert said == "", said


def test_unpatched_process_is_not_watched(library: str) -> None:
    said = log(library, "gopark.unpatch()\ngo(culprit, lib.blocks, 1200).join()")
    assert said == "", said
