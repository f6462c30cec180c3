"""Decodes the trees that cel-cpp serialises: ``Any{cel.expr.CheckedExpr}`` and ``Any{cel.expr.ParsedExpr}`` → ``Tree``.

The few messages of ``cel/expr/syntax.proto`` and ``checked.proto`` are read from the wire directly (protobuf encoding
guide), so no generated code is needed. The comprehensions that macros expand to are folded back into the macro's name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["MACROS", "Tree", "Unsupported", "decode", "walk"]

MAX_DEPTH = 400
_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "dyn", 2: "timestamp", 3: "duration"}
_CONSTANTS = {1: "null", 2: "bool", 3: "int", 4: "uint", 5: "double", 6: "string", 7: "bytes"}
MACROS = frozenset({"all", "exists", "exists_one", "filter", "map_macro"})
"""The kinds of nodes that macros are."""


class Unsupported(Exception):
    """The tree holds what policies do not support; ``position`` is its offset in the expression."""

    def __init__(self, message: str, position: int = 0) -> None:
        self.position = position
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Tree:
    """One node of an expression.

    ``kind`` is ``const`` (``value``), ``name`` (``value``), ``select`` and ``has`` (``value`` is the field), ``call``
    (``value`` is the function, a receiver is the first argument), ``list``, ``map`` (keys and values in turn), or a
    macro: ``all``, ``exists``, ``exists_one``, ``map_macro``, ``filter`` (``value`` is the variable; range, then
    predicate or transform). ``position`` counts code points from the start. ``type`` is the checked CEL type, ``dyn``
    when unchecked.
    """

    kind: str
    value: Any = None
    args: tuple[Tree, ...] = ()
    type: str = "dyn"
    position: int = 0
    id: int = field(default=0, compare=False)


def walk(tree: Tree) -> Iterator[Tree]:
    """Yield a tree's nodes, each before its arguments."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.args))


def decode(serialised: bytes) -> Tree:
    """Read what ``Expression.serialize()`` gave; raises ``Unsupported``."""
    fields = _message(serialised)
    checked = fields[1][0].endswith(b"CheckedExpr")
    body = _message(fields[2][0])
    decoder = _Decoder()
    if checked:
        for entry in body.get(3, ()):
            pair = _message(entry)
            decoder.types[_int(pair, 1)] = _type(pair[2][0] if 2 in pair else b"")
        for entry in body.get(2, ()):
            pair = _message(entry)
            name = _message(pair[2][0]).get(1)
            if name:
                decoder.names[_int(pair, 1)] = name[0].decode()
    info = body.get(5 if checked else 3)
    for entry in _message(info[0]).get(4, ()) if info else ():
        pair = _message(entry)
        decoder.positions[_int(pair, 1)] = _int(pair, 2)
    return decoder.expression(body[4 if checked else 2][0], 0)


def _message(data: bytes) -> dict[int, list[Any]]:
    fields: dict[int, list[Any]] = {}
    index, size = 0, len(data)
    while index < size:
        tag, index = _varint(data, index)
        value: Any
        if tag & 7 == 0:
            value, index = _varint(data, index)
        elif tag & 7 == 2:
            length, index = _varint(data, index)
            value, index = data[index : index + length], index + length
        elif tag & 7 == 1:
            value, index = data[index : index + 8], index + 8
        else:
            raise Unsupported(f"wire type {tag & 7} in a serialised expression")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, index: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[index]
        index += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, index
        shift += 7


def _int(fields: Mapping[int, list[Any]], number: int) -> int:
    value = int(fields[number][0]) if number in fields else 0
    return value - 2**64 if value >= 2**63 else value


def _text(fields: Mapping[int, list[Any]], number: int) -> str:
    return str(fields[number][0].decode()) if number in fields else ""


def _type(data: bytes) -> str:  # noqa: PLR0911 - one return for each kind of type
    fields = _message(data)
    if 3 in fields:
        return _PRIMITIVES.get(fields[3][0], "dyn")
    if 4 in fields:
        return "dyn"
    if 5 in fields:
        return _WELL_KNOWN.get(fields[5][0], "dyn")
    if 6 in fields:
        return f"list<{_type(_message(fields[6][0]).get(1, [b''])[0])}>"
    if 7 in fields:
        pair = _message(fields[7][0])
        return f"map<{_type(pair.get(1, [b''])[0])},{_type(pair.get(2, [b''])[0])}>"
    if 9 in fields:
        return str(fields[9][0].decode().rpartition(".")[2])
    return "null" if 2 in fields else "type" if 11 in fields else "dyn"


