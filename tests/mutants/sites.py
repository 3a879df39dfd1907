"""The small changes of source that a test should notice: where they can be made, and the changed source.

mutmut's operators say what becomes of a node. Those that nearly any test notices (None for a value or an
argument) are left out, so that they do not stand for the rest, and so are those that change texts. A few of
our own are added: one less, the other of a pair of functions, an option or a bound left out, a call not made.
Nothing is changed in annotations, decorators, imports, `__repr__` and what only type checkers read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators as mutmut

_OTHERS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}


def one_less(node: cst.Integer | cst.Float) -> Iterator[cst.BaseExpression]:
    """The number that is one less."""
    less = node.evaluated_value - 1
    number = node.with_changes(value=repr(abs(less)))
    brackets = {"lpar": [cst.LeftParen()], "rpar": [cst.RightParen()]}
    yield number if less >= 0 else cst.UnaryOperation(cst.Minus(), number, **brackets)


def other_function(node: cst.Call) -> Iterator[cst.Call]:
    """`max` for `min`, `all` for `any`, their opposites, and no order for `sorted`."""
    if isinstance(node.func, cst.Name) and node.func.value in _OTHERS:
        is_plain = all(argument.keyword is None for argument in node.args) or node.func.value != "sorted"
        if is_plain:
            yield node.with_changes(func=cst.Name(_OTHERS[node.func.value]))


def option_left_out(node: cst.Call) -> Iterator[cst.Call]:
    """The call without one argument that is given by keyword; texts are left alone."""
    for place in _options(node):
        yield node.with_changes(args=[*node.args[:place], *node.args[place + 1 :]])


def _options(node: cst.Call) -> list[int]:
    """Where the arguments by keyword stand that are not a text."""
    texts = cst.SimpleString | cst.FormattedString | cst.ConcatenatedString
    return [n for n, each in enumerate(node.args) if each.keyword and not isinstance(each.value, texts)]


def bound_left_out(node: cst.Slice) -> Iterator[cst.Slice]:
    """The slice from the start or to the end."""
    for bound in ("lower", "upper"):
        if getattr(node, bound) is not None:
            yield node.with_changes(**{bound: None})


def call_not_made(node: cst.Expr) -> Iterator[cst.BaseSmallStatement]:
    """Nothing in place of a call whose value is not used."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


OPERATORS: tuple[tuple[Any, Any], ...] = (
    (cst.Integer | cst.Float, mutmut.operator_number),
    (cst.Integer | cst.Float, one_less),
    (cst.Name, mutmut.operator_name),
    (cst.UnaryOperation, mutmut.operator_remove_unary_ops),
    (cst.CSTNode, mutmut.operator_keywords),
    (cst.CSTNode, mutmut.operator_swap_op),
    (cst.AugAssign, mutmut.operator_augmented_assignment),
    (cst.IfExp, mutmut.operator_if_exp),
    (cst.Call, mutmut.operator_symmetric_string_methods_swap),
    (cst.Call, other_function),
    (cst.Call, option_left_out),
    (cst.Slice, bound_left_out),
    (cst.Expr, call_not_made),
)
_LEFT_ALONE = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """One change of one file: the n-th of an operator at a position."""

    path: str
    line: int
    column: int
    operator: str
    number: int
    option: str  # the nearest keyword, or method, whose argument is changed or left out
    removed: str
    added: str
    function: str  # qualified name of what it is in; "" in the module itself

    @property
    def name(self) -> str:
        """What `--only` takes."""
        return f"{self.path}:{self.line}:{self.column}:{self.operator}:{self.number}"


class _Sites(cst.CSTVisitor):
    """Collects (node, its change, operator, number, option, function) in the order of the source."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, str, int, str, str]] = []
        self._options: list[str] = []
        self._names: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _LEFT_ALONE) or m.matches(node, m.If(test=m.Name("TYPE_CHECKING"))):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        if isinstance(node, cst.Call):
            self._options.append(node.func.attr.value if isinstance(node.func, cst.Attribute) else "")
        if isinstance(node, cst.Arg) and node.keyword is not None:
            self._options.append(node.keyword.value)
        if self._names[-1:] == ["__repr__"]:
            return True
        for kind, operator in OPERATORS:
            for number, changed in enumerate(operator(node) if isinstance(node, kind) else ()):
                option = self._options[-1] if self._options else ""
                if operator is option_left_out:
                    option = node.args[_options(node)[number]].keyword.value
                self.found.append((node, changed, operator.__name__, number, option, ".".join(self._names)))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()
        is_option = isinstance(original_node, cst.Arg) and original_node.keyword is not None
        if is_option or isinstance(original_node, cst.Call):
            self._options.pop()


def mutants(root: Path, path: str) -> Iterator[tuple[Mutant, Any]]:
    """(Mutant, a function that gives the file's changed source) of each change that a file offers."""
    source = (root / path).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(source))
    positions = wrapper.resolve(PositionProvider)
    sites = _Sites()
    wrapper.module.visit(sites)
    for node, changed, operator, number, option, function in sites.found:
        start = positions[getattr(node, "operator", node)].start

        def rewritten(node: cst.CSTNode = node, changed: cst.CSTNode = changed) -> str:
            return wrapper.module.deep_replace(node, changed).code  # type: ignore[arg-type]

        place = (path, start.line, start.column, operator, number)
        yield Mutant(*place, option=option, removed="", added="", function=function), rewritten


def changed_lines(before: str, after: str) -> tuple[str, str]:
    """What a change removes and adds, as one line of text each."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]
    parts = [" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"]
    return parts[0], parts[1]
