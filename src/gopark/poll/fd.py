"""FD: a descriptor whose blocking operations park the goroutine.  After Go's internal/poll.FD.

Every operation: take a lock (or a reference) of the FDMutex, try the system call, wait on the poll descriptor
only when it says EAGAIN, give the lock back.  Whoever gives back the last reference of a closed FD destroys
it.

Names and addresses are kept only to be put into errors; what a network address is, is the net package's
business.
"""

import errno
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from gopark.poll import errors, fd_end, quiet, sockaddr
from gopark.poll.fd_mutex import FDMutex
from gopark.runtime import _sys, netpoll, polldesc, pollstate, proc
from gopark.runtime.sema import WaitQ

_E = TypeVar("_E", bound=BaseException)

_R = pollstate.MODE_R
_W = pollstate.MODE_W
_CLOSING = pollstate.POLL_ERR_CLOSING
_TIMEOUT = pollstate.POLL_ERR_TIMEOUT
_EINTR = errno.EINTR
_EAGAIN = errno.EAGAIN
_ECONNABORTED = errno.ECONNABORTED
_MAX_RW = 1 << 30  # bytes in one pread or pwrite: more would only make the kernel hold the descriptor longer
_MAX_READ = 1 << 20  # bytes in one read: its memory is taken before anything has come
_NEVER = 0x7FFFFFFFFFFFFFFE  # ns: a deadline that never comes
_MAX_IOV = 1024  # vectors in one writev (the kernel's limit)


_nobody = polldesc.nobody
_closed = FDMutex()
_closed.begin_close()


