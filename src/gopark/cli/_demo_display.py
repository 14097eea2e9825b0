"""What `gopark demo` shows: a table updated in place on a terminal, plain lines elsewhere; tables.

Text only: nothing here measures.  ASCII, and no ANSI codes but "cursor up" and "erase", so that whatever
interrupts it leaves the terminal as it was.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

_LINE_SECONDS = 1.0  # between two plain lines
_WIDTH = 79  # of what must not depend on the terminal
_UP = "\x1b[{}A"
_ERASE_BELOW = "\x1b[J"

Cells = dict[str, str]  # title to text, in the order in which they are shown


class Live:
    """The numbers of what runs now: begin(title), show(...) as often as there is news, end(line)."""

    def __init__(self, plain: bool) -> None:
        self.plain = plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb"
        self._title = ""
        self._drawn = 0  # lines of the table, above the cursor
        self._last: float | None = None  # when the last plain line was written; None: the titles were not yet

    def begin(self, title: str) -> None:
        self._title = title
        self._last = None
        if self.plain:
            self._write(f"{title}\n")
        else:
            self._draw([title])

    def show(self, now: float, cells: Cells) -> None:
        """*now*, in seconds, keeps plain lines from coming too often."""
        if self.plain:
            self._line(now, cells)
        else:
            names = max(map(len, cells))
            self._draw([self._title, *(f"  {name:{names}}  {text:>14}" for name, text in cells.items())])

    def end(self, line: str) -> None:
        """*line* takes the place of the table."""
        self._write(f"{self._clearing()}{line}\n")
        self._drawn = 0

    def _draw(self, lines: list[str]) -> None:
        width, height = shutil.get_terminal_size()
        # A line that wraps or scrolls would make "cursor up" miss.
        lines = [line[: width - 1] for line in lines][: max(1, height - 1)]
        self._write(self._clearing() + "".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)

    def _clearing(self) -> str:
        return _UP.format(self._drawn) + _ERASE_BELOW if self._drawn else ""

    def _line(self, now: float, cells: Cells) -> None:
        if self._last is not None and now - self._last < _LINE_SECONDS:
            return
        rows = [cells.values()] if self._last is not None else [cells, cells.values()]
        self._last = now
        for row in rows:
            texts = (f"{text:>{max(len(name), 9)}}" for name, text in zip(cells, row, strict=True))
            self._write("  ".join(texts) + "\n")

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the first being the titles; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [
            f"{first:{widths[0]}}",
            *(f"{text:>{w}}" for text, w in zip(others, widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def duration(seconds: float) -> str:
    """Three digits, in the unit that suits it."""
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def megabytes(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"
