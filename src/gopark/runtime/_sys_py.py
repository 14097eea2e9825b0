"""The interpreted twin of _sys.pyx, on select and os (and ctypes for the epoll calls that Python does not expose).  Its part
for descriptors is _sys_py_fd.py.

Same names, same results, same negative errnos; no policy.  Sub-millisecond waits come from select(2), whose timeout
Python passes on in microseconds, where the epoll descriptor's number allows it.
"""

import _thread
import contextvars
import errno as _errno
import fcntl
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from inspect import CO_COROUTINE
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import greenlet

from gopark.runtime._sys_py_fd import *  # noqa: F403
from gopark.runtime._sys_py_fd import _err
from gopark.runtime._sys_py_fd import dup as _dup

try:
    # Here, not where it is needed: a process that has given up its privileges may not be able to any more.
    import ctypes

    _HAVE_CTYPES = True
except ImportError:  # a Python that was built without libffi
    _HAVE_CTYPES = False

IS_COMPILED = False
MAXEVENTS = 128

nanotime = time.monotonic_ns
coarsetime = time.monotonic_ns
thread_ident = threading.get_ident
copy_context = contextvars.copy_context
getcurrent = greenlet.getcurrent


def coarseres() -> int:
    """How far coarsetime() may lag behind nanotime(), in nanoseconds."""
    return 0


# -- the seam ----------------------------------------------------------------------------------------------------------

_SEAM = (
    *("nanotime", "coarsetime"),
    *("recv", "read", "recv_into", "read_into", "send", "write", "sendv"),
    *("writev", "readable", "socket", "socketpair", "bind", "connect", "listen"),
    *("accept4", "getsockname", "getpeername", "setsockopt", "getsockopt", "connect_error", "has_peer"),
    *("socket_names", "set_nonblock", "shutdown", "lingers", "close", "close_slowly"),
)
_kernel: Any = None


def use_kernel(other: Any) -> Any:
    """The clock and the system calls on descriptors from now on: the methods of *other*; None: the real ones.  Returns what
    was in use."""
    global _kernel
    before, _kernel = _kernel, other
    for name in _SEAM:
        real = _real.setdefault(name, globals()[name])
        globals()[name] = real if other is None else getattr(other, name)
    return before


_real: dict[str, Any] = {}


# -- epoll -------------------------------------------------------------------------------------------------------------

# select.epoll reports descriptors, not data: this is where the 64 bits that epoll_ctl was given are kept.
_instances: dict[int, tuple[select.epoll, dict[int, int]]] = {}


class EventBuffer:
    """Room for the 128 events that one netpoll may deliver."""

    def __init__(self) -> None:
        self._events: list[tuple[int, int]] = []
        self._data: list[int] = []

    def wait(self, epfd: int, delay: int) -> int:
        """epoll_wait into the buffer.  *delay* in ns: 0 polls, < 0 blocks, > 0 waits that long.  A count or -errno."""
        ep, data = _instances[epfd]
        try:
            # At most a day: epoll.poll refuses what does not fit into its milliseconds, and coming back early is allowed.
            timeout: float | None = None if delay < 0 else min(delay / 1e9, 86400.0)
            if delay > 0 and epfd < 1024:
                # epoll.poll rounds up to milliseconds; select(2) waits microseconds for the epoll descriptor itself.
                if not select.select([epfd], [], [], timeout)[0]:
                    return 0
                timeout = 0
            events = ep.poll(timeout, MAXEVENTS)
        except OSError as e:
            return -(e.errno or _errno.EIO)
        # Translated here, before anything can close and reuse a number: from now on the generation decides.
        self._events = events
        self._data = [data.get(fd, 0) for fd, _ in events]
        return len(events)

    def mask(self, i: int) -> int:
        return self._events[i][1]

    def data(self, i: int) -> int:
        return self._data[i]


def epoll_create(size: int) -> int:
    return epoll_create1(0) if size > 0 else -_errno.EINVAL


