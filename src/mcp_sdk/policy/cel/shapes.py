"""Checked trees → shapes: expressions as plain JSON, constants taken out, so that rules of one form share a shape.

An expression is a list whose first item says what it is:

    ["lit", true]                       a bool or null that stays in the shape
    ["k", i]                            the i-th constant of the rule, of type ``params[i]``
    ["var", name, type]                 a variable, or the variable of a macro around it
    ["get", operand, field, type]       ["has", operand, field]
    ["call", function, type, args…]     a receiver is the first argument
    ["list", type, items…]              ["map", type, key, value, …]
    [macro, variable, type, range, …]   all, exists, exists_one, filter (predicate), map_macro (transform, predicate?)
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.policy.cel.environment import constant_type
from mcp_sdk.policy.cel.syntax import MACROS, Tree

__all__ = ["Expression", "Table", "clause_shapes", "constant_from_plain", "expressions", "shape_of"]


@dataclass(frozen=True)
class Expression:
    """One expression: a shape as JSON, the types of its constants, and their values as JSON."""

    shape: Any
    params: tuple[str, ...]
    constants: tuple[Any, ...]


@dataclass(slots=True)
class _Builder:
    named: Mapping[str, Any]
    params: list[str] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def build(self, tree: Tree, bound: frozenset[str]) -> Any:  # noqa: PLR0911 - one for each kind of node
        if tree.kind == "const":
            return self._constant(*tree.value)
        if tree.kind == "name":
            return self._name(tree, bound)
        if tree.kind == "select":
            return ["get", self.build(tree.args[0], bound), tree.value, tree.type]
        if tree.kind == "has":
            return ["has", self.build(tree.args[0], bound), tree.value]
        if tree.kind == "list":
            return self._list(tree, bound)
        inner = bound | {tree.value} if tree.kind in MACROS else bound
        args = [self.build(child, inner if number else bound) for number, child in enumerate(tree.args)]
        if tree.kind == "map":
            return ["map", tree.type, *args]
        return [tree.kind, tree.value, tree.type, *args]

    def _name(self, tree: Tree, bound: frozenset[str]) -> Any:
        if tree.value in self.named and tree.value not in bound:
            value = self.named[tree.value]
            return self._parameter(constant_type(value), value)
        return ["var", tree.value, tree.type]

    def _constant(self, kind: str, value: Any) -> Any:
        if kind in ("bool", "null"):
            return ["lit", value]
        return self._parameter(kind, value)

    def _parameter(self, kind: str, value: Any) -> Any:
        if kind == "bool":
            return ["lit", value]
        self.params.append(kind)
        self.constants.append(_plain(kind, value))
        return ["k", len(self.params) - 1]

    def _list(self, tree: Tree, bound: frozenset[str]) -> Any:
        kinds = {child.value[0] for child in tree.args if child.kind == "const"}
        if len(kinds) == 1 and kinds <= {"string", "int"} and all(child.kind == "const" for child in tree.args):
            return self._parameter(f"list<{kinds.pop()}>", [child.value[1] for child in tree.args])
        return ["list", tree.type, *(self.build(child, bound) for child in tree.args)]


def shape_of(tree: Tree, constants: Mapping[str, Any]) -> Expression:
    """Take the constants out of a tree; ``constants`` are the policy's named ones."""
    builder = _Builder(constants)
    shape = builder.build(tree, frozenset())
    return Expression(shape, tuple(builder.params), tuple(builder.constants))


def _plain(kind: str, value: Any) -> Any:
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind == "double" and not math.isfinite(value):
        return repr(value)
    return value


def constant_from_plain(kind: str, value: Any) -> Any:
    """Read a constant as ``Expression`` holds it; raises ``ValueError`` or ``TypeError`` when it does not fit."""
    if kind.startswith("list<"):
        return [constant_from_plain(kind[5:-1], item) for item in value]
    if kind == "bytes":
        return base64.b64decode(value)
    if kind == "double":
        return float(value)
    wanted = {"int": int, "uint": int, "string": str, "bool": bool}[kind]
    if type(value) is not wanted:
        raise TypeError(f"a constant of type {kind} is {value!r}")
    return value


class Table:
    """Numbers distinct plain values in order of appearance."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}

    def add(self, row: dict[str, Any]) -> int:
        """Give the number of a row; an equal one has the same."""
        number = self._numbers.setdefault(json.dumps(row, separators=(",", ":")), len(self.rows))
        if number == len(self.rows):
            self.rows.append(row)
        return number


def expressions(shape: Any) -> Iterator[Any]:
    """Yield an expression's nodes, each before its parts."""
    stack = [shape]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(part for part in reversed(node) if isinstance(part, list) and part and node[0] != "lit")


def clause_shapes(shape: Any) -> list[Any]:
    """Give the operands of the outermost ``&&`` of a shape, in order."""
    found, stack = [], [shape]
    while stack:
        node = stack.pop()
        if node[0] == "call" and node[1] == "_&&_":
            stack += [node[4], node[3]]
        else:
            found.append(node)
    return found
