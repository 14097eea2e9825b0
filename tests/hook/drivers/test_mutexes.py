"""A C library that has mutexes: nothing parks while one is held that is only counted; who wants one that a parked goroutine
holds parks until it is free."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

import gopark.hook
from hooked import patched

pytestmark = pytest.mark.skipif(
    gopark.hook.refusal() is not None, reason=f"cannot be patched here: {gopark.hook.refusal()}"
)

SOURCE = r"""
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static int inside, most;

static int wait_for(int fd, int ms) {
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, ms);
}
static int in(int fd, int ms) {
    if (++inside > most) most = inside;
    int r = wait_for(fd, ms);
    inside--;
    return r;
}
int most_inside(void) { return most; }
int wait_freely(int fd, int ms) { return wait_for(fd, ms); }
int wait_under_mutex(int fd, int ms) {
    pthread_mutex_lock(&plain);
    int r = in(fd, ms);
    pthread_mutex_unlock(&plain);
    return r;
}
int wait_under_recursive(int fd, int ms) {
    pthread_mutex_lock(&recursive);
    pthread_mutex_lock(&recursive);
    int r = in(fd, ms);
    pthread_mutex_unlock(&recursive);
    r = r < 0 ? r : in(fd, ms);
    pthread_mutex_unlock(&recursive);
    return r;
}
int wait_as_writer(int fd, int ms) {
    pthread_rwlock_wrlock(&rw);
    int r = in(fd, ms);
    pthread_rwlock_unlock(&rw);
    return r;
}
int wait_as_reader(int fd, int ms) {
    pthread_rwlock_rdlock(&rw);
    int r = in(fd, ms);
    pthread_rwlock_unlock(&rw);
    return r;
}
int try_mutex(void) { int e = pthread_mutex_trylock(&plain); if (!e) pthread_mutex_unlock(&plain); return e; }
int try_recursive(void) { int e = pthread_mutex_trylock(&recursive); if (!e) pthread_mutex_unlock(&recursive); return e; }
int call_under_mutex(int (*back)(void)) {
    pthread_mutex_lock(&plain);
    inside++;
    if (inside > most) most = inside;
    int r = back();
    inside--;
    pthread_mutex_unlock(&plain);
    return r;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None:
        pytest.skip("no C compiler: the library cannot be built")
    folder = tmp_path_factory.mktemp("library")
    (folder / "lib.c").write_text("#define _GNU_SOURCE\n" + SOURCE)
    target = folder / "libwaits.so"
    done = subprocess.run(
        [cc, "-shared", "-fPIC", "-O1", "-o", target, folder / "lib.c", "-pthread"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ctypes.CDLL(str(target))  # it can be loaded
    return target


PROGRAM = """
import ctypes, errno
from gopark.hook import _hook, drivers
from gopark.runtime import sysmon
{before}
lib = ctypes.CDLL({library!r})  # loaded after patch()
r, w = os.pipe()
ticks = [0]
def tick():
    while True:
        gopark.sleep(0.001)
        ticks[0] += 1
ticker = go(tick)
def others_run():
    "Wait until they have; for ever, if the thread is blocked."
    end = ticks[0] + 5
    while ticks[0] < end:
        gopark.sleep(0.001)
others_run()
def counts():
    return _hook.counters()["parks"], _hook.driver_counters()["under_mutex"]
"""


def run(library: Path, program: str, kind: str) -> None:
    hooks = {"GOPARK_HOOKS": "+libwaits"} if kind == "counted" else {}
    before = ""
    if kind == "shared":
        before = "_hook.slots_hook([('libwaits', drivers.SHARED)])"
    patched(PROGRAM.format(before=before, library=str(library)) + program, **hooks)


@pytest.mark.parametrize("kind", ["counted", "shared"])
def test_library_that_holds_no_mutex_parks(library: Path, kind: str) -> None:
    run(
        library,
        """
waiter = go(lib.wait_freely, r, -1)
others_run()
assert not waiter.done
os.write(w, b"x")
assert waiter.result() == 1
assert counts()[1] == 0
""",
        kind,
    )


@pytest.mark.parametrize(
    "how", ["wait_under_mutex", "wait_under_recursive", "wait_as_writer", "wait_as_reader"]
)
def test_library_that_polls_under_a_mutex_blocks(library: Path, how: str) -> None:
    run(
        library,
        f"""
with gopark.no_preempt():
    before = ticks[0]
    while lib.{how}(r, 30) != 0:
        pass  # a signal came, of sysmon's
    assert ticks[0] == before, (before, ticks)
assert counts()[1] >= 1
# ... and parks again when it has let go.
waiter = go(lib.wait_freely, r, -1)
others_run()
assert not waiter.done
os.write(w, b"x")
assert waiter.result() == 1
""",
        "counted",
    )


@pytest.mark.parametrize("how", ["wait_under_mutex", "wait_under_recursive", "wait_as_writer"])
def test_shared_mutex_is_waited_for_by_goroutines(library: Path, how: str) -> None:
    run(
        library,
        f"""
waiters = [go(lib.{how}, r, 60_000) for _ in range(20)]
others_run()
assert lib.try_mutex() == (errno.EBUSY if "{how}" == "wait_under_mutex" else 0)
assert lib.try_recursive() == (errno.EBUSY if "{how}" == "wait_under_recursive" else 0)
os.write(w, b"x")
for waiter in waiters:
    assert waiter.join(10) and waiter.result() == 1
assert lib.most_inside() == 1
assert counts()[1] == 0 and lib.try_mutex() == 0 and lib.try_recursive() == 0
""",
        "shared",
    )


def test_readers_share_a_rwlock(library: Path) -> None:
    run(
        library,
        """
waiters = [go(lib.wait_as_reader, r, 60_000) for _ in range(5)]
others_run()
writer = go(lib.wait_as_writer, r, 60_000)
others_run()
assert not writer.done
os.write(w, b"x")
for waiter in [*waiters, writer]:
    assert waiter.join(10) and waiter.result() == 1
assert lib.most_inside() == 5
""",
        "shared",
    )


@pytest.mark.parametrize("kind", ["counted", "shared"])
def test_goroutine_preempted_under_a_mutex_keeps_the_others_out(library: Path, kind: str) -> None:
    """It is in Python, called back by the library, which holds its mutex."""
    run(
        library,
        """
sysmon.set_slice(1_000_000)
switches = []
@ctypes.CFUNCTYPE(ctypes.c_int)
def back():
    for i in range(200_000):
        pass
    return 7
callers = [go(lib.call_under_mutex, back) for _ in range(10)]
for caller in callers:
    assert caller.join(20) and caller.result() == 7
assert lib.most_inside() == 1
""",
        kind,
    )


def test_mutex_that_a_native_thread_holds_is_waited_for(library: Path) -> None:
    run(
        library,
        """
thread = go(gopark.blocking, lib.wait_under_mutex, r, 60_000)
while lib.try_mutex() == 0:
    gopark.sleep(0.001)
waiter = go(lib.wait_under_mutex, r, 60_000)
others_run()
assert not waiter.done
os.write(w, b"x")
assert thread.result() == 1 and waiter.join(10) and waiter.result() == 1
""",
        "shared",
    )


def test_cancelled_goroutine_does_not_leave_a_mutex_behind(library: Path) -> None:
    run(
        library,
        """
holder = go(lib.wait_under_mutex, r, 60_000)
others_run()
waiter = go(lib.wait_under_mutex, r, 60_000)
others_run()
waiter.cancel()  # is not let in by that: pthread_mutex_lock cannot fail
others_run()
assert not waiter.done
holder.cancel()
assert holder.join(10) and waiter.join(10)
assert lib.try_mutex() == 0
""",
        "shared",
    )