def epoll_create1(flags: int) -> int:
    try:
        ep = select.epoll()  # Python's is close-on-exec always
        if not flags & select.EPOLL_CLOEXEC:
            os.set_inheritable(ep.fileno(), True)
    except OSError as e:
        return -(e.errno or _errno.EIO)
    _instances[ep.fileno()] = (ep, {})
    return ep.fileno()


def epoll_ctl(epfd: int, op: int, fd: int, events: int, data: int) -> int:
    inst = _instances.get(epfd)
    if inst is None:
        return -_errno.EBADF
    try:
        if op == 1:
            inst[0].register(fd, events)
            inst[1][fd] = data
        elif op == 3:
            inst[0].modify(fd, events)
            inst[1][fd] = data
        elif op == 2:
            inst[1].pop(fd, None)
            inst[0].unregister(fd)
        else:
            return -_errno.EINVAL
    except OSError as e:
        return -(e.errno or _errno.EIO)
    return 0


def epoll_wait_raw(
    epfd: int, maxevents: int, timeout_ns: int, sigmask: Iterable[int] | None, nanoseconds: bool
) -> "list[tuple[int, int]] | int":
    """epoll_wait, epoll_pwait (*sigmask* not None) or epoll_pwait2 (*nanoseconds*): a list of (events, data), or errno."""
    if maxevents <= 0:
        return _errno.EINVAL
    if sigmask is None and not nanoseconds:
        inst = _instances.get(epfd)
        if inst is None:
            return _errno.EBADF
        try:
            events = inst[0].poll(None if timeout_ns < 0 else timeout_ns / 1e9, maxevents)
        except OSError as e:
            return e.errno or _errno.EIO
        return [(mask, inst[1].get(fd, 0)) for fd, mask in events]
    from gopark.runtime import _epoll_ctypes

    r = _epoll_ctypes.pwait(epfd, maxevents, timeout_ns, sigmask, nanoseconds)
    if isinstance(r, int):
        return r
    data = _instances[epfd][1] if epfd in _instances else {}
    return [(mask, data.get(fd, fd)) for mask, fd in r]


def eventfd() -> int:
    try:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    except OSError as e:
        return -(e.errno or _errno.EIO)


def eventfd_write(fd: int) -> int:
    return -_err(os.eventfd_write, fd, 1)


def eventfd_drain(fd: int) -> int:
    return -_err(os.eventfd_read, fd)


# -- descriptors -------------------------------------------------------------------------------------------------------


def dup(fd: int) -> int:  # type: ignore[no-redef]
    """Another descriptor for the same file, close-on-exec and not among the standard ones, or a negative errno."""
    new: int = _dup(fd)
    if new >= 0 and fd in _instances:
        _instances[new] = (select.epoll.fromfd(new), {})
    return new


def close(fd: int) -> int:
    inst = _instances.pop(fd, None)
    return -_err(inst[0].close) if inst else -_err(os.close, fd)


# -- greenlets, contexts, signals --------------------------------------------------------------------------------------


def new_greenlet(run: Callable[[], Any], parent: Any) -> Any:
    return greenlet.greenlet(run, parent)


def switch(g: Any) -> int:
    """Switch to *g*; returns when somebody switches back."""
    g.switch()
    return 0


raised: list[BaseException] = []  # what poll/quiet.py has caught, until it is taken: at once, by its caller


def take_exception() -> BaseException:
    """What a quiet function has caught.  (The compiled core's leave the exception set.)"""
    return raised.pop()


class Raised:
    """What a function raised."""

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc


def outcome(
    ctx: contextvars.Context, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: "dict[str, Any] | None"
) -> Any:
    """fn(*args, **kwargs) with *ctx* as the current context: what it returned, or a Raised of what it raised."""
    try:
        return ctx.run(fn, *args, **kwargs) if kwargs else ctx.run(fn, *args)
    except BaseException as e:
        return Raised(e)


def untrack(obj: object) -> None:
    """Nothing to do: the interpreted core's objects stay in the garbage collector's care."""


