"""Files: what Python's file objects do, on threads; one call at a time, and none lost to cancellation."""

import copy
import io
import os
import pickle
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import gopark
from gopark import files, go
from support import eventually, goroutines, parked, python


@goroutines
def test_text_is_written_and_read_as_with_the_built_in_open(tmp_path: Path) -> None:
    path = tmp_path / "text"
    with files.open(path, "w", encoding="utf-8", newline="\r\n") as f:
        assert f.write("one\ntwö\n") == 8
        f.writelines(["three\n", "four"])
        assert (f.mode, f.encoding, f.closed, f.writable(), f.name) == ("w", "utf-8", False, True, str(path))
    assert f.closed
    assert path.read_bytes() == "one\r\ntwö\r\nthree\r\nfour".encode()
    with files.open(path) as f:
        assert f.readline() == "one\n"
        assert list(f) == ["twö\n", "three\n", "four"]
        assert f.read() == ""
    assert files.read_text(path).split("\n") == ["one", "twö", "three", "four"]


@goroutines
def test_binary_position_size_and_buffers(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    with files.open(path, "w+b") as f:
        assert f.write(b"0123456789") == 10
        f.sync()
        assert (f.seek(2), f.tell()) == (2, 2)
        buf = bytearray(3)
        assert (f.readinto(buf), buf) == (3, b"234")
        assert f.read1(2) == b"56"
        assert f.read(2) == b"78"
        assert f.truncate(4) == 4
        f.flush()
        assert f.seek(-1, os.SEEK_END) == 3
        assert f.readlines() == [b"3"]
    assert files.write_bytes(path, b"new") == 3
    assert files.read_bytes(str(path)) == b"new"
    assert files.write_text(path, "ü") == 1 and files.read_bytes(path) == "ü".encode()


@goroutines
def test_errors_are_those_of_the_built_in_open(tmp_path: Path) -> None:
    for call in (files.open, files.read_bytes, files.read_text):
        with pytest.raises(FileNotFoundError, match="no-such"):
            call(tmp_path / "no-such")
    with pytest.raises(ValueError, match="mode"):
        files.open(tmp_path / "x", "q")
    with pytest.raises(TypeError, match=r"^wrap: file must be a file object, not 3"):
        files.wrap(3)  # type: ignore[arg-type]
    with files.open(tmp_path / "x", "w") as f:
        with pytest.raises(io.UnsupportedOperation):
            f.read()
        with pytest.raises(AttributeError, match="'wrapped'"):
            f.detach()
    with pytest.raises(ValueError, match="closed"):
        f.write("x")
    f.close()  # again: no error, as with every file


class Slow(io.BytesIO):
    """Its reads last until they are let go, and note the thread."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.go_on = threading.Event()
        self.reading = 0
        self.most = 0
        self.threads: set[int] = set()

    def read(self, n: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        self.reading += 1
        self.most = max(self.most, self.reading)
        assert self.go_on.wait(20)
        data = super().read(n)
        self.reading -= 1
        return data


@goroutines
def test_a_call_parks_its_goroutine_alone_and_the_next_one_waits_for_it() -> None:
    slow = Slow(bytes(range(10)))
    f = files.wrap(slow)
    readers = [parked(go(f.read, 2)) for _ in range(5)]
    gopark.sleep(0.001)  # the others go on
    assert not any(g.done for g in readers)
    slow.go_on.set()
    assert sorted(g.result(20) for g in readers) == [bytes((i, i + 1)) for i in range(0, 10, 2)]
    assert slow.most == 1 and threading.get_ident() not in slow.threads


@goroutines
def test_a_cancelled_call_goes_on_and_close_waits_for_it() -> None:
    slow = Slow(b"0123456789")
    f = files.wrap(slow)
    reader = parked(go(f.read, 2), "blocking call")
    eventually(lambda: slow.reading)
    waiting = parked(go(f.read, 2))  # for its turn
    closer = parked(go(f.close))
    for g in (reader, waiting, closer):
        g.cancel()
    for g in (reader, waiting):
        assert g.join(20) and isinstance(g.exception, gopark.Cancelled)
    assert slow.reading == 1 and not closer.done and not slow.closed
    slow.go_on.set()
    assert closer.join(20)
    assert slow.closed and closer.exception is None  # it was closed; Cancelled would come at its next park


def test_a_call_that_finds_no_thread_leaves_the_file_usable() -> None:
    done = python("""
        import gopark, io, threading
        from gopark import files
        def main():
            f = files.wrap(io.BytesIO(b"data"))
            before = threading.stack_size(1 << 46)          # more than there is
            try: f.read()
            except RuntimeError as e: print(e)
            threading.stack_size(before)
            print(f.read(), gopark.statistics().blocking_calls)
        gopark.run(main)
    """)
    assert done.stdout == "can't start new thread\nb'data' 0\n"


@goroutines
def test_who_waits_for_a_file_on_a_thread_of_its_own_has_its_turn_in_order() -> None:
    slow = Slow(b"0123456789")
    f = files.wrap(slow)
    first = parked(go(f.read, 2), "blocking call")
    eventually(lambda: slow.reading)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(f.read(3)))
    thread.start()
    eventually(lambda: f._gate.size == 1)
    last = parked(go(f.read, 4))
    slow.go_on.set()
    eventually(lambda: not thread.is_alive())
    assert (first.result(20), got, last.result(20)) == (b"01", [b"234"], b"5678")
    assert slow.most == 1 and f._gate.running == f._gate.size == 0


def test_a_forked_child_need_not_wait_for_the_parents_call() -> None:
    done = python("""
        import gopark, io, os, threading
        from gopark import files, go
        class Slow(io.BytesIO):
            def read(self, n=-1, /):
                if os.getpid() == parent: reading.set(); go_on.wait(20)
                return super().read(n)
        reading, go_on, parent = threading.Event(), threading.Event(), os.getpid()
        def main():
            f = files.wrap(Slow(b"0123456789"))
            one, two = go(f.read, 2), go(f.read, 2)
            gopark.blocking(reading.wait, 20)
            pid = os.fork()
            if pid == 0:
                print("child", f.read(3), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
            go_on.set()
            print("parent", one.result(20), two.result(20))
        gopark.run(main)
    """)
    assert done.stdout == "child b'012'\nparent b'01' b'23'\n"


@goroutines
def test_temporary_files_and_the_like_can_be_wrapped() -> None:
    with files.wrap(tempfile.TemporaryFile()) as f:
        f.write(b"x" * 100_000)
        f.seek(0)
        assert len(f.read()) == 100_000
        assert f.fileno() >= 0


@goroutines
def test_a_thread_of_its_own_may_use_a_file_too(tmp_path: Path) -> None:
    def work() -> bytes:
        with files.open(tmp_path / "x", "w+b") as f:
            f.write(b"from a thread")
            f.seek(0)
            return bytes(f.read())

    assert gopark.blocking(work) == b"from a thread"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_file_cannot_be_copied(copied: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="a File cannot be copied or pickled"):
        copied(files.wrap(io.BytesIO()))
