"""The tools that Python users know tell the truth about goroutines: faulthandler, py-spy, pdb and others."""

import cProfile
import faulthandler
import gc
import pstats
import re
import shutil
import subprocess
import sys
import sysconfig
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import gopark
from running import environment, running
from support import goroutines, parked


def other() -> None:
    gopark.sleep(1e6)


@goroutines
def test_faulthandler_shows_the_running_goroutine_and_no_other(tmp_path: Path) -> None:
    def culprit() -> None:
        with (tmp_path / "trace").open("w") as file:
            faulthandler.dump_traceback(file, all_threads=False)

    parked(gopark.go(other))
    gopark.go(culprit).result(10)
    text = (tmp_path / "trace").read_text()
    assert " in culprit\n" in text
    assert " in other\n" not in text


def py_spy() -> str | None:
    return shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")


def test_py_spy_shows_the_running_goroutine(tmp_path: Path) -> None:
    tool = py_spy()
    if tool is None:
        pytest.skip("py-spy is not installed")
    program = """
        import gopark
        def other():
            gopark.sleep(1e6)
        def hog():
            print("ready", flush=True)
            while True:
                pass
        def main():
            gopark.go(other)
            gopark.go(hog).join()
        gopark.run(main)
    """
    with running(program, tmp_path, GOPARK_ASYNCPREEMPT="0") as process:
        done = subprocess.run(
            [tool, "dump", "--pid", str(process.pid)], capture_output=True, text=True, timeout=30
        )
    if done.returncode != 0:
        pytest.skip(f"py-spy cannot be run here: {done.stderr.strip()}")
    main_thread = re.search(
        r'^Thread \d+ \(.*\): "MainThread"\n(.*?)(?=^Thread |\Z)', done.stdout, re.M | re.S
    )
    assert main_thread is not None, done.stdout
    assert "hog (<string>:" in main_thread[1]
    assert not re.search(r"^\s+other \(", done.stdout, re.M)


@goroutines
def test_tracemalloc_blames_the_goroutines_own_lines() -> None:
    kept: list[bytes] = []

    def hoarder() -> None:
        for _ in range(20):
            kept.append(bytes(100_000))
            gopark.gosched()

    tracemalloc.start(5)
    try:
        for gp in [gopark.go(hoarder), gopark.go(hoarder)]:
            gp.join()
        line = hoarder.__code__.co_firstlineno + 2
        found = tracemalloc.take_snapshot().statistics("lineno")[0]
        assert (found.traceback[0].filename, found.traceback[0].lineno) == (__file__, line)
        assert found.size >= 40 * 100_000
    finally:
        tracemalloc.stop()


def counts(profile: cProfile.Profile) -> dict[str, int]:
    stats: Any = pstats.Stats(profile)
    return {name: row[1] for (file, _, name), row in stats.stats.items() if file == __file__}


def leaf() -> None:
    gopark.gosched()


def stem(n: int) -> None:
    for _ in range(n):
        leaf()


def test_cprofile_around_run_counts_the_main_goroutines_calls() -> None:
    profile = cProfile.Profile()
    profile.enable()
    gopark.run(stem, 7)
    profile.disable()
    assert counts(profile)["leaf"] == 7


@goroutines
def test_cprofile_enabled_in_one_goroutine_counts_what_all_do_meanwhile() -> None:
    profile = cProfile.Profile()

    def profiled() -> None:
        profile.enable()
        stem(5)
        profile.disable()

    gps = [gopark.go(profiled), gopark.go(stem, 50)]
    for gp in gps:
        gp.result(10)
    assert counts(profile)["leaf"] > 5  # a profiler is the thread's, not the goroutine's
    assert sys.getprofile() is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
@goroutines
def test_sys_monitoring_sees_each_call_of_each_goroutine_once() -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    events = monitoring.events
    started: dict[str, int] = {}
    ended: dict[str, int] = {}

    def start(code: Any, offset: int) -> None:
        started[code.co_name] = started.get(code.co_name, 0) + 1

    def end(code: Any, offset: int, value: object) -> None:
        ended[code.co_name] = ended.get(code.co_name, 0) + 1

    monitoring.use_tool_id(monitoring.PROFILER_ID, "test")
    try:
        monitoring.register_callback(monitoring.PROFILER_ID, events.PY_START, start)
        monitoring.register_callback(monitoring.PROFILER_ID, events.PY_RETURN, end)
        monitoring.set_events(monitoring.PROFILER_ID, events.PY_START | events.PY_RETURN)
        for gp in [gopark.go(stem, n) for n in (3, 4, 5)]:
            gp.result(10)
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    for counted in (started, ended):
        assert (counted["stem"], counted["leaf"]) == (3, 12)


def pdb(program: str, commands: str, tmp_path: Path) -> str:
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path)],
        env=environment(),
        input=commands,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


DEBUGGED = """
import gopark

def debugged():
    secret = 41
    breakpoint()
    gopark.sleep(0.01)
    secret += 1
    print("debugged has", secret)

def ticker():
    for i in range(20):
        gopark.sleep(0.001)
    print("ticker is done")

def main():
    others = [gopark.go(ticker), gopark.go(debugged)]
    for g in others:
        g.result()
    print("all done")

gopark.run(main)
"""


def test_pdb_stops_in_the_goroutine_that_called_it_and_lets_all_go_on(tmp_path: Path) -> None:
    out = pdb(DEBUGGED, "p secret\nw\nc\n", tmp_path)
    assert "(Pdb) 41\n" in out
    # `w`: this goroutine's stack, which does not come from main's.
    assert re.search(r"program\.py\(\d\)debugged\(\)\n", out) and not re.search(
        r"program\.py\(\d+\)main\(\)", out
    )
    assert "debugged has 42\n" in out and "ticker is done\n" in out and out.endswith("all done\n")


def test_pdb_next_steps_over_a_park_and_stays_in_its_goroutine(tmp_path: Path) -> None:
    out = pdb(DEBUGGED, "n\nn\nn\np secret\nimport gopark; print(gopark.stack())\nc\n", tmp_path)
    assert "(Pdb) 42\n" in out
    assert re.search(r"goroutine 3 \[running\]:\n(?:.*\n)*?__main__\.debugged\(\.\.\.\)\n", out)
    assert re.search(r"goroutine 2 \[(sleep|runnable)\]:\n__main__\.ticker\(\.\.\.\)\n", out)
    assert out.endswith("all done\n")


@goroutines
def test_a_dump_keeps_no_frame_alive() -> None:
    gp = parked(gopark.go(other))
    gopark.stack()
    gopark.blocking(gopark.stack)
    gp.cancel()
    gp.join()
    del gp
    gc.collect()
    frames = [
        obj for obj in gc.get_objects() if type(obj).__name__ == "frame" and obj.f_code is other.__code__
    ]
    assert frames == []
