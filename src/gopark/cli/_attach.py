"""The client's end of a process's debug socket, and what is left to do when nobody answers there.

What `gopark dump` and `gopark ps` share; not a command.
"""

import os
import select
import signal
import socket
import stat
import struct
import time

from gopark.runtime import debug_files
from gopark.runtime.debug_server import GREETING

PATIENCE = 2.0  # s until a process that does not answer is taken for stuck
_SLOW = 60.0  # s that an answer may take once it was promised
_QUIET = 0.25  # s of silence after which faulthandler's report is taken for complete


class AttachError(Exception):
    """The process cannot be looked into; the message says why."""


class Stuck(AttachError):
    """The process accepts the connection but does not answer: its GIL is not to be had."""


class Target:
    """A running process.  AttachError if there is none, if it is another user's, or not a gopark process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.uid = self.check()
        self.dirfd = self.find()

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.dirfd)

    def check(self) -> int:
        try:
            uid = os.stat(f"/proc/{self.pid}").st_uid
        except (OSError, OverflowError):
            raise AttachError(f"no process {self.pid}") from None
        if self.state() in ("Z", "X"):
            raise AttachError(f"process {self.pid} has ended (its parent has not waited for it yet)")
        if os.geteuid() not in (0, uid):
            raise AttachError(
                f"process {self.pid} is another user's: only that user (uid {uid}) and root may look"
            )
        return uid

    def state(self) -> str:
        """The letter of /proc/PID/stat."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as f:
                return f.read().rpartition(b")")[2].split()[0].decode()
        except (OSError, IndexError):
            return "X"

    def find(self) -> int:
        """The directory that has its socket."""
        for path in dict.fromkeys(
            path
            for runtime_dir in (self.runtime_dir(), os.environ.get("XDG_RUNTIME_DIR"))
            for path in debug_files.candidates(self.uid, runtime_dir)
        ):
            try:
                dirfd = debug_files.open_directory(path, self.uid)
            except OSError:
                continue
            try:
                if stat.S_ISSOCK(os.stat(f"{self.pid}.sock", dir_fd=dirfd, follow_symlinks=False).st_mode):
                    return dirfd
            except OSError:
                pass
            os.close(dirfd)
        raise self.not_ours()

    def not_ours(self) -> AttachError:
        return AttachError(
            f"process {self.pid} has no debug socket: it is not a gopark process, or gopark does not run in "
            "it now, or it was started with GOPARK_DEBUG_SOCKET=0"
        )

    def runtime_dir(self) -> str | None:
        # The process's, not ours: it may have been started from elsewhere.
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as f:
                for entry in f.read().split(b"\0"):
                    if entry.startswith(b"XDG_RUNTIME_DIR="):
                        return os.fsdecode(entry.partition(b"=")[2])
        except OSError:
            pass
        return None

    # -- asking ----------------------------------------------------------------------------------------------

    def ask(self, word: str, patience: float = PATIENCE) -> str:
        """The answer to "dump" or "ps".  Stuck if there is none within *patience* seconds."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            try:
                sock.connect(debug_files.within(self.dirfd, f"{self.pid}.sock"))
                peer = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
                if peer != self.pid:
                    raise self.not_ours()  # left behind by a process that had this number before
                sock.sendall(word.encode() + b"\n")
                greeting = sock.recv(len(GREETING), socket.MSG_WAITALL)
                if greeting != GREETING:
                    raise self.gone()
                sock.settimeout(_SLOW)
                with sock.makefile("rb") as stream:
                    length = int(stream.readline() or b"0")
                    body = stream.read(length)
            except (TimeoutError, BlockingIOError):
                raise self.stuck(patience) from None
            except (ConnectionRefusedError, FileNotFoundError):
                raise self.not_ours() from None
            except OSError:
                raise self.gone() from None
        if not body or len(body) < length:
            raise self.gone()
        return body.decode(errors="replace")

    def gone(self) -> AttachError:
        return AttachError(
            f"process {self.pid} broke off the conversation: it has ended, or gopark has in it"
        )

    def stuck(self, patience: float) -> AttachError:
        if self.state() in ("T", "t"):
            return AttachError(
                f"process {self.pid} is stopped (SIGSTOP, or a debugger): it can answer after SIGCONT"
            )
        return Stuck(
            f"process {self.pid} has not answered for {patience:g} s: some C code in it holds the GIL, so "
            "none of its Python code can run, on any thread"
        )

    # -- when nobody answers ---------------------------------------------------------------------------------

    def tracebacks(self) -> str:
        """Every thread's traceback, written by faulthandler in a signal handler, in C: needs no GIL.

        AttachError if that cannot be had."""
        try:
            fd = os.open(f"{self.pid}.trace", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.dirfd)
        except OSError:
            raise AttachError("it has no file for faulthandler's tracebacks either") from None
        with open(fd, "rb") as file:
            try:
                signum = int(file.readline())
            except ValueError:
                raise AttachError("its file for faulthandler's tracebacks cannot be read") from None
            file.seek(0, os.SEEK_END)
            if not self.catches(signum):
                raise AttachError(
                    f"it does not handle signal {signum}, which makes faulthandler write, any more"
                )
            os.kill(self.pid, signum)
            return _until_quiet(file.fileno(), PATIENCE).decode(errors="replace")

    def catches(self, signum: int) -> bool:
        """Does it handle the signal now?  One that it does not handle would kill it."""
        if not int(signal.SIGRTMIN) <= signum <= int(signal.SIGRTMAX):
            return False
        try:
            with open(f"/proc/{self.pid}/status", "rb") as f:
                for line in f:
                    if line.startswith(b"SigCgt:"):
                        return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
        except OSError:
            pass
        return False


def _until_quiet(fd: int, patience: float) -> bytes:
    """What is appended to a file until nothing more is for a moment."""
    out = b""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        more = os.read(fd, 65536)
        if more:
            out += more
            end = time.monotonic() + _QUIET
        else:
            select.select([], [], [], 0.02)  # a file cannot be waited for
    return out


def pid(text: str) -> int:
    """An argument that is a process id."""
    number = int(text)
    if number <= 0:
        raise ValueError
    return number
