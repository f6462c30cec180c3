"""Splits a condition into the parts that ``&&``, ``||`` and ``!`` join: what a test can see true and false.

``clauses`` splits at the outermost ``&&`` alone, for explanations; coverage looks further in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mcp_sdk.policy.cel.clauses import trimmed
from mcp_sdk.policy.cel.syntax import Tree

__all__ = ["Branch", "branch_texts", "branches_of", "evaluate"]

_JOINS = ("_&&_", "_||_")


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of a condition: ``all`` or ``any`` of ``parts``, ``not`` of one, or a ``leaf`` by number and shape."""

    kind: str
    parts: tuple[Branch, ...] = ()
    number: int = 0
    shape: Any = None


def branches_of(shape: Any) -> tuple[Branch, tuple[Branch, ...]]:
    """Give a condition's shape as branches, and its leaves in order."""
    leaves: list[Branch] = []
    return _branch(shape, leaves), tuple(leaves)


def _branch(shape: Any, leaves: list[Branch]) -> Branch:
    joined = shape[0] == "call" and shape[1] in _JOINS
    if joined:
        return Branch("all" if shape[1] == "_&&_" else "any", tuple(_branch(part, leaves) for part in shape[3:]))
    if shape[0] == "call" and shape[1] == "!_" and shape[3][0] == "call" and shape[3][1] in _JOINS:
        return Branch("not", (_branch(shape[3], leaves),))
    leaf = Branch("leaf", (), len(leaves), shape)
    leaves.append(leaf)
    return leaf


def evaluate(branch: Branch, see: Callable[[Branch], bool | None]) -> bool | None:
    """Give a condition's value from left to right; None is an error.

    ``see`` evaluates a leaf, and is asked only for those that the ones before it left open (CEL spec, "Logical
    operators": an error is absorbed where another operand decides).
    """
    if branch.kind == "leaf":
        return see(branch)
    if branch.kind == "not":
        value = evaluate(branch.parts[0], see)
        return None if value is None else not value
    decisive = branch.kind == "any"
    result: bool | None = not decisive
    for part in branch.parts:
        value = evaluate(part, see)
        if value is decisive:
            return decisive
        if value is None:
            result = None
    return result


def branch_texts(text: str, tree: Tree) -> list[str]:
    """Give the text of each leaf, in order, of a condition whose text parsed to ``tree``."""
    cuts = sorted(_cuts(tree))
    edges = [-2, *cuts, len(text)]
    return [trimmed(text[start + 2 : end]) for start, end in pairwise(edges)]


def _cuts(tree: Tree) -> list[int]:
    """Give the positions of the operators that join leaves."""
    cuts, stack = [], [tree]
    while stack:
        node = stack.pop()
        if node.kind == "call" and node.value in _JOINS:
            cuts.append(node.position)
            stack.extend(node.args)
        elif node.kind == "call" and node.value == "!_":
            stack.extend(arg for arg in node.args if arg.kind == "call" and arg.value in _JOINS)
    return cuts
