"""How many CPUs this process may use: its affinity, and the quota of the control groups that it is in.

A container is given two CPUs of a machine that has a hundred by a quota (cgroups(7): cpu.max, or cpu.cfs_quota_us): the
kernel shows it all hundred, and lets it run for two.
"""

import os
from collections.abc import Callable


def usable() -> int:
    """How many CPUs the process may use at a time, a part of one counted as one; at least 1."""
    affinity = len(os.sched_getaffinity(0))
    counted = getattr(os, "process_cpu_count", None)  # 3.13: -X cpu_count has its say
    return max(1, min(affinity, counted() or affinity if counted else affinity, quota() or affinity))


def quota(proc: str = "/proc/self") -> int | None:
    """The CPUs that control groups leave to this process, rounded up; None: as many as there are.

    A group's limit is also that of all below it, so every group above counts, as far as one can see them."""
    limits: list[float] = []
    try:
        with open(f"{proc}/cgroup", encoding="utf-8", errors="surrogateescape") as f:
            groups = [line.rstrip("\n").split(":", 2) for line in f]
        with open(f"{proc}/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
            mounts = [_mount(line) for line in f]
        for number, controllers, path in groups:
            for kind, options, root, point in mounts:
                if kind == "cgroup2" and number == "0":
                    limits += _limits(path, root, point, _cpu_max)
                elif kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options:
                    limits += _limits(path, root, point, _cfs_quota)
    except (OSError, ValueError, IndexError):
        pass  # no control groups, or none that one may see
    return max(1, -int(-min(limits) // 1)) if limits else None


def _mount(line: str) -> tuple[str, list[str], str, str]:
    # proc(5): ... root, mount point, options, optional fields, "-", type, source, options of the file system
    own, _, system = line.rstrip("\n").partition(" - ")
    fields = own.split(" ")
    kind, _, options = system.split(" ", 2)
    return kind, options.split(","), _unescaped(fields[3]), _unescaped(fields[4])


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _limits(path: str, root: str, point: str, read: Callable[[str], float | None]) -> list[float]:
    """The limits of the group at *path*, of which the mount shows what is below *root*, and of those above it."""
    below = os.path.relpath(path, root)
    if below.startswith(".."):
        below = "."  # another namespace's name for it: what is mounted is all that one can see
    found: list[float] = []
    while True:
        limit = read(os.path.join(point, below))
        if limit is not None:
            found.append(limit)
        if below in (".", ""):
            return found
        below = os.path.dirname(below) or "."


def _cpu_max(group: str) -> float | None:
    text = _read(os.path.join(group, "cpu.max"))
    if text is None:
        return None
    most, period = text.split()
    return None if most == "max" else int(most) / int(period)


def _cfs_quota(group: str) -> float | None:
    most = _read(os.path.join(group, "cpu.cfs_quota_us"))
    period = _read(os.path.join(group, "cpu.cfs_period_us"))
    return None if most is None or period is None or int(most) <= 0 else int(most) / int(period)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as f:
            return f.read()
    except OSError:
        return None  # the root group has no such file
