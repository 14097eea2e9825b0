"""gopark.stack: what a dump says of each goroutine."""

import functools
import os
import re
import threading

import gopark
from gopark import net
from gopark.runtime import debug
from support import goroutines, parked


def of(gp: gopark.Goroutine) -> str:
    """Its part of the dump."""
    (text,) = re.findall(rf"^goroutine {gp.id} \[.*?(?=^goroutine |\Z)", gopark.stack(), re.M | re.S)
    return text.strip()


def sleeper() -> None:
    gopark.sleep(1e6)


@goroutines
def test_a_sleeping_goroutine_shows_its_frames_most_recent_first() -> None:
    def caller() -> None:
        sleeper()

    first = of(parked(gopark.go(caller)))
    lines = first.splitlines()
    assert lines[0].endswith(" [sleep]:")
    assert lines[1] == f"{__name__}.sleeper(...)"
    assert lines[2] == f"\t{__file__}:{sleeper.__code__.co_firstlineno + 1}"
    assert lines[3].endswith(".<locals>.caller(...)")
    assert "gopark.runtime" not in first


@goroutines
def test_io_wait_shows_descriptor_direction_and_both_addresses() -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as conn, listener.accept() as peer:
            reader = parked(gopark.go(conn.read), "IO wait")
            text = of(reader)
            ours, theirs = (f"127.0.0.1:{c.local_addr[1]}" for c in (conn, peer))
            assert f"goroutine {reader.id} [IO wait]:\n" in text + "\n"
            assert f"waits for: fd {conn.fileno()} read, {ours} <-> {theirs}\n" in text
            reader.cancel()
            reader.join()


@goroutines
def test_fd_lock_says_which_lock_of_which_descriptor() -> None:
    with net.listen("tcp", "127.0.0.1:0") as listener:
        with net.dial("tcp", f"127.0.0.1:{listener.addr[1]}") as conn, listener.accept():
            reader = parked(gopark.go(conn.read), "IO wait")
            second = parked(gopark.go(conn.read), "fd read lock")
            assert f"[fd read lock]:\n    waits for: the read lock of fd {conn.fileno()}\n" in of(second)
            for gp in (second, reader):
                gp.cancel()
                gp.join()


@goroutines
def test_join_says_whose_end_it_waits_for() -> None:
    worker = parked(gopark.go(sleeper))
    joiner = parked(gopark.go(worker.join), "goroutine join")
    assert f"[goroutine join]:\n    waits for: the end of goroutine {worker.id}\n" in of(joiner)


@goroutines
def test_blocking_call_shows_the_function_and_where_its_thread_is() -> None:
    begun, release = threading.Event(), threading.Event()

    def in_the_thread() -> None:
        begun.set()
        release.wait(30)

    gp = parked(gopark.go(gopark.blocking, in_the_thread), "blocking call")
    assert begun.wait(10)
    text = of(gp)
    release.set()
    assert "[blocking call]:" in text
    assert re.search(r"waits for: \S*in_the_thread\n", text)
    assert re.search(r"on its thread:\n    \S*in_the_thread\(\.\.\.\)\n\t    \S+:\d+\n", text)
    assert gp.join(10)


@goroutines
def test_running_and_runnable() -> None:
    waiting = gopark.go(sleeper)
    assert f"goroutine {waiting.id} [runnable]:\n{__name__}.sleeper(...)\n\t" in of(waiting)
    main = of(gopark.current())
    assert main.startswith("goroutine 1 [running]:\n    name: main\n")
    assert "test_running_and_runnable(...)" in main


@goroutines
def test_name_is_shown_if_it_was_given() -> None:
    gp = parked(gopark.go(sleeper))
    assert "name:" not in of(gp)
    gp.name = "acceptor of port 80"
    assert "    name: acceptor of port 80\n" in of(gp)


@goroutines
def test_main_comes_first_then_by_id() -> None:
    for _ in range(20):
        gopark.go(sleeper)
    ids = [int(n) for n in re.findall(r"^goroutine (\d+) ", gopark.stack(), re.M)]
    assert ids == sorted(ids) and ids[0] == 1 and len(ids) == 21


def test_minutes_are_shown_from_one_minute_on() -> None:
    def seen(waited: float) -> str:
        return debug.text(debug.Snapshot(7, "", "waiting", "IO wait", waited, "", (), (), None, 0))

    assert seen(59.9) == "goroutine 7 [IO wait]:\n"
    assert seen(125) == "goroutine 7 [IO wait, 2 minutes]:\n"


@goroutines
def test_not_all_is_the_caller_only() -> None:
    parked(gopark.go(sleeper))
    text = gopark.stack(all=False)
    assert text.startswith("goroutine 1 [running]:")
    assert text.count("goroutine ") == 1


@goroutines
def test_deep_recursion_is_cut_in_the_middle() -> None:
    def down(n: int) -> None:
        if n:
            down(n - 1)
        gopark.sleep(1e6)

    text = of(parked(gopark.go(down, 300)))
    assert "\n... 201 frames elided ...\n" in text
    assert text.count(".down(...)") == 100


@goroutines
def test_callables_without_a_python_frame_show_what_they_are() -> None:
    class Handler:
        def __call__(self) -> None:
            raise AssertionError

    partial = gopark.go(functools.partial(functools.partial(sleeper)))
    handler = gopark.go(Handler())
    assert f"{__name__}.sleeper(...)" in of(partial)
    assert "Handler.__call__(...)" in of(handler)
    handler.cancel()
    assert "sleep(...)" in of(parked(gopark.go(gopark.sleep, 1e6)))


@goroutines
def test_any_thread_may_ask_while_everybody_is_parked() -> None:
    gp = parked(gopark.go(sleeper))
    text = gopark.blocking(gopark.stack)
    assert text.startswith("goroutine 1 [blocking call]:")
    assert f"\ngoroutine {gp.id} [sleep]:" in text
    assert gopark.blocking(gopark.stack, False).startswith("not in a goroutine:")


def test_without_a_runtime_there_are_none() -> None:
    assert gopark.stack() == "no goroutines: gopark is not running\n"


@goroutines
def test_a_dump_of_goroutines_that_come_and_go_never_raises() -> None:
    stop = threading.Event()
    seen: list[int] = []

    def dump() -> None:
        while not stop.is_set():
            seen.append(gopark.stack().count("goroutine "))

    def churn() -> None:
        for _ in range(30):
            for gp in [gopark.go(gopark.gosched) for _ in range(20)]:
                gp.join()

    dumping = gopark.go(gopark.blocking, dump)
    parked(dumping)
    while len(seen) < 20:
        churn()
    stop.set()
    dumping.result(10)
    assert min(seen) >= 1


def test_a_forked_child_and_its_parent_each_see_their_own() -> None:
    @goroutines
    def body() -> None:
        gopark.go(sleeper)
        gopark.gosched()
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(w, gopark.stack().encode())
            os._exit(0)
        os.close(w)
        with open(r) as f:
            child = f.read()
        assert os.waitpid(pid, 0)[1] == 0
        assert child.count("goroutine ") == 1
        assert gopark.stack().count("goroutine ") > child.count("goroutine ")

    body()
