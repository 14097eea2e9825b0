"""What the compiler knows of the package: types of attributes, arguments and variables, read from the .pxd files.

For the checkers of this folder.  What the rules are lives there; here is only what is declared where.

A type is a string: "int" (every C integer), "float", a builtin ("list", "dict", "str", ...), "object", "None", a class of
the package by its full name ("gopark.runtime.g.Goroutine"), and for names "module M", "class C", "function F".
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

C_NUMBERS = {
    "double": "float",
    "float": "float",
    "char": "int",
    "bint": "int",
    "int": "int",
    "long": "int",
} | {
    "Py_ssize_t": "int",
    "size_t": "int",
    "short": "int",
    "unsigned": "int",
}
BUILTINS = {"list", "tuple", "dict", "set", "str", "bytes", "bytearray", "object", "type"}

_DECLARATION = re.compile(r"(cdef|cpdef)\s+(?P<rest>.*)")
_CLASS = re.compile(r"cdef class (\w+)(?:\((.*)\))?:")
_FUNCTION = re.compile(r"(?:inline )?(?:(?P<ret>[\w ]+?)\s+)?(?P<name>\w+)\((?P<args>.*)\)")
_VARIABLE = re.compile(r"(?:(?:readonly|public)\s+)?(?P<type>[\w ]+?)\s+(?P<name>\w+)(?:\[.*\])?$")
_LOCALS = re.compile(r"@cython\.locals\((.*)\)")
_FROM = re.compile(r"from ([\w.]+) c?import (.*)")


@dataclass
class Function:
    """A function or method, as the .pxd declares it (or, with kind "def", as only the .py knows it)."""

    name: str
    kind: str  # cdef, cpdef or def
    returns: str = "object"
    types: dict[str, str] = field(default_factory=dict)  # of arguments and local variables
    line: int = 1  # in the .py


@dataclass
class Class:
    name: str  # full
    bases: list[str] = field(default_factory=list)  # full names, where they are the package's
    attributes: dict[str, str] = field(default_factory=dict)
    methods: dict[str, Function] = field(default_factory=dict)
    extension: bool = False  # a .pxd declares it: its attributes are C fields


@dataclass
class Module:
    name: str
    path: Path
    tree: ast.Module
    compiled: bool = False
    comments: dict[int, str] = field(default_factory=dict)  # by line
    classes: dict[str, Class] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # globals and imports: name -> type


class World:
    """All modules of a source tree."""

    def __init__(self, source: Path) -> None:
        self.modules: dict[str, Module] = {}
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text()
            module = Module(name, path, ast.parse(text), path.with_suffix(".pxd").exists())
            tokens = tokenize.generate_tokens(io.StringIO(text).readline)
            module.comments = {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}
            self.modules[name] = module
        for path in sorted(source.rglob("*.pyx")):  # of these only what the .pxd says
            if not path.with_suffix(".pxd").exists():
                continue
            name = ".".join(path.relative_to(source).with_suffix("").parts)
            self.modules[name] = Module(name, path, ast.parse(""), True)
        for module in self.modules.values():
            self._python_names(module)
        for module in self.modules.values():
            if module.compiled:
                self._declarations(module)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _python_names(self, module: Module) -> None:
        """What the .py itself says: its classes and functions, and what it imports."""
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                cls = module.classes[node.name] = Class(f"{module.name}.{node.name}")
                cls.bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                for item in node.body:
                    if isinstance(item, ast.FunctionDef):
                        cls.methods[item.name] = Function(item.name, "def", line=item.lineno)
                module.names[node.name] = f"class {cls.name}"
            elif isinstance(node, ast.FunctionDef):
                module.functions[node.name] = Function(node.name, "def", line=node.lineno)
                module.names[node.name] = f"function {module.name}.{node.name}"
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.UnaryOp):
                literal = node.value.operand if isinstance(node.value, ast.UnaryOp) else node.value
                if isinstance(literal, ast.Constant) and isinstance(literal.value, int):
                    module.names |= {t.id: "int" for t in node.targets if isinstance(t, ast.Name)}
        for child in ast.walk(module.tree):
            if isinstance(child, ast.ImportFrom) and child.module:
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    kind = "module" if full in self.modules else "name"
                    module.names[alias.asname or alias.name] = f"{kind} {full}"
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    module.names[alias.asname or alias.name] = f"module {alias.name}"

    def _declarations(self, module: Module) -> None:
        cls: Class | None = None
        local: dict[str, str] = {}
        scope = dict(module.names)
        for indent, line in logical_lines(module.path.with_suffix(".pxd").read_text()):
            if match := _FROM.match(line):
                for item in match[2].split(","):
                    name, _, alias = item.strip().partition(" as ")
                    full = f"{match[1]}.{name}"
                    scope[alias or name] = f"{'module' if full in self.modules else 'name'} {full}"
                continue
            if indent == 0:
                cls = None
            if match := _LOCALS.match(line):
                pairs = (pair.partition("=") for pair in match[1].split(","))
                local |= {name.strip(): self._type(kind, scope) for name, _, kind in pairs}
            elif match := _CLASS.match(line):
                cls = module.classes.setdefault(match[1], Class(f"{module.name}.{match[1]}"))
                cls.extension = True
                module.names[match[1]] = scope[match[1]] = f"class {cls.name}"
            elif match := _DECLARATION.match(line):
                self._declared(module, cls, match[1], match["rest"], local, scope)
                local = {}

    def _declared(
        self,
        module: Module,
        cls: Class | None,
        kind: str,
        rest: str,
        local: dict[str, str],
        scope: dict[str, str],
    ) -> None:
        functions = cls.methods if cls else module.functions
        if match := _FUNCTION.match(rest):
            function = functions.setdefault(match["name"], Function(match["name"], kind))
            function.kind = kind
            function.returns = self._type(match["ret"] or "object", scope)
            function.types = dict(local)
            for argument in match["args"].split(","):
                words = argument.partition("=")[0].split()
                if len(words) > 1:
                    function.types[words[-1]] = self._type(" ".join(words[:-1]), scope)
            if cls is None:
                module.names[function.name] = f"function {module.name}.{function.name}"
        elif match := _VARIABLE.match(rest):
            (cls.attributes if cls else module.names)[match["name"]] = self._type(match["type"], scope)

    def _type(self, text: str, scope: dict[str, str]) -> str:
        words = text.split()
        last = words[-1] if words else "object"
        if last in C_NUMBERS or last.endswith("_t"):
            return C_NUMBERS.get(last, "int")
        if last in BUILTINS:
            return last
        found = scope.get(last, "")
        if found.startswith(("class ", "name ")):
            return found.partition(" ")[2]
        return "object"

    # -- asking --------------------------------------------------------------------------------------------------------

    def cls(self, full: str) -> Class | None:
        module, _, name = full.rpartition(".")
        found = self.modules.get(module)
        return found.classes.get(name) if found else None

    def resolve(self, name: str, module: Module) -> str:
        """What *name* is in *module*, imported names followed to where they are defined; "" if that is not known."""
        kind = module.names.get(name, "")
        while kind.startswith("name "):
            home, _, last = kind[5:].rpartition(".")
            if home not in self.modules:
                return kind
            kind = self.modules[home].names.get(last, "")
        return kind

    def lineage(self, cls: Class) -> Iterator[Class]:
        """*cls* and the package's classes that it inherits from, nearest first."""
        yield cls
        home = self.modules[cls.name.rpartition(".")[0]]
        for base in cls.bases:
            kind = self.resolve(base, home)
            found = self.cls(kind[6:]) if kind.startswith("class ") else None
            if found is not None:
                yield from self.lineage(found)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(indentation, line) with brackets joined and comments gone."""
    pending = ""
    for raw in text.splitlines():
        line = raw.partition("#")[0].rstrip()
        pending = f"{pending} {line.strip()}" if pending else line
        if pending.count("(") > pending.count(")"):
            continue
        if pending.strip():
            yield len(pending) - len(pending.lstrip()), pending.strip()
        pending = ""
