"""Splits the text of a condition into the clauses that ``&&`` joins (``shapes.clause_shapes``).

The text is told by its *cuts*: where each outermost ``&&`` begins, in code points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mcp_sdk.policy.cel.literals import original_offset
from mcp_sdk.policy.cel.syntax import Tree
from mcp_sdk.policy.check import Checked

__all__ = ["clause_cuts", "clause_texts", "cut", "trimmed"]


def clause_texts(checked: Checked) -> list[str]:
    """Give the text of each clause, in the order of ``clause_shapes``."""
    return cut(checked.condition.text, clause_cuts(checked))


def clause_cuts(checked: Checked) -> list[int]:
    """Give the offset in the condition's text of each ``&&`` between two clauses."""
    return sorted(original_offset(tree.position, list(checked.patches)) for tree in _joins(checked.tree))


def cut(text: str, cuts: Sequence[int]) -> list[str]:
    """Give the text of each clause of a condition."""
    edges = [-2, *cuts, len(text)]
    return [trimmed(text[start + 2 : end]) for start, end in pairwise(edges)]


def _joins(tree: Tree) -> list[Tree]:
    found, stack = [], [tree]
    while stack:
        node = stack.pop()
        if node.kind == "call" and node.value == "_&&_":
            found.append(node)
            stack.extend(node.args)
    return found


def trimmed(text: str) -> str:
    """Strip spaces, and the brackets that a cut left without their other half, with the ``!`` before them."""
    text = text.strip()
    while text.lstrip("! ").startswith("(") and text.count("(") > text.count(")"):
        text = text.lstrip("! ")[1:].lstrip()
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip()
    return text
