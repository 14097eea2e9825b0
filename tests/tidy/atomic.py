"""Reads the functions that are marked `# atomic` and says where one of them could run foreign code.

Most bugs of a scheduler in Python have one cause: between a look and the act that relies on it something else runs (a
finalizer, the garbage collector, a signal handler, an overridden method, a warning's hook).  Compiled code that holds the GIL
and calls none of these is one step.  A function that must be such a step says so at the end of its header's last line, a
part of one with two comment lines:

    def unlink(self, gp: Goroutine) -> None:  # atomic

    # atomic: begin
    ...
    # atomic: end

What a marked step may do:

- read and write C fields (attributes that the .pxd declares), local variables, elements of lists; arithmetic; `is`;
- call other marked functions and methods that a .pxd declares, the system calls in C_ONLY, len(), min() and a few more;
- raise FatalError, and assert.

What it may not, because a program's code may run in it: call anything else; allocate what the collector counts (displays,
comprehensions, instances); format text; `with`, `try`, `del`, `yield`, `import`; compare or test objects of unknown type; and
overwrite what may be the last reference to a program's object.  Of that last one the author can know more.  A comment on the
same line says so, for whoever reviews it:

    self.heap = keep  # moved        the old value lives on elsewhere (a local, a list), and is dropped after the step
    gp.parklock = lock  # was None   there is no old value
    anything()  # safe: why          any other exception from the rules, with its reason

What this cannot prove: that local variables are not the last reference when the function returns (move what the step drops
to whoever called it); that objects of the classes in KEPT are indeed kept; and anything of the interpreted core, where every
bytecode is a place at which signal handlers and other threads run.

`python -m tidy.atomic`, in the folder tests (`make check` runs it), prints `file:line: function: what` for each breach.
"""

import ast
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .step import Marked, Step, last
from .typed import Class, Module, World

# -- reviewed lists: a line here is a claim about code that this file does not read ------------------------------------

# Functions of _sys that are plain C: no Python object is made that the collector counts, none is called, the GIL is kept.
# (Those marked `# atomic` in _sys.pyx itself need no line here.)
C_ONLY = {
    "nanotime",
    "coarsetime",
    "coarseres",
    "thread_ident",
    "epoll_create1",
    "epoll_ctl",
    "eventfd",
    "eventfd_write",
    "eventfd_drain",
    "connect_error",
    "has_peer",
    "set_nonblock",
    "getcurrent",
    "is_current",
    "track",
    "untrack",
    "headroom",
    "sysmon_tick",
    "sysmon_blocking",
    "sysmon_resumed",
    "sysmon_take_request",
    "EventBuffer.mask",
    "EventBuffer.data",
}

# Classes whose objects something else keeps alive while any structure links to them, and fields that hold nothing else:
# overwriting one frees nothing.
KEPT = {
    "gopark.runtime.g.Goroutine": "P.allgs, until it has ended; it is unlinked from everything by then",
    "gopark.runtime.polldesc.PollDesc": "never freed",
    "gopark.runtime.polldesc.PollDesc.rg": "None, PD_READY, PD_WAIT or a Goroutine",
    "gopark.runtime.polldesc.PollDesc.wg": "the same",
    "gopark.runtime.chan.Sudog": "the frame, or the Selection, of who waits",
    "gopark.runtime.chan.SudogQ": "its Chan, for ever",
    "gopark.runtime.blocking.Call": "the frame of who waits for it, and unlinks it; or of its thread",
    "gopark.runtime.blocking.Worker": "the frame of its thread",
    "gopark.runtime.blocking.Gate": "the module or the File that owns it, and the frames of who waits there",
    "gopark.runtime.blocking.Pool": "its threads' frames, and the module",
}

# Classes whose objects the runtime makes itself, so that no program's subclass can override a method that Python can see
# (cpdef).  Other classes' methods must be cdef, or called by the class's name.
OURS = {
    "gopark.runtime.g.GList",
    "gopark.runtime.p.P",
    "gopark.runtime.poller.Poller",
    "gopark.runtime.sema.WaitQ",
    "gopark.runtime.timers.TimerHeap",
    "gopark.poll.fd_mutex.FDMutex",
}

