"""gopark.offload: a C function's calls are made on threads of the pool."""

import shutil
import subprocess

import pytest

import gopark.hook
from hooked import patched

pytestmark = pytest.mark.skipif(
    gopark.hook.refusal() is not None, reason=f"cannot be patched here: {gopark.hook.refusal()}"
)

SLOW = r"""
#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <time.h>
static void rest(int ms) { /* not by way of a slot */
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    syscall(SYS_nanosleep, &t, 0);
}
static int inside;
long meet(int n) { /* 1 when so many are here */
    __atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 10000 && __atomic_load_n(&inside, __ATOMIC_SEQ_CST) < n; i++) rest(1);
    return __atomic_load_n(&inside, __ATOMIC_SEQ_CST) >= n;
}
long slow(int ms) { rest(ms); return syscall(SYS_gettid); }
long six(long a, long b, long c, long d, long e, long f) {
    rest(1);
    return a + 10 * (b + 10 * (c + 10 * (d + 10 * (e + 10 * f))));
}
int fails(int with) { rest(1); errno = with; return -1; }
long keeps_errno(void) { return errno; }
char *same(char *text) { rest(1); text[1] = 'y'; return text; }
long fill(char *text, long n) { rest(30); for (long i = 0; i < n; i++) text[i] = 'x'; return n; }
"""
CALLER = r"""
#include <errno.h>
extern long slow(int), meet(int), fill(char *, long), six(long, long, long, long, long, long), keeps_errno(void);
extern int fails(int);
extern char *same(char *);
long calls_slow(int ms) { return slow(ms); }
long calls_meet(int n) { return meet(n); }
long (*volatile address)(int);
long calls_by_address(int n) { address = meet; return address(n); }
long calls_six(void) { return six(1, 2, 3, 4, 5, 6); }
int calls_fails(int with) { errno = 0; return fails(with) == -1 ? errno : -1; }
long calls_keeps(void) { errno = 77; return keeps_errno(); }
int calls_own(void) {
    char text[4] = "abc";
    return same(text + 1) == text + 1 && text[0] == 'a' && text[1] == 'b' && text[2] == 'y';
}
long calls_fill(void) { char text[64]; long n = fill(text, 64); for (int i = 0; i < 64; i++) n -= text[i] != 'x'; return n; }
"""


@pytest.fixture(scope="module", params=["lazy", "now"])
def libraries(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A library, and one that calls it, whose slots are filled at the first call, or are sealed when it is loaded."""
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None:
        pytest.skip("no C compiler: the library cannot be built")
    folder = tmp_path_factory.mktemp("library")
    for name, source, more in (
        ("libslow", SLOW, []),
        (
            "libcaller",
            CALLER,
            [f"-L{folder}", "-lslow", f"-Wl,-rpath,{folder}", f"-Wl,-z,{request.param},-z,relro"],
        ),
    ):
        (folder / f"{name}.c").write_text("#define _GNU_SOURCE\n" + source)
        command = [
            cc,
            "-shared",
            "-fPIC",
            "-O1",
            "-fplt",
            "-o",
            folder / f"{name}.so",
            folder / f"{name}.c",
            *more,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return str(folder / "libslow.so"), str(folder / "libcaller.so")


PROGRAM = """
import ctypes
from gopark.hook import _hook
def counts():
    return _hook.driver_counters()
ticks = [0]
def tick():
    while True:
        gopark.sleep(0.001)
        ticks[0] += 1
ticker = go(tick)
"""


def run(libraries: tuple[str, str], program: str, first: str = "load") -> None:
    text = PROGRAM + f"names = {libraries!r}\n"
    load = "slow, caller = ctypes.CDLL(names[0]), ctypes.CDLL(names[1])\n"
    offload = "for name in ('slow', 'meet', 'six', 'fails', 'keeps_errno', 'fill', 'same'): gopark.offload('libslow', name)\n"
    patched(text + (load + offload if first == "load" else offload + load) + program)


@pytest.mark.parametrize("first", ["load", "offload"])
def test_calls_are_made_beside_one_another(libraries: tuple[str, str], first: str) -> None:
    run(
        libraries,
        """
assert caller.calls_slow(1) != threading.get_native_id()
n = 0
for call in (caller.calls_meet, caller.calls_by_address, slow.meet):
    assert call(0) == 1  # lazy slots are filled
    before, n = ticks[0], n + 11
    waiters = [go(call, n) for _ in range(10)]
    gopark.sleep(0.005)
    assert all(w.result() for w in waiters) and ticks[0] > before
assert counts()["offloaded"] == 34
""",
        first,
    )


def test_arguments_result_and_errno_come_through(libraries: tuple[str, str]) -> None:
    run(
        libraries,
        """
def check():
    assert caller.calls_six() == 654321
    assert caller.calls_fails(11) == 11
    assert caller.calls_keeps() == 77
checks = [go(check) for _ in range(20)]
for c in checks:
    c.result()
assert counts()["offloaded"] == 60
""",
    )


def test_memory_on_the_callers_stack_is_written_though_others_run_on_it(libraries: tuple[str, str]) -> None:
    run(
        libraries,
        """
fillers = [go(caller.calls_fill) for _ in range(20)]
assert [f.result() for f in fillers] == [64] * 20
assert counts()["offloaded"] == 20 and counts()["stack_arguments"] >= 20
assert all(go(caller.calls_own).result() for _ in range(5))
text = ctypes.create_string_buffer(1000)
assert slow.fill(text, 1000) == 1000 and text.raw == b"x" * 1000 and counts()["offloaded"] == 26
""",
    )


def test_cancelled_goroutine_waits_for_the_call(libraries: tuple[str, str]) -> None:
    run(
        libraries,
        """
ended = []
def waits():
    try:
        ended.append(caller.calls_slow(50))
        gopark.sleep(60)
    except gopark.Cancelled:
        ended.append("cancelled")
        raise
g = go(waits)
gopark.sleep(0.01)
g.cancel()
assert g.join(10) and ended[0] > 0 and ended[1] == "cancelled", ended
""",
    )


def test_unpatched_calls_are_made_where_they_are(libraries: tuple[str, str]) -> None:
    run(
        libraries,
        """
assert caller.calls_slow(1) != threading.get_native_id()
early = slow.slow
gopark.unpatch()
assert caller.calls_slow(1) == slow.slow(1) == early(1) == threading.get_native_id()
gopark.patch()
assert caller.calls_slow(1) == threading.get_native_id()
gopark.offload("libslow", "slow")
assert caller.calls_slow(1) != threading.get_native_id()
""",
    )


def test_what_cannot_be_offloaded_is_an_error_that_says_why(libraries: tuple[str, str]) -> None:
    run(
        libraries,
        """
for args, kind, text in (
    (("libslow", "nothing"), LookupError, "libslow has no function nothing"),
    (("libslow", "getpid"), LookupError, "libslow has no function getpid"),  # it is libc's
    (("", "x"), TypeError, "library must be a name"),
    (("libslow", 3), TypeError, "function must be a name"),
):
    try:
        gopark.offload(*args)
    except kind as e:
        assert text in str(e), e
    else:
        raise AssertionError(args)
gopark.unpatch()
try:
    gopark.offload("libslow", "slow")
except RuntimeError as e:
    assert "call gopark.patch() first" in str(e)
else:
    raise AssertionError
""",
    )
