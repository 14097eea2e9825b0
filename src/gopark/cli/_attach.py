"""The client's end of a process's debug socket, and what is left to do when nobody answers there.

What `gopark dump` and `gopark ps` share; not a command.

Whatever the process says is taken for what anybody could say: lengths are limited, times too, and what is printed is
escaped (see SECURITY.md).
"""

import os
import select
import signal
import socket
import stat
import struct
import sys
import time

from gopark.runtime import debug_files
from gopark.runtime.debug_server import GREETING
from gopark.runtime.output import printable

PATIENCE = 2.0  # s until a process that does not answer is taken for stuck
MOST = 1 << 28  # bytes that an answer may have
_SLOW = 120.0  # s that an answer may take once it was promised
_QUIET = 0.25  # s of silence after which faulthandler's report is taken for complete
_REPORT = 1 << 22  # bytes that such a report may have


class AttachError(Exception):
    """The process cannot be looked into; the message says why."""


class Stuck(AttachError):
    """The process accepts the connection but does not answer: its GIL is not to be had."""


def show(text: str) -> None:
    """Print what came from a process: lines and tabs as they are, everything else that is no text escaped."""
    lines = ("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
    data = "\n".join(lines).encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough (`gopark ps PID | head`); nothing is to be flushed into that pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Target:
    """A running process.  AttachError if there is none, if it is another user's, or not a gopark process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.uid = self.check()
        self.dirfd = -1  # the directory of its files, and their name without suffix
        self.stem = ""
        self.opened: list[int] = []
        self.pidfd = self.open_process()
        self.wrong: list[str] = []  # directories that should have had its socket, and what is wrong with them
        try:
            self.places = self.find()
            self.dirfd, self.stem = self.places[0]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        while self.opened:
            os.close(self.opened.pop())

    def open_process(self) -> int | None:
        """So that no signal goes to another that gets the number.  None where the kernel has no such thing."""
        try:
            self.opened.append(os.pidfd_open(self.pid))
        except OSError:
            return None
        return self.opened[-1]

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

    def status(self, field: bytes) -> bytes:
        """A line of /proc/PID/status; nothing if it has none."""
        try:
            with open(f"/proc/{self.pid}/status", "rb") as f:
                for line in f:
                    if line.startswith(field + b":"):
                        return line.partition(b":")[2].strip()
        except OSError:
            pass
        return b""

    # -- its files -------------------------------------------------------------------------------------------

    def find(self) -> list[tuple[int, str]]:
        """Where its socket may be: an open directory and the name without suffix, at least one."""
        names = dict.fromkeys(
            stem
            for pid in (self.pid, *map(int, self.status(b"NSpid").split()[-1:]))
            for stem in debug_files.stems(pid, debug_files.namespace(self.pid))
        )
        found = []
        # Root also looks where a process has left it that was root's when it began.
        for uid in dict.fromkeys((self.uid, os.geteuid())):
            for path in dict.fromkeys(
                path
                for runtime_dir in (self.runtime_dir(), os.environ.get("XDG_RUNTIME_DIR"))
                for path in debug_files.candidates(uid, runtime_dir)
            ):
                try:
                    dirfd = debug_files.open_directory(path, uid)
                except OSError:
                    wrong = debug_files.why_not(path, uid)
                    if wrong and uid == self.uid:
                        self.wrong.append(wrong)
                    continue
                self.opened.append(dirfd)
                found += [(dirfd, stem) for stem in names if _is_socket(dirfd, stem)]
        if not found:
            raise self.not_ours()
        return found

    def not_ours(self) -> AttachError:
        why = "".join(f"; {printable(wrong)}, so it makes none there" for wrong in dict.fromkeys(self.wrong))
        return AttachError(
            f"process {self.pid} has no debug socket: it is not a gopark process, or gopark does not run in "
            f"it now, or it was started with GOPARK_DEBUG_SOCKET=0{why}"
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

    def connect(self, patience: float) -> socket.socket:
        """A connection to the process itself, and to none that had, or in its namespace has, the same number."""
        for dirfd, stem in self.places:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(patience)
                sock.connect(debug_files.within(dirfd, f"{stem}.sock"))
                peer = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
                if peer == self.pid:
                    self.dirfd, self.stem = dirfd, stem
                    return sock
            except (ConnectionRefusedError, FileNotFoundError):
                pass
            except (TimeoutError, BlockingIOError):
                sock.close()
                raise self.stuck(patience) from None
            except OSError as e:
                sock.close()
                raise AttachError(
                    f"the debug socket of process {self.pid} cannot be reached: {(e.strerror or str(e)).lower()}"
                ) from None
            sock.close()
        raise self.not_ours()

    def ask(self, word: str, patience: float = PATIENCE) -> str:
        """The answer to "dump", "ps" or "stats".  Stuck if there is none within *patience* seconds."""
        with self.connect(patience) as sock:
            try:
                sock.sendall(word.encode() + b"\n")
                greeting = sock.recv(len(GREETING), socket.MSG_WAITALL)
            except (TimeoutError, BlockingIOError):
                raise self.stuck(patience) from None
            except OSError:
                raise self.gone() from None
            if not greeting:
                raise self.gone()
            if greeting != GREETING:
                raise self.garbled()
            try:
                return self.receive(sock, time.monotonic() + _SLOW).decode(errors="replace")
            except TimeoutError:
                raise AttachError(
                    f"process {self.pid} has begun to answer, but has not come to the end within {_SLOW:g} s"
                ) from None
            except OSError:
                raise self.gone() from None

    def receive(self, sock: socket.socket, end: float) -> bytes:
        """A length, a newline, and so many bytes."""

        def more(most: int) -> bytes:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            data = sock.recv(most)
            if not data:
                raise self.gone()
            return data

        head = b""
        while b"\n" not in head and len(head) <= 20:
            head += more(64)
        digits, newline, rest = head.partition(b"\n")
        if not newline or not digits.isdigit() or len(digits) > 20 or int(digits) == 0:
            raise self.garbled()
        length = int(digits)
        if length > MOST:
            raise AttachError(
                f"process {self.pid} announces an answer of {length} bytes: more than the {MOST} that are taken"
            )
        body = bytearray(rest)
        while len(body) < length:
            body += more(min(1 << 20, length - len(body)))
        return bytes(body[:length])

    def gone(self) -> AttachError:
        return AttachError(
            f"process {self.pid} broke off the conversation: it has ended, or gopark has in it"
        )

    def garbled(self) -> AttachError:
        return AttachError(
            f"process {self.pid} gave an answer that is none: its debug socket is not gopark's, or one of another version"
        )

    def stuck(self, patience: float) -> AttachError:
        if self.state() in ("T", "t"):
            return AttachError(
                f"process {self.pid} is stopped (SIGSTOP, or a debugger): it can answer after SIGCONT"
            )
        free = self.descriptors_free()
        if free is not None and free <= 0:
            return AttachError(
                f"process {self.pid} has not answered for {patience:g} s: it has used up the file descriptors that it may "
                "have (ulimit -n), and needs one for that"
            )
        return Stuck(
            f"process {self.pid} has not answered for {patience:g} s: most likely some C code in it holds the GIL, so "
            "none of its Python code can run, on any thread"
        )

    def descriptors_free(self) -> int | None:
        """How many more files it may open; None: unknown."""
        try:
            used = len(os.listdir(f"/proc/{self.pid}/fd"))
            with open(f"/proc/{self.pid}/limits", "rb") as f:
                for line in f:
                    if line.startswith(b"Max open files"):
                        return int(line.split()[3]) - used
        except (OSError, ValueError, IndexError):
            pass
        return None

    # -- when nobody answers ---------------------------------------------------------------------------------

    def tracebacks(self) -> str:
        """Every thread's traceback, written by faulthandler in a signal handler, in C: needs no GIL.

        AttachError if that cannot be had."""
        # Not blocking: what lies there under the name may be a FIFO.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(f"{self.stem}.trace", flags, dir_fd=self.dirfd)
        except OSError:
            raise AttachError("it has no file for faulthandler's tracebacks either") from None
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode) or seen.st_uid not in (self.uid, os.geteuid()):
                raise AttachError(
                    f"what should be its file for faulthandler's tracebacks, {self.stem}.trace, is none of its own"
                )
            digits = os.read(fd, 16).partition(b"\n")[0]
            if not digits.isdigit():
                raise AttachError("its file for faulthandler's tracebacks cannot be read")
            os.lseek(fd, 0, os.SEEK_END)
            self.kick(int(digits))
            return _until_quiet(fd, PATIENCE).decode(errors="replace")
        finally:
            os.close(fd)

    def kick(self, signum: int) -> None:
        """Send the signal, unless it would end the process: which one that it does not handle does."""
        if not int(signal.SIGRTMIN) <= signum <= int(signal.SIGRTMAX) or not self.catches(signum):
            raise AttachError(f"it does not handle signal {signum}, which makes faulthandler write, any more")
        try:
            if self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, signum)
            else:
                os.kill(self.pid, signum)
        except ProcessLookupError:
            raise self.gone() from None

    def catches(self, signum: int) -> bool:
        try:
            return bool(int(self.status(b"SigCgt"), 16) >> (signum - 1) & 1)
        except ValueError:
            return False


def _is_socket(dirfd: int, stem: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(f"{stem}.sock", dir_fd=dirfd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _until_quiet(fd: int, patience: float) -> bytes:
    """What is appended to a file until nothing more is for a moment; not for ever, and not without limit."""
    out = bytearray()
    last = time.monotonic() + 5 * patience
    end = time.monotonic() + patience
    while time.monotonic() < min(end, last) and len(out) < _REPORT:
        more = os.read(fd, 65536)
        if more:
            out += more
            end = time.monotonic() + _QUIET
        else:
            select.select([], [], [], 0.02)  # a file cannot be waited for
    return bytes(out)


def pid(text: str) -> int:
    """An argument that is a process id."""
    number = int(text)
    if number <= 0:
        raise ValueError
    return number