MARK = re.compile(r"#\s*atomic\s*(?:$|#)")
BEGIN = re.compile(r"^#\s*atomic: begin\b")
END = re.compile(r"^#\s*atomic: end\b")
PYX_MARK = re.compile(r"^\s*(?:cpdef|cdef)\b.*?(\w+)\(.*:\s*#\s*atomic\s*$")


@dataclass(frozen=True)
class Breach:
    path: Path
    line: int
    function: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.function}: {self.what}"


class Checker:
    """Everything that is marked in a source tree, and what is wrong with it."""

    def __init__(self, source: Path) -> None:
        self.world = World(source)
        self.breaches: list[Breach] = []
        self.marked: list[Marked] = []
        self.names: set[str] = set()  # full names of the functions that are marked as a whole
        for module in self.world.modules.values():
            if module.path.suffix == ".py":
                self._find(module)
            else:
                parts = [module.path, *module.path.parent.glob(f"{module.path.stem}*.pxi")]
                lines = [line for part in parts for line in part.read_text().splitlines()]
                found = filter(None, map(PYX_MARK.match, lines))
                self.names |= {f"{module.name}.{match[1]}" for match in found}
        self._overrides()
        for marked in self.marked:
            report = functools.partial(self._report, marked)
            if marked.module.compiled:
                Step(self.world, marked, self.allowed, KEPT, OURS, report).check()
            else:
                report(marked.node, "in a module that is not compiled nothing is atomic")

    def allowed(self, full: str) -> bool:
        """May a step call the function or method of this full name?"""
        home, _, name = full.partition("._sys.")
        return full in self.names or (home == "gopark.runtime" and name in C_ONLY)

    def _report(self, marked: Marked, node: ast.AST, what: str) -> None:
        line: int = getattr(node, "lineno", marked.node.lineno)
        self.breaches.append(Breach(marked.module.path, line, marked.name, what))

    def _find(self, module: Module) -> None:
        """The marks of a file; each must belong to a function."""
        used: set[int] = set()
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef):
                self._mark(module, None, node, used)
            elif isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef):
                        self._mark(module, module.classes[node.name], item, used)
        for line, comment in module.comments.items():
            if line not in used and any(p.search(comment) for p in (MARK, BEGIN, END)):
                self.breaches.append(Breach(module.path, line, "-", f"marks nothing: {comment}"))

    def _mark(self, module: Module, cls: Class | None, node: ast.FunctionDef, used: set[int]) -> None:
        header = range(node.lineno, max(node.lineno + 1, node.body[0].lineno))
        mark = [n for n in header if MARK.search(module.comments.get(n, ""))]
        end = node.end_lineno or node.lineno
        while end + 1 in module.comments:  # those that end the function
            end += 1
        lines = range(node.lineno, end + 1)
        begins = [n for n in lines if BEGIN.search(module.comments.get(n, ""))]
        ends = [n for n in lines if END.search(module.comments.get(n, ""))]
        used.update(mark, begins, ends)
        marked = Marked(module, cls, node, bool(mark), list(zip(begins, ends, strict=False)))
        if len(begins) != len(ends) or any(begin > end for begin, end in marked.regions):
            self._report(marked, node, "`# atomic: begin` and `# atomic: end` do not match")
        if mark:
            self.names.add(f"{cls.name if cls else module.name}.{node.name}")
        if mark or begins:
            self.marked.append(marked)

    def _overrides(self) -> None:
        """Who overrides a marked method is called in its place, and must be marked, too."""
        for module in self.world.modules.values():
            for cls in module.classes.values():
                for name, method in cls.methods.items():
                    for base in list(self.world.lineage(cls))[1:]:
                        if f"{base.name}.{name}" in self.names and f"{cls.name}.{name}" not in self.names:
                            what = f"overrides {last(base.name)}.{name}, which is atomic, and is not marked"
                            function = f"{last(cls.name)}.{name}"
                            self.breaches.append(Breach(module.path, method.line, function, what))


def main(arguments: list[str]) -> int:
    source = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2] / "src"
    checker = Checker(source)
    for breach in sorted(checker.breaches, key=lambda b: (b.path, b.line)):
        print(breach)
    regions = sum(len(step.regions) for step in checker.marked)
    print(f"atomic: {len(checker.names)} functions and {regions} regions, {len(checker.breaches)} breaches")
    return 1 if checker.breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