def track(obj: object) -> None:
    """Nothing to do: see untrack."""


class Finalizer:
    """Calls fn(arg) when it is destroyed."""

    __slots__ = ("arg", "fn")

    def __init__(self, fn: Callable[[Any], object], arg: Any) -> None:
        self.fn = fn
        self.arg = arg

    def __del__(self) -> None:
        self.fn(self.arg)


def thread_states() -> int:
    """How many threads Python knows of, also those that have not begun to run, or run none of its code; 0: not known."""
    if not _HAVE_CTYPES:
        return 0
    api = ctypes.pythonapi
    api.PyInterpreterState_Get.restype = api.PyInterpreterState_ThreadHead.restype = ctypes.c_void_p
    api.PyThreadState_Next.restype = ctypes.c_void_p
    n, state = 0, api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Get()))
    while state:
        n, state = n + 1, api.PyThreadState_Next(ctypes.c_void_p(state))
    return n


def is_current(g: object) -> bool:
    """Is *g* the greenlet that runs?"""
    return greenlet.getcurrent() is g


def is_async(fn: Any) -> bool:
    """Is *fn* an `async def`, or a method that is one?"""
    if isinstance(fn, MethodType):
        fn = fn.__func__
    return isinstance(fn, FunctionType) and fn.__code__.co_flags & CO_COROUTINE != 0


def immortalize(obj: object) -> None:
    """One reference that is never given back."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))


def _caller() -> FrameType | None:
    # Past the core's own frames, which the compiled core has none of.
    frame: FrameType | None = sys._getframe(2)
    core = frame.f_code.co_filename if frame is not None else ""
    while frame is not None and frame.f_code.co_filename == core:
        frame = frame.f_back
    return frame


def caller_code() -> CodeType | None:
    """The code object of the innermost Python frame outside the calling module; None if there is none."""
    frame = _caller()
    return None if frame is None else frame.f_code


def caller_lasti() -> int:
    """The instruction that it is at, as an offset in its code; -1 if there is none."""
    frame = _caller()
    return -1 if frame is None else frame.f_lasti


def count(n: object) -> int:
    """*n*, if it is an int of 0 or more that fits; else -1."""
    return n if type(n) is int and 0 <= n <= sys.maxsize else -1


def float_ns(seconds: object) -> int:
    """*seconds* as ns, rounded up, if C can say it: not here."""
    return -0x8000000000000000


_margin = 60  # frames that the scheduler may need, and those that Python counts although they are another greenlet's


def measure_headroom() -> None:
    """The runtime starts here: new greenlets will begin with the depth that the stack has now."""
    global _margin
    frame: FrameType | None = sys._getframe()
    _margin = 60
    while frame is not None:
        _margin, frame = _margin + 1, frame.f_back


def headroom() -> None:
    """RecursionError if the scheduler, which is about to be called, could meet Python's recursion limit in its middle."""
    try:
        sys._getframe(max(0, sys.getrecursionlimit() - _margin))
    except ValueError:
        return
    raise RecursionError("maximum recursion depth exceeded (or so nearly that a goroutine cannot park)")


def check_signals() -> int:
    """Nothing to do: the interpreter runs signal handlers between any two bytecodes."""
    return 0


# -- sysmon ------------------------------------------------------------------------------------------------------------


_SYS_FUTEX = {"x86_64": b"202", "aarch64": b"98"}.get(os.uname().machine)


