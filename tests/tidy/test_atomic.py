"""The rule that marked steps run no foreign code: the package keeps it, and the checker sees every way to break it."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from tidy.atomic import Checker, main

PXD = """
cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport _sys
from gopark.runtime.g cimport Goroutine

cdef int total
cdef list pool

cdef class Box:
    cdef int64_t n
    cdef object value
    cdef Goroutine head
    cdef Box next
    cdef list items
    cdef set members
    cdef dict table
    cdef tuple pair
    cdef str text
    cpdef object step(self, Goroutine gp, Box other, object thing, int k)
    cdef object marked(self, int k)
    cpdef object visible(self)
    cdef object unmarked(self)

cdef object helper()
cdef int count(int k)
"""

PY = """
from typing import Any
from gopark.runtime import _sys, g
from gopark.runtime.g import Goroutine, FatalError

total = 0
pool = []


class Box:
    def marked(self, k: int) -> None:  # atomic
        self.n = k

    def visible(self) -> None:  # atomic
        self.n = 1

    def unmarked(self) -> None:
        print("anything")

    @property
    def size(self) -> int:
        return 1

    def step(self, gp: Goroutine, other: "Box", thing: Any, k: int) -> Any:{mark}
        global total
{body}


def helper() -> None:
    print("anything")


def count(k: int) -> int:  # atomic
    return k + 1


def undeclared() -> None:  # atomic
    pass
"""

G_PXD = "cdef class Goroutine:\n    cdef public object exc\n    cdef readonly int status\n"
G_PY = """
class FatalError(RuntimeError):
    pass


class Goroutine:
    pass
