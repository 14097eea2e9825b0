"""One marked function, statement by statement: may foreign code run in it?  The rules are told in atomic.py."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .typed import Class, Function, Module, World

PLAIN = {"int", "float", "str", "bytes", "None"}  # freeing one runs nothing
SIZED = {"list", "tuple", "dict", "set", "str", "bytes"}
STATED = re.compile(r"#\s*(?:moved\b|was None\b|safe: \S)")


@dataclass
class Marked:
    """A marked function, or a function with marked regions."""

    module: Module
    cls: Class | None
    node: ast.FunctionDef
    whole: bool
    regions: list[tuple[int, int]]  # lines

    @property
    def name(self) -> str:
        return f"{last(self.cls.name)}.{self.node.name}" if self.cls else self.node.name


class Step:
    """One marked function: its statements, and the types of what they use."""

    def __init__(
        self,
        world: World,
        marked: Marked,
        allowed: Callable[[str], bool],  # may a step call the function of this full name?
        kept: Iterable[str],  # classes and fields: what loses such a link does not end
        ours: Iterable[str],  # classes that no program has a subclass of
        report: Callable[[ast.AST, str], None],
    ) -> None:
        self.world = world
        self.marked = marked
        self.module = marked.module
        self.comments = marked.module.comments
        self.allowed = allowed
        self.kept = kept
        self.ours = ours
        self.report = report
        self.current: list[tuple[ast.AST, str]] = []  # breaches of the statement that is being read
        self.quiet = True
        self.globals: set[str] = set()
        self.types = self._types()
        self.quiet = False

    def _types(self) -> dict[str, str]:
        """Local variables: as declared; the others by what is assigned, as the compiler infers them."""
        node = self.marked.node
        functions = self.marked.cls.methods if self.marked.cls else self.module.functions
        declared = functions.get(node.name) or Function(node.name, "def")
        types = dict(declared.types)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in arguments:
            numbers = isinstance(argument.annotation, ast.Name) and argument.annotation.id in ("int", "bool")
            types.setdefault(argument.arg, "int" if numbers else "object")
        if self.marked.cls and arguments:
            types[arguments[0].arg] = self.marked.cls.name
        self.types = types
        found: dict[str, str] = {}
        for child in ast.walk(node):
            if isinstance(child, ast.Global):
                self.globals.update(child.names)
        for target, value in assignments(node):
            if target in declared.types or target in self.globals:
                continue
            kind = self.value(value) if value is not None else "object"
            before = found.get(target)
            if before is None or before == "None":
                found[target] = kind
            elif kind not in (before, "None"):
                found[target] = "object"
            types[target] = found[target]
        return types

    def breach(self, node: ast.AST, what: str) -> str:
        if not self.quiet:
            self.current.append((node, what))
        return "object"

    # -- statements ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        if self.marked.whole:
            self.block(self.marked.node.body)
            return
        for begin, end in self.marked.regions:
            for statement in outermost(self.marked.node, begin, end):
                self.block([statement])

    def block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self.current = []
            bodies = self.statement(statement)
            self._settle(statement, bool(bodies))
            for inner in bodies:
                self.block(inner)

    def _settle(self, statement: Any, compound: bool) -> None:
        """Report what was found in *statement*, unless its comment states why it is right."""
        end = statement.end_lineno or statement.lineno
        if compound:
            end = max(statement.lineno, statement.body[0].lineno - 1)
        lines = range(statement.lineno, end + 1)
        stated = any(STATED.search(self.comments.get(line, "")) for line in lines)
        if stated and not self.current:
            self.report(statement, "its comment excuses what is no breach")
        if not stated:
            for node, what in self.current:
                self.report(node if hasattr(node, "lineno") else statement, what)

    def statement(self, node: ast.stmt) -> list[list[ast.stmt]]:
        """Check *node* alone; the blocks inside it."""
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Break() | ast.Continue() | ast.Global():
                pass
            case ast.Expr():
                self.value(node.value)
            case ast.Return():
                if node.value is not None:
                    self.value(node.value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if len(
                targets
            ) == len(values):
                for value in values:
                    self.value(value)
                for target in targets:
                    self.store(target)
            case ast.Assign():
                self.value(node.value)
                for target in node.targets:
                    self.store(target)
            case ast.AnnAssign():
                if node.value is not None:
                    self.value(node.value)
                    self.store(node.target)
            case ast.AugAssign():
                self.arithmetic(node, self.value(node.target), self.value(node.value))
                if not isinstance(node.target, ast.Name):
                    self.store(node.target)
            case ast.If() | ast.While():
                self.truth(node.test)
                return [node.body, node.orelse]
            case ast.For():
                self.iterated(node.iter)
                return [node.body, node.orelse]
            case ast.Assert():
                self.truth(node.test)
            case ast.Raise(exc=ast.Call(func=function)) if (
                self.value(function) == "class gopark.runtime.g.FatalError"
            ):
                pass
            case ast.Raise():
                self.breach(node, "raises something else than FatalError")
            case _:
                self.breach(node, f"`{type(node).__name__.lower()}` is not for a step")
        return []

    def store(self, target: ast.expr) -> None:
        kind = field = "None"
        what = ast.unparse(target)
        match target:
            case ast.Name(id=name) if name in self.globals:
                kind = self.world.resolve(name, self.module) or "object"
            case ast.Name():
                pass
            case ast.Attribute(value=owner, attr=name):
                kind = self.value(target)
                field = f"{self.value(owner)}.{name}"
            case ast.Subscript():
                kind = self.value(target)
            case _:
                self.breach(target, f"unpacks into {what}")
        if kind not in PLAIN and kind not in self.kept and field not in self.kept:
            self.breach(target, f"overwrites {what}, perhaps the last reference to a program's object")

    def iterated(self, node: ast.expr) -> None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            for argument in node.args:
                self.number(argument)
        elif self.value(node) not in ("list", "tuple"):
            self.breach(node, f"iterates over {ast.unparse(node)}, which is no typed list")

    # -- expressions ---------------------------------------------------------------------------------------------------

    def truth(self, node: ast.expr) -> None:
        kind = self.value(node)
        if kind not in PLAIN and kind not in SIZED:
            self.breach(
                node, f"the truth of {ast.unparse(node)} may be asked of its class: say `is not None`"
            )

    def number(self, node: ast.expr) -> None:
        if self.value(node) not in ("int", "float"):
            self.breach(node, f"{ast.unparse(node)} is not known to be a number")

    def arithmetic(self, node: ast.AST, left: str, right: str) -> str:
        kinds = {left, right}
        if "str" in kinds:
            return self.breach(node, "makes text")
        if "float" in kinds:
            return "float"
        if "int" not in kinds:
            return self.breach(node, "arithmetic with objects of unknown type")
        return "int"

    def value(self, node: ast.expr) -> str:
        """The type of an expression, having checked it."""
        match node:
            case ast.Constant(value=value):
                kind = type(value).__name__
                return {"bool": "int", "NoneType": "None"}.get(kind, kind)
            case ast.Name(id=name):
                if name in self.types and name not in self.globals:
                    return self.types[name]
                return self.world.resolve(name, self.module) or "object"
            case ast.NamedExpr(target=ast.Name(), value=value):
                return self.value(value)
            case ast.Attribute():
                return self.attribute(node)
            case ast.Subscript():
                return self.element(node)
            case ast.Call():
                return self.call(node)
            case ast.BinOp(left=left, right=right):
                return self.arithmetic(node, self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.truth(operand)
                return "int"
            case ast.UnaryOp(operand=operand):
                self.number(operand)
                return "int"
            case ast.BoolOp(values=values):
                for value in values[:-1]:
                    self.truth(value)
                return common(self.value(value) for value in values)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.truth(test)
                return common([self.value(body), self.value(orelse)])
            case ast.Compare():
                return self.comparison(node)
            case ast.Tuple(elts=elements) if all(isinstance(e, ast.Constant) for e in elements):
                return "tuple"
            case ast.JoinedStr():
                return self.breach(node, "formats text")
            case ast.List() | ast.Tuple() | ast.Dict() | ast.Set():
                self.breach(node, f"allocates what the collector counts: {ast.unparse(node)}")
                return type(node).__name__.lower()
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp() | ast.Lambda():
                return self.breach(node, f"allocates what the collector counts: {ast.unparse(node)}")
        return self.breach(node, f"`{ast.unparse(node)}` is not for a step")

    def attribute(self, node: ast.Attribute) -> str:
        owner = self.value(node.value)
        word, _, full = owner.partition(" ")
        if word == "module":
            module = self.world.modules.get(full)
            return (self.world.resolve(node.attr, module) if module else "") or "object"
        if word == "class":
            return "object"
        cls = self.world.cls(owner)
        if cls is None:
            return self.breach(
                node, f"reads an attribute of {ast.unparse(node.value)}, whose class is not known"
            )
        for base in self.world.lineage(cls):
            if base.extension and node.attr in base.attributes:
                return base.attributes[node.attr]
        return self.breach(node, f"{ast.unparse(node)} is no C field of {last(owner)}")

    def element(self, node: ast.Subscript) -> str:
        owner = self.value(node.value)
        index = "slice" if isinstance(node.slice, ast.Slice) else self.value(node.slice)
        if (owner in ("list", "tuple") and index == "int") or (owner == "dict" and index in ("int", "str")):
            return "object"
        return self.breach(node, f"{ast.unparse(node)}: not a number's element of a typed list")

    def comparison(self, node: ast.Compare) -> str:
        left = self.value(node.left)
        for operator, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.value(comparator)
            if not isinstance(operator, ast.Is | ast.IsNot):
                kinds = {left, right}
                contained = isinstance(operator, ast.In | ast.NotIn)
                plain = (left in PLAIN and right == "tuple") if contained else kinds & PLAIN
                if not plain:
                    self.breach(node, f"{ast.unparse(node)} may call a class's own comparison")
            left = right
        return "int"

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> str:
        text = ast.unparse(node.func)
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            self.breach(node, f"calls {text} with an argument list that must be made")
            return "object"
        kinds = [self.value(argument) for argument in [*node.args, *(k.value for k in node.keywords)]]
        if isinstance(node.func, ast.Name):
            if node.func.id in BUILTIN and node.func.id not in self.module.names:
                return BUILTIN[node.func.id](self, node, kinds)
            return self.called(node, self.value(node.func))
        if not isinstance(node.func, ast.Attribute):
            return self.breach(node, f"calls {text}, which is not known")
        owner = self.value(node.func.value)
        if owner.startswith("module "):
            return self.called(node, self.attribute(node.func))
        if owner in CONTAINER_METHODS:
            allowed = CONTAINER_METHODS[owner].get(node.func.attr)
            if allowed is None or (allowed == "own" and not all(self.is_own(kind) for kind in kinds)):
                return self.breach(node, f"calls {owner}.{node.func.attr}: {text}")
            return "int" if allowed == "int" else "object"
        cls = self.world.cls(owner.removeprefix("class "))
        if cls is None:
            return self.breach(
                node, f"calls a method of {ast.unparse(node.func.value)}, whose class is not known"
            )
        for base in self.world.lineage(cls):
            if node.func.attr in base.methods:
                overridable = base.methods[node.func.attr].kind == "cpdef" and base.name not in self.ours
                if overridable and not owner.startswith("class "):
                    self.breach(node, f"calls {text}, which a program's subclass can override")
                return self.permitted(node, base.methods[node.func.attr], f"{base.name}.{node.func.attr}")
        return self.breach(node, f"calls {text}, which {last(owner)} does not define")

    def is_own(self, kind: str) -> bool:
        """Is it of a class whose hash and comparison are C's (or a number, or text)?"""
        cls = self.world.cls(kind)
        return kind in PLAIN or (cls is not None and cls.extension)

    def called(self, node: ast.Call, kind: str) -> str:
        word, _, full = kind.partition(" ")
        if word == "class":
            return self.breach(node, f"makes a {last(full)}: an allocation, and its __init__")
        if word != "function":
            return self.breach(node, f"calls {ast.unparse(node.func)}, which is not marked")
        module, _, name = full.rpartition(".")
        return self.permitted(node, self.world.modules[module].functions[name], full)

    def permitted(self, node: ast.Call, function: Function, full: str) -> str:
        if not self.allowed(full):
            self.breach(node, f"calls {full.removeprefix('gopark.')}, which is not marked")
        elif function.kind == "def":
            self.breach(node, f"calls {full.removeprefix('gopark.')} through Python: no .pxd declares it")
        return function.returns

    def _len(self, node: ast.Call, kinds: list[str]) -> str:
        if kinds != kinds[:1] or kinds[0] not in SIZED:
            self.breach(node, f"{ast.unparse(node)}: of a class that is not known")
        return "int"

    def _numbers(self, node: ast.Call, kinds: list[str]) -> str:
        if not all(kind in ("int", "float") for kind in kinds):
            self.breach(node, f"{ast.unparse(node)}: not known to be numbers")
        return common(kinds)

    def _isinstance(self, node: ast.Call, kinds: list[str]) -> str:
        cls = self.world.cls(kinds[-1].removeprefix("class "))
        builtin = isinstance(node.args[-1], ast.Name) and node.args[-1].id in SIZED | {"int", "float"}
        if not builtin and (cls is None or not cls.extension):
            self.breach(node, f"{ast.unparse(node)}: its class may have an __instancecheck__")
        return "int"

    def _type(self, node: ast.Call, kinds: list[str]) -> str:
        return "type" if len(kinds) == 1 else self.breach(node, "makes a class")


