"""A thread that a C library has started, and that Python knows nothing of, wakes goroutines."""

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
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static sem_t sem;
static int target;
static void (*back)(void);
__attribute__((constructor)) static void make(void) { sem_init(&sem, 0, 0); }
static void rest(void) { struct timespec t = {0, 20000000}; nanosleep(&t, 0); }
static void *posts(void *unused) { rest(); sem_post(&sem); return unused; }
static void *writes(void *unused) { rest(); if (write(target, "x", 1) != 1) abort(); return unused; }
static void *calls(void *unused) { rest(); back(); return unused; }
static int start(void *(*fn)(void *)) { pthread_t t; return pthread_create(&t, 0, fn, 0) || pthread_detach(t); }
int start_posting(void) { return start(posts); }
int start_writing(int fd) { target = fd; return start(writes); }
int start_calling(void (*fn)(void)) { back = fn; return start(calls); }
int wait_for_post(void) { return sem_wait(&sem); }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None:
        pytest.skip("no C compiler: the library cannot be built")
    folder: Path = tmp_path_factory.mktemp("library")
    (folder / "lib.c").write_text(SOURCE)
    target = folder / "libnative.so"
    command = [cc, "-shared", "-fPIC", "-O1", "-o", target, folder / "lib.c", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


PROGRAM = """
import ctypes
lib = ctypes.CDLL({library!r})
ticks = [0]
def tick():
    while True:
        gopark.sleep(0.001)
        ticks[0] += 1
ticker = go(tick)
"""


def run(library: Path, program: str) -> None:
    patched(PROGRAM.format(library=str(library)) + program, GOPARK_HOOKS="+libnative")


def test_semaphore_posted_by_a_native_thread_wakes_a_goroutine(library: Path) -> None:
    run(
        library,
        """
waiters = [go(lib.wait_for_post) for _ in range(5)]
gopark.sleep(0.005)
before = ticks[0]
for _ in waiters:
    assert lib.start_posting() == 0
for w in waiters:
    assert w.join(10) and w.result() == 0
assert ticks[0] > before
""",
    )


def test_byte_written_by_a_native_thread_wakes_a_goroutine(library: Path) -> None:
    run(
        library,
        """
r, w = os.pipe()
reader = go(os.read, r, 1)
gopark.sleep(0.005)
before = ticks[0]
assert lib.start_writing(w) == 0
assert reader.join(10) and reader.result() == b"x" and ticks[0] > before
""",
    )


def test_lock_released_on_a_native_thread_wakes_a_goroutine(library: Path) -> None:
    run(
        library,
        """
lock = threading.Lock()
lock.acquire()
idents = []
@ctypes.CFUNCTYPE(None)
def back():
    idents.append(threading.get_native_id())
    lock.release()
waiter = go(lock.acquire)
gopark.sleep(0.005)
before = ticks[0]
assert lib.start_calling(back) == 0
assert waiter.join(10) and ticks[0] > before
assert idents[0] != threading.get_native_id()
""",
    )
