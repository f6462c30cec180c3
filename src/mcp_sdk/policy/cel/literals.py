"""Writes literals in the unit of the attribute they meet: minor units for decimals, doubles for doubles.

Works on the unchecked tree, and answers with patches to the text, so that the check afterwards sees only what fits.
Named constants that are numbers are written out by the same patches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from mcp_sdk.models import INT64, BusinessModel
from mcp_sdk.policy.cel.syntax import MACROS, Tree, walk

__all__ = ["BadLiteral", "Patch", "apply_patches", "literal_patches", "original_offset"]

_NUMBER = re.compile(r"-?\s*(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![0-9a-zA-Z_])")
_COMPARING = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in"})
_UNKNOWN = ("", 0)


class Patch(NamedTuple):
    """Replace ``length`` characters at ``offset`` by ``text``."""

    offset: int
    length: int
    text: str


class BadLiteral(NamedTuple):
    """A literal that fits no unit, at ``offset``."""

    offset: int
    message: str


class _Leaf(NamedTuple):
    tree: Tree
    scaled: bool


def apply_patches(text: str, patches: list[Patch]) -> str:
    """Give the text with every patch applied."""
    pieces: list[str] = []
    index = 0
    for patch in sorted(patches):
        pieces += (text[index : patch.offset], patch.text)
        index = patch.offset + patch.length
    return "".join([*pieces, text[index:]])


def original_offset(offset: int, patches: list[Patch]) -> int:
    """Give where in the text before the patches the character ``offset`` of the text after them stood."""
    shift = 0
    for patch in sorted(patches):
        start = patch.offset + shift
        if offset < start:
            break
        if offset < start + len(patch.text):
            return patch.offset
        shift += len(patch.text) - patch.length
    return offset - shift


def literal_patches(
    text: str, tree: Tree, models: Mapping[str, BusinessModel], constants: Mapping[str, Any]
) -> tuple[list[Patch], list[BadLiteral]]:
    """Find the patches that an unchecked tree asks for, and the literals that cannot be written in their unit."""
    worker = _Literals(text, models, constants)
    worker.visit(tree, frozenset())
    return list(worker.patches.values()), worker.bad


class _Literals:
    def __init__(self, text: str, models: Mapping[str, BusinessModel], constants: Mapping[str, Any]) -> None:
        self.text, self.models, self.constants = text, models, constants
        self.patches: dict[int, Patch] = {}
        self.bad: list[BadLiteral] = []

    def visit(self, root: Tree, bound: frozenset[str]) -> None:
        stack = [(root, bound)]
        while stack:
            tree, names = stack.pop()
            if tree.kind == "call" and tree.value in _COMPARING:
                self._compare(tree, names)
            elif tree.kind == "name" and tree.value not in names and tree.position not in self.patches:
                self._write_constant(tree, None)
            inner = names | {tree.value} if tree.kind in MACROS else names
            stack.extend((child, inner if number else names) for number, child in enumerate(tree.args))

    def _compare(self, tree: Tree, bound: frozenset[str]) -> None:
        leaves = [leaf for child in tree.args for leaf in self._leaves(child, bound, scaled=True)]
        units = {self._unit(leaf.tree, bound) for leaf in leaves if leaf.scaled} - {_UNKNOWN}
        if len({unit for unit in units if unit[0] == "decimal"}) > 1 or len({unit[0] for unit in units}) > 1:
            shown = " and ".join(
                sorted(f"{kind} of scale {scale}" if kind == "decimal" else kind for kind, scale in units)
            )
            self.bad.append(BadLiteral(tree.position, f"{shown} are compared; their units differ"))
            return
        unit = next(iter(units), None)
        if unit is None or unit[0] == "int":
            return
        for leaf in leaves:
            self._coerce(leaf, unit, bound)

    def _leaves(self, tree: Tree, bound: frozenset[str], *, scaled: bool) -> Iterator[_Leaf]:
        if tree.kind == "list":
            branches = [(child, scaled) for child in tree.args]
        elif tree.kind != "call":
            branches = []
        elif tree.value in ("_+_", "_-_", "_%_", "-_"):
            branches = [(child, scaled) for child in tree.args]
        elif tree.value == "_?_:_":
            branches = [(child, scaled) for child in tree.args[1:]]
        elif tree.value == "_*_":
            free = [self._is_plain(child, bound) for child in tree.args]
            branches = [
                (child, scaled and not (plain and not all(free))) for child, plain in zip(tree.args, free, strict=True)
            ]
        elif tree.value == "_/_":
            branches = [(tree.args[0], scaled), (tree.args[1], False)]
        else:
            branches = []
        if not branches:
            yield _Leaf(tree, scaled)
        for child, unit in branches:
            yield from self._leaves(child, bound, scaled=unit)

    def _is_plain(self, tree: Tree, bound: frozenset[str]) -> bool:
        return all(self._unit(node, bound)[0] not in ("decimal", "double") for node in walk(tree))

    def _unit(self, tree: Tree, bound: frozenset[str]) -> tuple[str, int]:
        if tree.kind != "select" or tree.args[0].kind != "name" or tree.args[0].value in bound:
            return _UNKNOWN
        model = self.models.get(tree.args[0].value)
        attribute = model.attributes.get(tree.value) if model else None
        if attribute is None or attribute.type not in ("decimal", "double", "int"):
            return _UNKNOWN
        return (attribute.type, attribute.scale if attribute.type == "decimal" else 0)

    def _coerce(self, leaf: _Leaf, unit: tuple[str, int], bound: frozenset[str]) -> None:
        tree = leaf.tree
        if unit[0] == "decimal" and not leaf.scaled:
            return
        if tree.kind == "const" and tree.value[0] in ("int", "double"):
            match = _NUMBER.match(self.text, tree.position)
            if match:
                self._patch(tree.position, len(match[0]), "".join(match[0].split()), unit)
        elif tree.kind == "name" and tree.value not in bound:
            self._write_constant(tree, unit)

    def _write_constant(self, tree: Tree, unit: tuple[str, int] | None) -> None:
        value = self.constants.get(tree.value)
        items = value if isinstance(value, list) else [value]
        if not items or not all(type(item) in (int, float) for item in items):
            return
        written = [repr(item) if unit is None else self._write(repr(item), unit, tree.position) for item in items]
        text = f"[{', '.join(written)}]" if isinstance(value, list) else written[0]
        self.patches[tree.position] = Patch(tree.position, len(tree.value), text)

    def _patch(self, offset: int, length: int, number: str, unit: tuple[str, int]) -> None:
        self.patches[offset] = Patch(offset, length, self._write(number, unit, offset))

    def _write(self, number: str, unit: tuple[str, int], offset: int) -> str:
        kind = f"a decimal of scale {unit[1]}" if unit[0] == "decimal" else "a double"
        try:
            exact = Decimal(int(number, 16)) if "x" in number.lower() else Decimal(number)
        except InvalidOperation:  # an exponent of hundreds of digits
            self.bad.append(BadLiteral(offset, f"{number[:20]}… is out of the range of {kind}"))
            return "0"
        if unit[0] == "double" and math.isfinite(float(exact)):
            return repr(float(exact))
        if exact and (exact.adjusted() > 19 or not _fits(exact.scaleb(unit[1]))):
            self.bad.append(BadLiteral(offset, f"{number} is out of the range of {kind}"))
            return "0"
        if exact and (exact.adjusted() < -unit[1] or exact.scaleb(unit[1]) % 1):
            self.bad.append(BadLiteral(offset, f"{number} has too many digits for {kind}"))
            return "0"
        return str(int(exact.scaleb(unit[1])))


def _fits(scaled: Decimal) -> bool:
    return -INT64 <= scaled < INT64
