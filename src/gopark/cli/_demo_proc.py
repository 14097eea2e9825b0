"""What /proc says of a process."""

import math
import os

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time that all its threads have used, ended ones too; not a number if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()  # its name may contain anything
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / _TICK


def status(pid: int, name: str) -> int:
    """A number of /proc/PID/status, memory in bytes; 0 where it has none (any more)."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(f"{name}:"):
                    _, number, *unit = line.split()
                    return int(number) * (1024 if unit == ["kB"] else 1)
    except OSError:
        pass
    return 0
