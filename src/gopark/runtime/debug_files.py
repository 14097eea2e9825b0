"""Where a process that can be looked into leaves its socket: a directory of mode 0700, its user's own.

Both ends use this: debug_server.py makes the files, the commands `gopark dump` and `gopark ps` find them.

    PID.sock    the debug socket
    PID.trace   what faulthandler writes to, and the signal that makes it: for when the GIL is never released
"""

import os
import stat


def candidates(uid: int, runtime_dir: str | None) -> list[str]:
    """The directories that a process of *uid*, with that XDG_RUNTIME_DIR, may use; the first that it can."""
    found = []
    if runtime_dir and os.path.isabs(runtime_dir):
        found.append(os.path.join(runtime_dir, "gopark"))
    found.append(f"/tmp/gopark-{uid}")
    return found


def open_directory(path: str, uid: int) -> int:
    """A descriptor of the directory.  OSError unless it is one, not a link, of that user alone.

    What comes later goes through the descriptor: nobody can put another directory in its place meanwhile."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        st = os.fstat(fd)
        if st.st_uid != uid or stat.S_IMODE(st.st_mode) & 0o077:
            raise PermissionError(f"{path} is not a private directory of user {uid}")
    except BaseException:
        os.close(fd)
        raise
    return fd


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
            error = e
    assert error is not None
    raise error


def within(dirfd: int, name: str) -> str:
    """The path of a file in an open directory, always short enough for a socket's address."""
    return f"/proc/self/fd/{dirfd}/{name}"