class _Sysmon:
    """The same as _sysmon.h, on a daemon thread that takes the GIL for each round (so its shortest nap is longer)."""

    def __init__(self) -> None:
        self.tick = 0
        self.running = True
        self.requested = 0
        self.refused = False
        self.preempt = False
        self.slice = 10_000_000
        self.rounds = 0
        self.requests = 0
        self.target = 0
        self.status = -1  # descriptor: the kernel tells which system call target is in
        self.runtime = range(0)  # where the interpreter's own state lies
        self.ident = 0
        self.stopped: threading.Event | None = None  # this thread's; a stopped one may still be napping
        self.resumed = threading.Event()

    def main(self, stopped: threading.Event) -> None:
        delay, idle, asleep, again = 0.001, 0, 0, 100_000
        since, tick = nanotime(), self.tick
        while True:
            delay = 0.001 if idle < 5 else min(delay * 2, 0.01)
            nap = min(delay, max(0.0005, (since + self.slice - nanotime()) / 1e9)) if self.running else delay
            if stopped.wait(nap):
                return
            self.rounds += 1
            idle += 1
            now = nanotime()
            if not self.running:
                asleep += 1
                if delay >= 0.01 and asleep >= 2:
                    asleep = 0
                    self.resumed.clear()
                    if not self.running and not stopped.is_set():
                        self.resumed.wait()
                since, tick = nanotime(), self.tick
                continue
            asleep = 0
            if self.tick != tick:
                since, tick = now, self.tick
                again, self.refused = 100_000, False
            elif self.refused:
                self.refused, since = False, now - self.slice + again
                again = min(2 * again, self.slice)
            elif now - since >= self.slice:
                since, idle = now, 0
                if self.preempt:
                    self.requests += 1
                    if self.in_futex():
                        signal.siginterrupt(signal.SIGURG, True)  # the handler undoes it
                        self.requested = 2
                        signal.pthread_kill(self.target, signal.SIGURG)
                    else:
                        # The mark of a signal, but none: whatever system call it is in is not cut short.  (It is seen when
                        # the thread has the GIL, which this one has now.)
                        self.requested = 1
                        _thread.interrupt_main(signal.SIGURG)

    def in_futex(self) -> bool:
        """Is the runtime's thread blocked in a lock?"""
        try:
            words = os.pread(self.status, 64, 0).split()
            # (The address of a wait for the GIL: see _sysmon.h.)
            return len(words) > 1 and words[0] == _SYS_FUTEX and int(words[1], 16) not in self.runtime
        except (OSError, ValueError):
            return False

    def prepare(self) -> None:
        """What in_futex needs; without it no wait is ever cut."""
        if not _HAVE_CTYPES:
            return
        info, symbol = (ctypes.c_void_p * 4)(), ctypes.c_void_p()
        try:
            start = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
            if (
                not ctypes.CDLL(None).dladdr1(ctypes.c_void_p(start), info, ctypes.byref(symbol), 1)
                or not symbol.value
            ):
                return
            self.runtime = range(
                start, start + ctypes.c_uint64.from_address(symbol.value + 16).value
            )  # Elf64_Sym.st_size
            fd = os.open(f"/proc/self/task/{threading.get_native_id()}/syscall", os.O_RDONLY)
        except (OSError, ValueError, AttributeError):
            return
        try:
            self.status = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500)
        except OSError:
            self.status = dup(fd)
        close(fd)

    def release(self) -> None:
        """Give the descriptor back."""
        if self.status >= 0:
            status, self.status = self.status, -1
            close(status)


_sysmon = _Sysmon()


def sysmon_tick(tick: int) -> None:
    _sysmon.tick = tick


def sysmon_blocking() -> None:
    _sysmon.running = False


def sysmon_resumed() -> None:
    _sysmon.running = True
    if not _sysmon.resumed.is_set():
        _sysmon.resumed.set()


def sysmon_take_request() -> int:
    """The preemption handler asks: was it sysmon that sent the signal?  0: no; 1: yes; 2: yes, because the thread was blocked
    in a lock."""
    r, _sysmon.requested = _sysmon.requested, 0
    return r


_looker: Callable[[FrameType], object] | None = None


def preempt_raiser(fn: Callable[[], None] | None) -> None:
    """The hooks', which the interpreted core does not have."""


def preempt_look(look: Callable[[FrameType], object]) -> None:
    """Have look(frame) called when a preemption is requested, before it is known whether it will be granted."""
    global _looker
    _looker = look


