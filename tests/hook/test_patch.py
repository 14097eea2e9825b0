"""patch(), unpatch(), is_patched(): what they promise of a process."""

import sys

from hooked import patched
from support import IS_COMPILED, python


def test_importing_gopark_alone_loads_no_hook() -> None:
    python("import gopark, sys; assert not [m for m in sys.modules if m.startswith('gopark.hook')]")


def test_interpreted_core_is_refused_with_a_reason() -> None:
    done = python("import gopark; gopark.patch()", check=False, GOPARK_PURE="1")
    assert done.returncode == 1
    assert "RuntimeError: gopark.patch: the interpreted core has no hooks" in done.stderr


def test_thread_other_than_the_main_one_is_refused() -> None:
    if not IS_COMPILED or sys.version_info >= (3, 14):
        return  # refused for another reason
    python("""
        import gopark, threading
        said = []
        def other():
            try:
                gopark.patch()
            except RuntimeError as e:
                said.append(str(e))
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "on the main thread" in said[0], said
        assert not gopark.is_patched()
    """)


def test_blocking_calls_of_the_standard_library_park() -> None:
    patched("""
        began = time.monotonic()
        sleepers = [go(time.sleep, 0.2) for _ in range(100)]
        a, b = socket.socketpair()
        reader = go(a.recv, 10)
        gopark.gosched()
        b.send(b"x")
        assert reader.result() == b"x"
        for sleeper in sleepers:
            sleeper.join()
        assert time.monotonic() - began < 5  # not 20
    """)


def test_cancelled_goroutine_leaves_a_hooked_call() -> None:
    patched("""
        a, b = socket.socketpair()
        for call in (lambda: time.sleep(60), lambda: a.recv(1)):
            seen = []
            def waits():
                try:
                    call()
                except gopark.Cancelled:
                    seen.append("cancelled")
                    raise
            g = go(waits)
            gopark.gosched()
            g.cancel()
            assert g.join(10) and seen == ["cancelled"]
    """)


def test_unpatch_puts_every_slot_back() -> None:
    patched("""
        from gopark.hook import _hook
        assert gopark.is_patched() and _hook.slots_listed()
        gopark.unpatch()
        assert not gopark.is_patched() and not _hook.slots_listed()
        parks = _hook.counters()["parks"]
        time.sleep(0.01)
        assert _hook.counters()["parks"] == parks
        gopark.patch()
        time.sleep(0.01)
        assert _hook.counters()["parks"] > parks
    """)