BUILTIN: dict[str, Callable[[Step, ast.Call, list[str]], str]] = {
    "len": Step._len,
    "min": Step._numbers,
    "max": Step._numbers,
    "abs": Step._numbers,
    "int": Step._numbers,
    "bool": Step._numbers,
    "isinstance": Step._isinstance,
    "type": Step._type,
}

# Growing one of these is no allocation that the collector counts.  "own": if hashing the argument runs C code.
CONTAINER_METHODS = {
    "list": {"append": "any", "pop": "any", "insert": "any"},
    "set": {"add": "own", "discard": "own"},
    "dict": {},
    "tuple": {},
}


def last(full: str) -> str:
    """The last word of a full name."""
    return full.rpartition(".")[2]


def common(kinds: Iterable[str]) -> str:
    """The type of what is one of several."""
    known = set(kinds) - {"None"}
    return known.pop() if len(known) == 1 else "object" if known else "None"


def assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """(local variable, what is assigned; None if only a loop knows), in the order of the source."""
    for child in ast.walk(node):
        match child:
            case ast.Assign():
                for target in child.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, child.value
                    elif isinstance(target, ast.Tuple) and isinstance(child.value, ast.Tuple):
                        for part, value in zip(target.elts, child.value.elts, strict=False):
                            if isinstance(part, ast.Name):
                                yield part.id, value
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                yield name, value
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"))):
                yield name, ast.Constant(0)
            case ast.For(target=ast.Name(id=name)):
                yield name, None


def outermost(node: ast.AST, begin: int, end: int) -> Iterator[ast.stmt]:
    """The outermost statements of *node* that lie between two lines."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and begin < child.lineno and (child.end_lineno or child.lineno) < end:
            yield child
        else:
            yield from outermost(child, begin, end)
