"""Other interpreters in a patched process: they know nothing of goroutines, and their calls block."""

from hooked import patched


def test_calls_of_another_interpreter_block_and_its_threads_are_threads() -> None:
    """On the runtime's thread it runs while the main interpreter's thread state, and so the goroutine, is set aside."""
    done = patched("""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        code = '''
        import threading, time
        began = time.monotonic()
        time.sleep(0.05)
        lock = threading.Lock()
        lock.acquire()
        assert not lock.acquire(timeout=0.05)
        done = []
        thread = threading.Thread(target=lambda: (time.sleep(0.05), lock.release(), done.append(1)))
        thread.start()
        lock.acquire()
        thread.join()
        assert done and time.monotonic() - began > 0.14
        print("it", flush=True)
        '''.replace("\\n        ", "\\n")
        beside = go(time.sleep, 0.01)
        for _ in range(3):
            # On 3.11 an isolated one has no threads; later it has a GIL of its own.
            other = interpreters.create(**{"isolated": False} if sys.version_info < (3, 12) else {})
            failed = interpreters.run_string(other, code)
            assert failed is None, failed
            interpreters.destroy(other)
        beside.join()
        thread = threading.Thread(target=print, args=("we",))
        thread.start()
        thread.join()
    """)
    assert done.stdout.split() == ["it", "it", "it", "we"], done.stdout + done.stderr