@dataclass(slots=True)
class _Decoder:
    types: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)

    def expression(self, data: bytes, depth: int) -> Tree:
        fields = _message(data)
        number = _int(fields, 2)
        position = self.positions.get(number, 0)
        if depth > MAX_DEPTH:
            raise Unsupported("nested too deep", position)
        kind = next((kind for kind in (3, 4, 5, 6, 7, 8, 9) if kind in fields), 0)
        if not kind:
            raise Unsupported("an empty expression", position)
        tree: Tree = _READ[kind](self, _message(fields[kind][0]), depth + 1, number)
        return replace(tree, type=self.types.get(number, "dyn"), position=position, id=number)

    def constant(self, fields: dict[int, list[Any]], _depth: int, _number: int) -> Tree:
        which, values = next(iter(fields.items()))
        kind = _CONSTANTS[which]
        value: Any = values[0]
        if kind == "null":
            value = None
        elif kind == "bool":
            value = bool(value)
        elif kind == "int":
            value = _int(fields, which)
        elif kind == "double":
            value = struct.unpack("<d", value)[0]
        elif kind == "string":
            value = value.decode()
        return Tree("const", (kind, value))

    def name(self, fields: dict[int, list[Any]], _depth: int, number: int) -> Tree:
        return Tree("name", self.names.get(number) or _text(fields, 1))

    def select(self, fields: dict[int, list[Any]], depth: int, number: int) -> Tree:
        if number in self.names:
            return Tree("name", self.names[number])
        operand = self.expression(fields[1][0], depth)
        return Tree("has" if _int(fields, 3) else "select", _text(fields, 2), (operand,))

    def call(self, fields: dict[int, list[Any]], depth: int, _number: int) -> Tree:
        arguments = fields.get(1, []) + fields.get(3, [])
        return Tree("call", _text(fields, 2), tuple(self.expression(argument, depth) for argument in arguments))

    def list_of(self, fields: dict[int, list[Any]], depth: int, number: int) -> Tree:
        if 2 in fields:
            raise Unsupported("optional elements", self.positions.get(number, 0))
        return Tree("list", None, tuple(self.expression(element, depth) for element in fields.get(1, ())))

    def struct(self, fields: dict[int, list[Any]], depth: int, number: int) -> Tree:
        if 1 in fields:
            raise Unsupported(f"building a message {_text(fields, 1)!r}", self.positions.get(number, 0))
        args: list[Tree] = []
        for data in fields.get(2, ()):
            entry = _message(data)
            args += (self.expression(entry[3][0], depth), self.expression(entry[4][0], depth))
        return Tree("map", None, tuple(args))

    def comprehension(self, fields: dict[int, list[Any]], depth: int, _number: int) -> Tree:
        init, step = (self.expression(fields[key][0], depth) for key in (4, 6))
        return _fold(_text(fields, 1), self.expression(fields[2][0], depth), init, step)


_READ: Mapping[int, Any] = {
    3: _Decoder.constant,
    4: _Decoder.name,
    5: _Decoder.select,
    6: _Decoder.call,
    7: _Decoder.list_of,
    8: _Decoder.struct,
    9: _Decoder.comprehension,
}


def _fold(variable: str, over: Tree, init: Tree, step: Tree) -> Tree:
    """Give the macro that expanded to this comprehension (CEL spec, "Macros")."""
    if init.kind == "const" and init.value[0] == "bool":
        return Tree("all" if init.value[1] else "exists", variable, (over, step.args[1]))
    if init.kind == "const":
        return Tree("exists_one", variable, (over, step.args[0]))
    condition = step.args[0] if step.value == "_?_:_" else None
    added = (step if condition is None else step.args[1]).args[1].args[0]
    if condition is None:
        return Tree("map_macro", variable, (over, added))
    if added.kind == "name" and added.value == variable:
        return Tree("filter", variable, (over, condition))
    return Tree("map_macro", variable, (over, added, condition))
