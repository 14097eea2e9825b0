"""A run that is interrupted at any line of its start or its end leaves nothing of itself, and loses no clean-up."""

import textwrap

import pytest

from support import python

# Runs gopark.run again and again; the n-th time a signal arrives at the n-th line of Python code that the start, or the end,
# executes.  Prints what is wrong, and how many lines there were.
SWEEP = """
import gc, os, signal, sys, time, warnings
import gopark
from gopark.runtime import debug_server, proc

class Raised(BaseException): pass
SIGNUM, WHERE, EXPECTED, FILES = {signum}, {where!r}, {expected}, {files}

def handler(signum, frame): raise Raised
if SIGNUM != signal.SIGINT: signal.signal(SIGNUM, handler)
gc.disable()  # what is raised in its callbacks is lost, as everywhere in Python
before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGURG, signal.SIGQUIT, signal.SIGUSR1)]
printed = []
sys.unraisablehook = lambda u: printed.append(f"unraisable {{u.exc_value!r}} in {{u.object!r}}")
gopark.excepthook = lambda g, e: printed.append(f"uncollected {{e!r}}")
on, left, hit = False, 0, ""

TRACER = '''
def tracer(frame, event, arg):
    global left, on, hit
    name = os.path.basename(frame.f_code.co_filename)
    if on and event == "line" and name in FILES:
        left -= 1
        if left == 0:
            on, hit = False, f"{{name}}:{{frame.f_lineno}} {{frame.f_code.co_name}}"
            signal.raise_signal(SIGNUM)
    return tracer
'''
exec(compile(TRACER, {tracer!r}, "exec"))

def once(n):
    global left, on, hit
    on, left, hit, log, raised = False, n, "", [], None
    def other():
        log.append(1)
        try: gopark.sleep(1000)
        finally: log.append(-1)
    def main():
        global on
        for _ in range(3): gopark.go(other)
        gopark.gosched()
        on = WHERE == "end"
    sys.settrace(tracer)
    try:
        on = WHERE == "start"
        gopark.run(main)
    except BaseException as e: raised = e
    finally:
        on = False
        sys.settrace(None)
    if not hit: return False
    wrong = list(printed)
    printed.clear()
    if sum(log): wrong.append("clean-up not run")
    if type(raised) is not EXPECTED: wrong.append(f"raised {{raised!r}}")
    if proc.getp().thread: wrong.append("still running")
    after = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGURG, signal.SIGQUIT, signal.SIGUSR1)]
    if after != before: wrong.append(f"handlers left: {{after}}")
    if signal.set_wakeup_fd(-1) != -1: wrong.append("wake-up descriptor left")
    if gc.callbacks: wrong.append("callbacks of the collector left")
    if any(debug_server.serves(f) for f in sys._current_frames().values()): wrong.append("debug thread left")
    try:
        if gopark.run(lambda: gopark.go(lambda: 5).result()) != 5: wrong.append("next run is wrong")
    except BaseException as e: wrong.append(f"next run raises {{e!r}}")
    if wrong: print(n, hit, wrong)
    return True

n = 1
while once(n): n += 1
assert n > 40, n
print("all lines")
"""

ROOMS = ["lifecycle.py", "start.py", "interrupts.py", "debug_server.py", "debug_signals.py", "sysmon.py"]


@pytest.mark.parametrize("where", ["start", "end"])
@pytest.mark.parametrize("frame", ["program", "runtime"])
def test_ctrl_c_at_any_line_leaves_nothing_and_is_raised(where: str, frame: str) -> None:
    """In the frame of the runtime's line it is deferred; in one of the program's (a tracer) it is raised there and then."""
    done = python(
        SWEEP.format(
            signum="signal.SIGINT",
            where=where,
            expected="KeyboardInterrupt",
            files=[*ROOMS, "signal.py", "threading.py", "enum.py", "warnings.py", "inspect.py"],
            tracer="<program>" if frame == "program" else "<frozen tracer>",
        ),
    )
    assert done.stdout == "all lines\n", textwrap.shorten(done.stdout, 2000)


@pytest.mark.parametrize("where", ["start", "end"])
def test_what_the_programs_handler_raises_at_any_line_leaves_nothing_and_is_raised(where: str) -> None:
    done = python(
        SWEEP.format(
            signum="signal.SIGUSR2",
            where=where,
            expected="Raised",
            # (Not threading.py: a tracer can raise where no signal is handled, after a with block and before its exit.)
            files=[*ROOMS, "signal.py", "enum.py"],
            tracer="<program>",
        ),
        GOPARK_DEBUG_SOCKET="0",  # its end waits for its thread, 5 s for one that has been interrupted
    )
    assert done.stdout == "all lines\n", textwrap.shorten(done.stdout, 2000)
