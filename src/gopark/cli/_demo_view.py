"""From what the client and the server of `gopark demo` report to the numbers shown while they run."""

import time
from collections import deque
from typing import Any

from gopark.cli import _demo_proc
from gopark.cli._demo_display import Cells, megabytes, percent

Report = dict[str, Any]
POLLER = ("goroutines", "netpoll waiters", "netpoll calls/s", "events per call")
_SPAN = 1.0  # s over which rates are taken


class Recent:
    """The reports of the last second; each says with "at" when it was made."""

    def __init__(self) -> None:
        self._reports: deque[Report] = deque()

    def add(self, report: Report) -> None:
        self._reports.append(report)
        while report["at"] - self._reports[0]["at"] > _SPAN and len(self._reports) > 2:
            self._reports.popleft()

    def rate(self, name: str, per: str = "at") -> float | None:
        """How fast *name* grows, by the second or for each *per*; None before that can be known."""
        if not self._reports:
            return None
        first, last = self._reports[0], self._reports[-1]
        grown = last[per] - first[per]
        return (last[name] - first[name]) / grown if grown else None


class View:
    """*poller*: the server reports gopark's statistics."""

    def __init__(self, pid: int, poller: bool) -> None:
        self.pid = pid  # the server's
        self.note = ""  # what the server had to say in words
        self.measured: Cells = {}  # the poller's numbers, last seen while measuring
        self._poller = dict.fromkeys(POLLER, "-") if poller else {}
        self._began = time.monotonic()
        self._server = Recent()
        self._client = Recent()
        self._cpu = Recent()

    def heard(self, told: Report) -> None:
        """The server has reported."""
        self.note = told.get("note", self.note)
        if self._poller and "polls" in told:
            self._server.add(told)
            self._poller = {
                "goroutines": f"{told['goroutines']:,}",
                "netpoll waiters": f"{told['waiters']:,}",
                "netpoll calls/s": number(self._server.rate("polls")),
                "events per call": number(self._server.rate("events", "polls"), 1),
            }

    def cells(self, told: Report) -> Cells:
        """The client has reported: what to show."""
        self._client.add(told)
        now = time.monotonic()
        self._cpu.add({"at": now, "cpu": _demo_proc.cpu_seconds(self.pid)})
        if told["phase"] == "measuring":
            self.measured = self._poller
        return {
            "time": f"{now - self._began:.1f} s",
            "phase": told["phase"],
            "connections": f"{told['connections']:,}",
            "messages/s": number(self._client.rate("messages")),
            **self._poller,
            "OS threads": number(_demo_proc.status(self.pid, "Threads")),
            "server CPU": percent(self._cpu.rate("cpu") or 0.0),
            "memory": megabytes(_demo_proc.status(self.pid, "VmRSS")),
        }


def number(n: float | None, digits: int = 0) -> str:
    return "-" if n is None else f"{n:,.{digits}f}"