class FD:
    """One open descriptor.

    *net* names the network in errors ("tcp", "unix", ...).  *stream*: bytes without boundaries, so 0 bytes is
    the end and (with *trusting*) a short read means that nothing is left.  *is_socket*: use recv and send."""

    def __cinit__(self) -> None:
        # Compiled core: what is made without __init__ (by a subclass that forgot it) is closed.
        self.sysfd = -1
        self.net = ""
        self.fdmu = _closed
        self.pd = _nobody

    def __init__(self, sysfd: int, net: str = "", stream: bool = True, is_socket: bool = True) -> None:
        if _sys.IS_COMPILED and self.fdmu is not _closed:
            raise RuntimeError("FD.__init__: it has a descriptor already")
        self.sysfd = sysfd
        self.net = net
        self.stream = stream
        self.is_socket = is_socket
        # The last read took all there was: until an edge comes, another would only get EAGAIN.  TCP only: on
        # a Unix socket a read also stops early where the credentials change.
        self.drained = False
        self.trusting = is_socket and net[:3] == "tcp"
        self.fdmu = FDMutex(sysfd)
        # The descriptor is closed when this object goes, if not before; else it is somebody else's.
        self.owned = False
        self.pd = _nobody  # its PollDesc, while registered
        self.csema: WaitQ | None = None  # a close that waits for the last reference
        self.rawr: Any = None  # the goroutine whose raw_read, or raw_write, is in the program's function
        self.raww: Any = None
        self.held = False  # a close has begun, and has not given its own reference back yet
        self.laddr: sockaddr.Address = None  # as the socket module gives it; None: unknown
        self.raddr: sockaddr.Address = None
        self.laddr_raw: bytes | None = None  # laddr as the kernel gave it, not decoded yet
        self.raddr_raw: bytes | None = None  # raddr as the kernel gave it, not decoded yet
        self.raddr4 = 0  # the same, if it is IPv4, as _sys.inet4 gives it: no object of its own

    def init(self) -> None:
        """Register with the poller.  OSError if that is impossible; the descriptor is still the caller's
        then."""
        self.register()
        self.owned = True

    def register(self) -> None:
        """init for a descriptor that stays the caller's."""
        self.pd = netpoll.poll_open(self.sysfd)
        self.pd.user = self.fdmu

    def __del__(self) -> None:
        if not _sys.IS_COMPILED and "pd" not in self.__dict__:
            return  # made without __init__: it has nothing
        if self.pd is _nobody:
            if self.owned and self.sysfd >= 0:
                self.abort()  # it never came to life
        elif not self.fdmu.closed:
            if self.owned:
                self.abandoned()
            else:
                netpoll.poll_unblock(self.pd)
                netpoll.poll_close(self.pd)

    def abandoned(self) -> None:
        """Nobody has a reference and nobody closed it: close it, and say so as Python's sockets do."""
        try:
            text = f"unclosed {self!r}"
        finally:
            # Before the warning, which the program may have made an error.
            if _sys.IS_COMPILED or not fd_end.in_the_core():
                self.close()
            elif self.fdmu.begin_close():
                self.held = True
                proc.later(self.finish_close)
        warnings.warn(text, ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        state = "closed" if self.fdmu.closed else f"fd={self.sysfd}"
        return f"<{errors.where(state, self.net, self.local_addr(), self.remote_addr())}>"

    # -- errors ----------------------------------------------------------------------------------------------

    def local_addr(self) -> sockaddr.Address:
        """The local address, asked once; None if unknown."""
        if self.laddr is None:
            if self.laddr_raw:
                self.laddr = sockaddr.unpack(self.laddr_raw)
            elif self.is_socket and self.sysfd >= 0:
                self.laddr = sockaddr.known(_sys.getsockname(self.sysfd))
        return self.laddr

    def remote_addr(self) -> sockaddr.Address:
        """The peer's address, asked once; None if unknown or not connected."""
        if self.raddr is None:
            if self.raddr4:
                self.raddr = sockaddr.unpack4(self.raddr4)
            elif self.raddr_raw:
                self.raddr = sockaddr.unpack(self.raddr_raw)
            elif self.is_socket and self.sysfd >= 0:
                self.raddr = sockaddr.known(_sys.getpeername(self.sysfd))
        return self.raddr

    def prefix(self, op: str) -> str:
        # The local address of a dial that failed says nothing, unless the caller chose it.
        local = self.laddr if op == "dial" else self.local_addr()
        return errors.where(op, self.net, local, self.remote_addr())

    def closed_error(self, op: str) -> OSError:
        return errors.closed(self.prefix(op))

    def poll_error(self, op: str, code: int) -> OSError:
        """The exception for a poll_* error code."""
        prefix = self.prefix(op)
        if code == _CLOSING:
            return errors.closed(prefix)
        if code == _TIMEOUT:
            return errors.timeout(prefix)
        return errors.not_pollable(prefix)

    def system_error(self, op: str, err: int) -> OSError:
        return errors.system(self.prefix(op), err)

    def refuse(self, op: str) -> None:
        """RuntimeError: this may park, and gopark runs on another thread."""
        proc.enter(op)

    # -- locks -----------------------------------------------------------------------------------------------

    def readlock(self, op: str) -> None:
        if proc.elsewhere():
            self.refuse(op)
        if not self.fdmu.rwlock(True):
            raise self.closed_error(op)

    def readunlock(self) -> None:
        if self.fdmu.rwunlock(True):
            self.destroy()

    def writelock(self, op: str) -> None:
        if proc.elsewhere():
            self.refuse(op)
        if not self.fdmu.rwlock(False):
            raise self.closed_error(op)

    def writeunlock(self) -> None:
        if self.fdmu.rwunlock(False):
            self.destroy()

    def incref(self, op: str) -> None:
        if not self.fdmu.incref():
            raise self.closed_error(op)

    def decref(self) -> None:
        if self.fdmu.decref():
            self.destroy()

    def prepare(self, mode: int, op: str) -> None:
        code = netpoll.poll_reset(self.pd, mode)
        if code != 0:
            raise self.poll_error(op, code)

    def wait(self, mode: int, op: str) -> None:
        code = netpoll.poll_wait(self.pd, mode)
        if code != 0:
            raise self.poll_error(op, code)

    # -- close -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close: blocked operations return at once with ClosedError; returns when the last one is gone.

        ClosedError if it is closed already.  On another thread than gopark's, and in a signal handler that runs while all
        are parked, it does not wait: from now on no operation begins, and the rest is done at the next scheduling
        decision."""
        if not self.fdmu.begin_close():
            raise self.closed_error("close")
        self.held = True
        if proc.elsewhere():
            proc.later(self.finish_close)
            return
        try:
            self.finish_close()
        except BaseException:  # out of memory; in the interpreted core a signal handler raised
            proc.later(self.finish_close)
            raise
        if self.sysfd >= 0 and not self.is_callers_own():
            if self.csema is None:
                self.csema = WaitQ()
            self.csema.park("close")

    def is_callers_own(self) -> bool:
        """Would close wait for an operation of its own caller's?  Also True where there is no goroutine that could wait."""
        gp = proc.getp().curg
        if gp is None or gp is self.rawr or gp is self.raww:
            return True
        # A signal handler may have interrupted the main goroutine inside an interpreted operation.
        return not _sys.IS_COMPILED and fd_end.is_inside(self)

    def finish_close(self) -> None:
        """The rest of a close, on the runtime's thread.  Each step only if it has not been done: it may be called again."""
        self.fdmu.wake_waiters()
        # The names that later errors will say; the kernel is asked while it still knows.
        if self.laddr is None and self.laddr_raw is None and self.is_socket and self.sysfd >= 0:
            raw = _sys.getsockname(self.sysfd)
            if isinstance(raw, bytes):
                self.laddr_raw = raw
        if not self.pd.closing:
            netpoll.poll_unblock(self.pd)
        if self.held:
            if not self.fdmu.over():  # goroutines were given up meanwhile: no reference counts any more
                self.fdmu.decref()
            self.held = False
        if self.fdmu.over():
            self.destroy()

    def destroy(self) -> None:
        """The last reference is gone: deregister, close(2), wake who waits in close."""
        if proc.elsewhere():
            proc.later(self.finish_close)
            return
        if self.pd is not _nobody:
            netpoll.poll_close(self.pd)
            self.pd = _nobody
        fd = self.sysfd
        self.sysfd = -1
        if fd >= 0:
            if self.is_socket and _sys.lingers(fd):
                fd_end.close_lingering(fd)
            else:
                _sys.close(fd)
        if self.csema is not None:
            self.csema.wake_all()

    def shutdown(self, how: int, op: str) -> None:
        """shutdown(2): *how* as socket.SHUT_RD, SHUT_WR or SHUT_RDWR."""
        self.incref(op)
        try:
            err = _sys.shutdown(self.sysfd, how)
        finally:
            self.decref()
        if err != 0:
            raise self.system_error(op, -err)

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, n: int) -> bytes:
        """At most *n* bytes, as soon as there are any; b"" at the end of a stream."""
        if proc.elsewhere():
            self.refuse("read")
        if not self.fdmu.rwlock(True):
            raise self.closed_error("read")
        # As prepare_read and wait, written out, with all that does not park in functions of its own, and without a try: a
        # parked goroutine's stack is copied, so each call less and each variable less on it counts.
        r = None
        if not (self.drained and n and not self.pd.readable_pending()):
            r = self.read_after(n, netpoll.poll_reset(self.pd, _R) if n else 0)
        while r is None:
            r = self.read_after(n, quiet.poll_wait(self.pd, _R))
        return r

    def read_after(self, n: int, code: int) -> bytes | None:
        """try_read, after a wait or reset that gave *code* (-1: it raised).  Unless it must wait (None) it gives the lock
        back."""
        again = False
        try:
            if code < 0:
                raise _sys.take_exception()
            r = self.try_read(n, code)
            again = r is None
            return r
        finally:
            if not again and self.fdmu.rwunlock(True):
                self.destroy()

    def try_read(self, n: int, code: int) -> bytes | None:
        """read without parking, after a wait or reset that gave *code*; None if there is nothing yet."""
        if code != 0:
            raise self.poll_error("read", code)
        if n == 0:
            return b""
        if n > _MAX_READ:
            n = _MAX_READ
        while True:
            r = _sys.recv(self.sysfd, n) if self.is_socket else _sys.read(self.sysfd, n)
            if isinstance(r, bytes):
                got = len(r)
                self.drained = self.trusting and 0 < got < n
                return r
            if r == _EAGAIN:
                return None
            if r != _EINTR:
                raise self.system_error("read", r)

    def prepare_read(self) -> None:
        if self.drained and not self.pd.readable_pending():
            # Edge-triggered: had anything arrived since the short read, its edge would be pending (or is
            # still in the kernel, and will wake us).  So the read that would only say EAGAIN is left out.
            self.wait(_R, "read")
        else:
            self.prepare(_R, "read")

    def read_into(self, buf: Any) -> int:
        """As read, into a writable buffer of bytes: how many, 0 at the end of a stream (or for an empty
        buffer)."""
        size = len(buf)
        self.readlock("read")
        try:
            if size == 0:
                return 0
            self.prepare_read()
            while True:
                if self.is_socket:
                    r = _sys.recv_into(self.sysfd, buf, 0)
                else:
                    r = _sys.read_into(self.sysfd, buf, 0)
                if r >= 0:
                    self.drained = self.trusting and 0 < r < size
                    return r
                if r == -_EAGAIN:
                    self.wait(_R, "read")
                elif r != -_EINTR:
                    raise self.system_error("read", -r)
        finally:
            self.readunlock()

    def raw_read(self, fn: Callable[[int], Any], op: str = "read") -> None:
        """Call fn(descriptor) until it returns true, waiting for readability in between."""
        self.readlock(op)
        try:
            self.drained = False
            self.prepare(_R, op)
            self.rawr = proc.getp().curg
            while not fn(self.sysfd):
                self.wait(_R, op)
        finally:
            self.rawr = None
            self.readunlock()

    def wait_readable(self) -> None:
        """Park until a read would not block: there is data, the end, or an error to report."""
        self.raw_read(_readable)

    def accept(self, laddr: sockaddr.Address) -> "FD":
        """The next connection, registered; its local address is *laddr* (None: to be asked for).  Again on EINTR and
        ECONNABORTED.  OSError also if it cannot be registered: then that connection is closed."""
        self.readlock("accept")
        try:
            self.prepare(_R, "accept")
            while True:
                r = _sys.accept4(self.sysfd)
                if isinstance(r, tuple):
                    return self.accepted(r[0], r[1], laddr)
                if r == _EAGAIN:
                    self.wait(_R, "accept")
                elif r != _EINTR and r != _ECONNABORTED:
                    raise self.system_error("accept", r)
        finally:
            self.readunlock()

    def accepted(self, sysfd: int, raddr_raw: bytes, laddr: sockaddr.Address) -> "FD":
        try:
            conn = FD(sysfd, self.net)
        except BaseException:
            _sys.close(sysfd)
            raise
        conn.owned = True
        conn.trusting = self.trusting
        conn.laddr = laddr
        conn.raddr4 = _sys.inet4(raddr_raw)  # decoded when somebody asks
        if conn.raddr4 == 0:
            conn.raddr_raw = raddr_raw
        try:
            conn.init()
        except BaseException as e:
            conn.abort()
            if isinstance(e, OSError):
                raise self.system_error("accept", e.errno or errno.EIO) from None
            raise
        return conn

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: Any) -> int:
        """All of *data* (a contiguous bytes-like object); its length.  An error's .written, Cancelled's too, says how much
        went before."""
        total = len(data)
        off = 0
        if proc.elsewhere():
            self.refuse("write")
        if not self.fdmu.rwlock(False):
            raise self.closed_error("write")
        try:
            code = netpoll.poll_reset(self.pd, _W)
            while code == 0:
                r = _sys.send(self.sysfd, data, off) if self.is_socket else _sys.write(self.sysfd, data, off)
                if r > 0 or (r == 0 and total == 0):
                    off += r
                    if off == total:
                        return off
                elif r == -_EAGAIN:
                    code = netpoll.poll_wait(self.pd, _W)
                elif r != -_EINTR:
                    raise self.write_error(r)
            raise self.poll_error("write", code)
        except BaseException as e:
            raise partial(e, off)  # noqa: B904
        finally:
            if self.fdmu.rwunlock(False):
                self.destroy()

    def write_error(self, r: int) -> BaseException:
        return errors.unexpected_eof(self.prefix("write")) if r == 0 else self.system_error("write", -r)

    def writev(self, bufs: list[Any]) -> int:
        """All of the buffers (contiguous bytes-like objects), without joining them; how many bytes that
        was."""
        done = 0
        self.writelock("write")
        pending = []
        try:
            pending = [memoryview(b).cast("B") for b in bufs if len(b)]
            self.prepare(_W, "write")
            i = 0
            while i < len(pending):
                batch = pending[i : i + _MAX_IOV]
                r = _sys.sendv(self.sysfd, batch) if self.is_socket else _sys.writev(self.sysfd, batch)
                if r > 0:
                    done += r
                    while r > 0:
                        if r < len(pending[i]):
                            pending[i] = pending[i][r:]
                            break
                        r -= len(pending[i])
                        i += 1
                elif r == -_EAGAIN:
                    self.wait(_W, "write")
                elif r != -_EINTR:
                    raise self.write_error(r)
            return done
        except BaseException as e:
            # The traceback has this frame (interpreted core): the program's buffers must not stay locked with it.
            for view in pending:
                view.release()
            batch = None
            raise partial(e, done)  # noqa: B904
        finally:
            self.writeunlock()

    def set_option(self, level: int, option: int, value: Any) -> None:
        """setsockopt(2)."""
        self.incref("setsockopt")
        try:
            err = _sys.setsockopt(self.sysfd, level, option, value)
        finally:
            self.decref()
        if err != 0:
            raise self.system_error("setsockopt", -err)

    def raw_write(self, fn: Callable[[int], Any], op: str = "write") -> None:
        """Call fn(descriptor) until it returns true, waiting for writability in between."""
        self.writelock(op)
        try:
            self.prepare(_W, op)
            self.raww = proc.getp().curg
            while not fn(self.sysfd):
                self.wait(_W, op)
        finally:
            self.raww = None
            self.writeunlock()

    def connect(self, connect_ex: Callable[[], int], until: int = 0, op: str = "dial") -> None:
        """Begin with connect_ex() (which returns an errno), register with the poller, wait until it is
        decided.

        In this order, as Go: a socket that has not begun to connect reports itself hung up.  *until*: the
        deadline, ns of the monotonic clock; 0 for none.  Another goroutine cancels it by moving the write
        deadline to the past."""
        if proc.elsewhere():
            self.refuse(op)
        if until < 0:
            raise errors.timeout(self.prefix(op))
        err = connect_ex()
        if err not in (0, errno.EISCONN, errno.EINPROGRESS, errno.EALREADY, errno.EINTR):
            raise self.system_error(op, err)
        if self.pd is _nobody:
            self.init()
        if err in (0, errno.EISCONN):
            return
        self.writelock(op)
        try:
            if until:
                netpoll.poll_set_deadline(self.pd, until, _W)
            while True:
                # No reset: the edge may have come between connect and here, and it comes but once.
                self.wait(_W, op)
                err = _sys.connect_error(self.sysfd)
                if err in (0, errno.EISCONN):
                    # A spurious wake-up finds no error and no peer either.
                    if _sys.has_peer(self.sysfd) == 0:
                        break
                elif err not in (errno.EINPROGRESS, errno.EALREADY, errno.EINTR):
                    raise self.system_error(op, err)
            if until:
                netpoll.poll_set_deadline(self.pd, 0, _W)
        finally:
            self.writeunlock()

    def abort(self) -> None:
        """Close an FD that never came to life (its connect failed, it was not registered)."""
        if self.pd is not _nobody:
            self.close()
        elif self.sysfd >= 0:
            sysfd = self.sysfd
            self.sysfd = -1  # first: if anything is raised in between, never twice
            _sys.close(sysfd)

    # -- at an offset: no lock, and never the poller ---------------------------------------------------------

    def pread(self, n: int, offset: int) -> bytes:
        """At most *n* bytes at *offset* of a file; b"" behind its end."""
        self.incref("pread")
        try:
            return os.pread(self.sysfd, min(n, _MAX_RW), offset)
        except OSError as e:
            raise self.system_error("pread", e.errno or errno.EIO) from None
        finally:
            self.decref()

    def pwrite(self, data: Any, offset: int) -> int:
        """All of *data* at *offset* of a file; its length.  An error's .written says how much went before."""
        self.incref("pwrite")
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(self.sysfd, view[done : done + _MAX_RW], offset + done)
            return done
        except OSError as e:
            raise partial(self.system_error("pwrite", e.errno or errno.EIO), done) from None
        finally:
            self.decref()

    # -- deadlines -------------------------------------------------------------------------------------------

    def set_deadline(self, when: int, mode: int) -> None:
        """*when* in ns of the monotonic clock, 0 for none; *mode* MODE_R, MODE_W or both.

        On another thread than gopark's it is handed over: it counts from the next scheduling decision on."""
        if when >= _NEVER:
            when = 0  # the timer of one that never comes would keep a deadlock from being noticed
        if self.pd is _nobody or not self.fdmu.incref():
            raise self.closed_error("set deadline")
        try:
            netpoll.poll_set_deadline(self.pd, when, mode)
        finally:
            if self.fdmu.decref():
                self.destroy()


def partial(e: _E, written: int) -> _E:
    """*e*, with how much had been written when it happened."""
    e.written = written  # type: ignore[attr-defined]
    return e


def _readable(fd: int) -> bool:
    return _sys.readable(fd) != 0
