"""Where a process that can be looked into leaves its socket: a directory of mode 0700, its user's own.

Both ends use this: debug_server.py makes the files, the commands `gopark dump` and `gopark ps` find them.

    PID.sock    the debug socket
    PID.trace   what faulthandler writes to, and the signal that makes it: for when the GIL is never released

PID is the process's own idea of its id.  Containers that share the directory (one /tmp) may have the same ids: who
finds the name taken by a process that lives adds the number of its PID namespace, PID-NAMESPACE.sock.  That it lives
is known by its socket, which then takes connections; its id means nothing outside its namespace.
"""

import _socket
import fcntl
import os
import re
import stat

where = "none"  # what statistics say of this process's socket; debug_server.py keeps it up to date

_FILE = re.compile(r"([1-9][0-9]{0,9})(?:-([0-9]{1,20}))?\.(sock|trace)")


def candidates(uid: int, runtime_dir: str | None) -> list[str]:
    """The directories that a process of *uid*, with that XDG_RUNTIME_DIR, may use; the first that it can."""
    found = []
    if runtime_dir and os.path.isabs(runtime_dir):
        found.append(os.path.join(runtime_dir, "gopark"))
    found.append(f"/tmp/gopark-{uid}")
    return found


class NotPrivate(PermissionError):
    """The directory's name is taken, by something that others can change: perhaps on purpose, to be told what runs."""


def open_directory(path: str, uid: int) -> int:
    """A descriptor of the directory.  OSError unless it is one, not a link, of that user alone.

    What comes later goes through the descriptor: nobody can put another directory in its place meanwhile."""
    fd = above_standard(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    try:
        st = os.fstat(fd)
        if st.st_uid != uid:
            raise NotPrivate(f"{path} belongs to user {st.st_uid}, not to user {uid}")
        if stat.S_IMODE(st.st_mode) & 0o077:
            raise NotPrivate(
                f"{path} can be entered by others: its mode is {stat.S_IMODE(st.st_mode):o}, not 700"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def why_not(path: str, uid: int) -> str:
    """What is wrong with the directory; "" if nothing is, or if there is none."""
    try:
        os.close(open_directory(path, uid))
    except NotPrivate as e:
        return str(e)
    except FileNotFoundError:
        return ""
    except OSError as e:
        return f"{path} cannot be used: {(e.strerror or str(e)).lower()}"
    return ""


def make_directory(runtime_dir: str | None) -> int:
    """Make (or find) this user's directory and open it.  OSError if there can be none."""
    uid = os.geteuid()
    error: OSError | None = None
    for path in candidates(uid, runtime_dir):
        try:
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
            return open_directory(path, uid)
        except OSError as e:
            # Whoever has taken the place of one is worth more words than that another could not be made.
            if not isinstance(error, NotPrivate):
                error = e
    assert error is not None
    raise error


def within(dirfd: int, name: str) -> str:
    """The path of a file in an open directory, always short enough for a socket's address."""
    return f"/proc/self/fd/{dirfd}/{name}"


def above_standard(fd: int) -> int:
    """*fd*, or another for the same in its place: 0 to 2 are the standard streams', also while those are closed."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def unix_socket() -> _socket.socket:
    """Not socket.socket, which may have been replaced by one that parks, and heeds setdefaulttimeout."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if sock.fileno() < 3:
        sock = _socket.socket(fileno=above_standard(sock.detach()))
    sock.setblocking(False)
    return sock


# -- names, and whose they are -------------------------------------------------------------------------------


def namespace(pid: int | str = "self") -> int:
    """The number of a process's PID namespace; 0: unknown."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def stems(pid: int, space: int) -> tuple[str, str]:
    """The names, without suffix, that a process may have here: the first unless it is taken."""
    return str(pid), f"{pid}-{space}"


def unlink(dirfd: int, name: str) -> None:
    """Remove a file, if that can be."""
    try:
        os.unlink(name, dir_fd=dirfd)
    except OSError:
        pass


def answers(dirfd: int, stem: str) -> bool:
    """Does a process listen on this socket?  (One that is stuck does, too.)"""
    try:
        sock = unix_socket()
    except OSError:
        return True  # cannot be found out: leave it alone
    try:
        sock.connect(within(dirfd, f"{stem}.sock"))
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:  # EAGAIN: its queue is full
        return True
    finally:
        sock.close()
    return True


def remove_stale(dirfd: int, mine: str) -> None:
    """Remove the files of processes that are no more, but not those of *mine*, a stem."""
    try:
        names = os.listdir(dirfd)
    except OSError:
        return
    here = namespace()
    for name in names:
        match = _FILE.fullmatch(name)
        if match is None:
            continue
        stem = name.rpartition(".")[0]
        if stem == mine or ((not match[2] or int(match[2]) == here) and _exists(int(match[1]))):
            continue
        if not answers(dirfd, stem):
            unlink(dirfd, name)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