def preempt_handler(
    handler: Callable[[int, FrameType | None], bool], between: Iterable[int], fused: Iterable[int]
) -> Callable[[int, FrameType | None], None]:
    """What to install for SIGURG.  *handler* returns whether the request has been refused.

    It is called at once, wherever the frame is: a Python function cannot postpone a signal to the next instruction."""

    def _on_preempt(signum: int, frame: FrameType | None) -> None:
        if _sysmon.requested and frame is not None and _looker is not None:
            _looker(frame)
        if handler(signum, frame):
            _sysmon.refused = True

    return _on_preempt


# Where PyThreadState.tracing is: nothing else says whether a trace function or a callback of sys.monitoring runs.
_TRACING_OFFSET = {(3, 11): 44, (3, 12): 44, (3, 13): 60, (3, 14): 60, (3, 15): 64}.get(sys.version_info[:2])


def tracing() -> bool:
    """Does a trace function run, a profiler, or a callback of sys.monitoring or greenlet.settrace?"""
    if not _HAVE_CTYPES or _TRACING_OFFSET is None:
        return False
    state = ctypes.pythonapi.PyThreadState_Get
    state.restype = ctypes.c_void_p
    return ctypes.c_int.from_address(state() + _TRACING_OFFSET).value != 0


def frame_local(frame: FrameType, name: str) -> Any:
    """The value of a local variable of a function that runs; None if it has none."""
    return frame.f_locals.get(name)


_collecting = False


def gc_begins(phase: str, info: dict[str, int]) -> None:
    """The first of gc.callbacks."""
    global _collecting
    if phase == "start":
        _collecting = True


def gc_ended(phase: str, info: dict[str, int]) -> None:
    """The last of gc.callbacks."""
    global _collecting
    if phase == "stop":
        _collecting = False


def collecting() -> bool:
    """Does the garbage collector run, with the finalizers and callbacks that it calls?"""
    return _collecting


def sysmon_start(preempt: bool) -> int:
    """Start sysmon's thread for the calling thread; 0, or an errno."""
    if _sysmon.stopped is None:
        _sysmon.stopped = threading.Event()
        _sysmon.requested, _sysmon.running, _sysmon.target = 0, True, thread_ident()
        _sysmon.prepare()
        _sysmon.preempt = preempt
        # Not threading.Thread: it must not show in threading.enumerate(), nor be waited for.
        try:
            _sysmon.ident = _thread.start_new_thread(_sysmon.main, (_sysmon.stopped,))
        except RuntimeError as e:  # which does not say why: a limit, or no memory
            if "shutdown" not in str(e):
                return _errno.EAGAIN
            # CPython 3.12 starts no thread any more for the last handlers of a program: they are not preempted.
    return 0


def sysmon_ident() -> int:
    """The ident of sysmon's thread if it runs Python code, else 0."""
    return _sysmon.ident


def native_threads() -> int:
    """How many threads of ours there are that Python does not know."""
    return 0


def sysmon_stop() -> None:
    if _sysmon.stopped is not None:
        _sysmon.preempt = False
        _sysmon.requested = 0
        _sysmon.release()
        _sysmon.stopped.set()
        _sysmon.stopped = None
        _sysmon.resumed.set()


def sysmon_forked() -> None:
    """In a forked child the thread does not exist."""
    _sysmon.release()
    _sysmon.stopped = None
    _sysmon.resumed = threading.Event()


def sysmon_set(slice: int, preempt: bool) -> None:
    """The time slice (ns), and whether preemption is on."""
    _sysmon.slice = slice
    _sysmon.preempt = preempt


def sysmon_watch(wanted: bool) -> None:
    """The hooks', which the interpreted core does not have."""


def sysmon_blocked() -> tuple[int, str, str, bool] | None:
    """The same."""
    return None


def sysmon_counters() -> tuple[int, int]:
    """(times that sysmon woke, preemptions that it asked for)."""
    return _sysmon.rounds, _sysmon.requests


assert sys.platform == "linux", "gopark's interpreted core runs on Linux: it needs epoll"