"""
SYS_PXD = "cpdef long thread_ident() noexcept\ncpdef object recv(int fd, Py_ssize_t n)\ncpdef int marked_here(int k)\n"
SYS_PYX = "cpdef int marked_here(int k):  # atomic\n    return k\n"


def tree(tmp_path: Path, source: str, pxd: str | None = PXD) -> Path:
    """A source tree whose module gopark.box is *source*."""
    runtime = tmp_path / "gopark" / "runtime"
    runtime.mkdir(parents=True)
    files = {"g.pxd": G_PXD, "g.py": G_PY, "_sys.pxd": SYS_PXD, "_sys.pyx": SYS_PYX}
    for name, text in files.items():
        (runtime / name).write_text(text)
    (tmp_path / "gopark" / "box.py").write_text(source)
    if pxd is not None:
        (tmp_path / "gopark" / "box.pxd").write_text(pxd)
    return tmp_path


def breaches(tmp_path: Path, body: str, mark: str = "  # atomic") -> list[str]:
    source = PY.format(mark=mark, body=indent(dedent(body), "        "))
    return [breach.what for breach in Checker(tree(tmp_path, source)).breaches]


def test_the_package_keeps_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    status = main([])
    assert status == 0, capsys.readouterr().out


def test_the_package_has_marked_steps() -> None:
    names = Checker(Path(__file__).parents[2] / "src").names
    assert {"gopark.runtime.sema.WaitQ.unlink", "gopark.runtime.g.GList.push"} <= names


@pytest.mark.parametrize(
    "body",
    [
        "self.n = k + 1",
        "self.n += k",
        "total += 1",
        "self.head = gp",
        "self.head = None",
        "gp.exc = None  # was None",
        "self.value = thing  # moved",
        "print(1)  # safe: this is only a test",
        "return gp.exc is None and thing is not None",
        "while self.n > 0:\n    self.n -= 1",
        "for box in self.items:\n    self.n += 1",
        "for i in range(k):\n    other.n = i",
        "i = len(self.items)\nself.items.append(thing)\nreturn i",
        "self.items[0] = thing  # moved",
        "return self.items.pop()",
        "self.members.add(gp)",
        "self.marked(k)",
        "other.marked(count(k))",
        "Box.visible(other)",
        "raise FatalError(f'runtime: {thing} is impossible')",
        "raise g.FatalError('runtime: impossible')",
        "assert self.n > 0, f'{thing}'",
        "return _sys.thread_ident() == k",
        "return _sys.marked_here(k)",
        "if self.items:\n    return self.text\nelif not self.text:\n    return self.pair[k]",
        "found = self.next\nwhile found is not None:\n    found.n = min(k, found.n)\n    found = found.next",
        "self.n, other.n = other.n, self.n",
        "return isinstance(thing, Goroutine) or type(thing) is int",
        "return 1 if self.n == k else (1, 2)",
    ],
)
def test_a_sound_step_passes(tmp_path: Path, body: str) -> None:
    assert breaches(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("helper()", "calls box.helper, which is not marked"),
        ("self.unmarked()", "calls box.Box.unmarked, which is not marked"),
        ("other.visible()", "calls other.visible, which a program's subclass can override"),
        ("undeclared()", "through Python: no .pxd declares it"),
        ("print(1)", "calls print, which is not marked"),
        ("thing()", "calls thing, which is not marked"),
        ("thing.method()", "calls a method of thing, whose class is not known"),
        ("self.value.method(k)", "calls a method of self.value"),
        ("_sys.recv(0, 1)", "calls runtime._sys.recv, which is not marked"),
        ("self.value = None", "overwrites self.value, perhaps the last reference"),
        ("gp.exc = thing", "overwrites gp.exc"),
        ("self.next = other", "overwrites self.next"),
        ("self.items = self.items", "overwrites self.items"),
        ("self.items[k] = thing", "overwrites self.items[k]"),
        ("self.items.clear()", "calls list.clear"),
        ("self.members.add(thing)", "calls set.add"),
        ("return self.table[thing]", "not a number's element"),
        ("return self.items[1:]", "not a number's element"),
        ("self.items.append([])", "allocates what the collector counts"),
        ("return {}", "allocates what the collector counts"),
        ("return [x for x in self.items]", "allocates what the collector counts"),
        ("return (gp, other)", "allocates what the collector counts"),
        ("return lambda: 1", "allocates what the collector counts"),
        ("Goroutine()", "makes a Goroutine: an allocation"),
        ("return f'{thing}'", "formats text"),
        ("return 'a %d' % k", "makes text"),
        ("return thing + thing", "arithmetic with objects of unknown type"),
        ("if thing:\n    pass", "the truth of thing may be asked of its class"),
        ("if not self.next:\n    pass", "the truth of self.next"),
        ("return thing == gp", "may call a class's own comparison"),
        ("return thing in self.items", "may call a class's own comparison"),
        ("return self.size", "self.size is no C field of Box"),
        ("return thing.attribute", "reads an attribute of thing"),
        ("for x in thing:\n    pass", "iterates over thing, which is no typed list"),
        ("for x in self.members:\n    pass", "iterates over self.members"),
        ("with thing:\n    pass", "`with` is not for a step"),
        ("try:\n    pass\nfinally:\n    pass", "`try` is not for a step"),
        ("del thing", "`delete` is not for a step"),
        ("import os", "`import` is not for a step"),
        ("raise ValueError", "raises something else than FatalError"),
        ("yield", "is not for a step"),
        ("return len(thing)", "of a class that is not known"),
        ("return max(thing, thing)", "not known to be numbers"),
        ("return isinstance(thing, self.value)", "may have an __instancecheck__"),
        ("self.marked(*self.pair)", "with an argument list that must be made"),
        ("self.n = k  # moved", "its comment excuses what is no breach"),
        ("while self.n > 0:\n    if k > 0:\n        helper()", "calls box.helper"),
        ("x = self.next\nx = thing\nx.n = 1", "reads an attribute of x"),
    ],
)
def test_what_may_run_foreign_code_is_found(tmp_path: Path, body: str, why: str) -> None:
    found = breaches(tmp_path, body)
    assert any(why in what for what in found), found


def test_a_region_is_read_and_what_is_around_it_is_not(tmp_path: Path) -> None:
    body = """
    print("before")
    if thing:
        # atomic: begin
        self.n = k
        helper()
        # atomic: end
        print("after")
    """
    assert breaches(tmp_path, body, mark="") == ["calls box.helper, which is not marked"]


def test_a_breach_is_told_with_file_line_and_function(tmp_path: Path) -> None:
    source = PY.format(mark="  # atomic", body="        helper()")
    [breach] = Checker(tree(tmp_path, source)).breaches
    line = source.splitlines().index("        helper()") + 1
    assert str(breach) == (
        f"{tmp_path}/gopark/box.py:{line}: Box.step: calls box.helper, which is not marked"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = 1  # atomic\n", "marks nothing"),
        ("def f():\n    # atomic: begin\n    x = 1\n", "do not match"),
        ("def f():\n    # atomic: end\n    # atomic: begin\n    x = 1\n", "do not match"),
        ("# atomic: begin\n", "marks nothing"),
        ("def f():\n    x = 1  # atomic\n", "marks nothing"),
    ],
)
def test_a_mark_that_marks_nothing_is_an_error(tmp_path: Path, source: str, why: str) -> None:
    assert [why in breach.what for breach in Checker(tree(tmp_path, source)).breaches] == [True]


def test_interpreted_modules_have_no_steps(tmp_path: Path) -> None:
    [breach] = Checker(tree(tmp_path, "def f() -> None:  # atomic\n    pass\n", pxd=None)).breaches
    assert "not compiled" in breach.what


def test_an_override_of_a_step_is_a_step(tmp_path: Path) -> None:
    """Calls of a step go to whoever overrides it."""
    source = PY.format(mark="", body="        pass") + (
        "\n\nclass Bag(Box):\n    def marked(self, k: int) -> None:\n        print(k)\n"
    )
    [breach] = Checker(tree(tmp_path, source)).breaches
    assert breach.function == "Bag.marked"
    assert breach.what == "overrides Box.marked, which is atomic, and is not marked"
