"""What is known to be there: whether reading a fact can err, given the ``has()`` guards that held before it.

Works on shapes (see ``shapes``). A path is ``(model, fact)``. Everything errs on the safe side: unknown means that it
can err.
"""

from __future__ import annotations

from typing import Any

from mcp_sdk.policy.cel.schema import FIXED, NEVER_ABSENT
from mcp_sdk.policy.cel.shapes import expressions

__all__ = ["Facts", "cannot_err", "known_when_false", "known_when_true", "models_of", "path_of", "unguarded"]

Facts = frozenset[tuple[str, str]]
_NOTHING: Facts = frozenset()
_TOTAL = frozenset(
    {
        "_&&_",
        "_||_",
        "!_",
        "_==_",
        "_!=_",
        "_<_",
        "_<=_",
        "_>_",
        "_>=_",
        "@in",
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "_?_:_",
    }
)
_LOGICAL = frozenset({"_&&_", "_||_", "!_", "_?_:_"})


def path_of(node: Any) -> tuple[str, str] | None:
    """Give ``(model, fact)`` of an expression that reads a fact of a model, or asks for it."""
    if node[0] in ("get", "has") and node[1][0] == "var" and node[1][1] == node[1][2] and node[1][1] not in FIXED:
        return (node[1][1], node[2])
    return None


def known_when_true(node: Any) -> Facts:
    """Give the facts that must be there when an expression is true."""
    if node[0] == "has":
        path = path_of(node)
        return frozenset({path}) if path else _NOTHING
    if node[0] != "call":
        return _reads(node)
    args = node[3:]
    if node[1] == "_&&_":
        return known_when_true(args[0]) | known_when_true(args[1])
    if node[1] == "_||_":
        return known_when_true(args[0]) & known_when_true(args[1])
    if node[1] == "!_":
        return known_when_false(args[0])
    return _reads(node)


def known_when_false(node: Any) -> Facts:
    """Give the facts that must be there when an expression is false."""
    if node[0] == "call" and node[1] == "!_":
        return known_when_true(node[3])
    if node[0] == "call" and node[1] == "_||_":
        return known_when_false(node[3]) | known_when_false(node[4])
    if node[0] == "call" and node[1] == "_&&_":
        return known_when_false(node[3]) & known_when_false(node[4])
    return _reads(node)


def _reads(node: Any) -> Facts:
    """Give the facts that an expression cannot have a value without."""
    if node[0] == "get":
        path = path_of(node)
        return frozenset({path}) if path else _reads(node[1])
    if node[0] == "call" and node[1] not in _LOGICAL:
        return frozenset().union(*(_reads(arg) for arg in node[3:]))
    return _NOTHING


def cannot_err(node: Any, facts: Facts) -> bool:
    """Tell whether an expression is sure to have a value, values being of their declared types."""
    return not unguarded(node, facts)


def unguarded(node: Any, facts: Facts) -> list[Any]:  # noqa: PLR0911 - one return for each kind of node
    """Give the parts of an expression that can err; empty when it cannot."""
    kind = node[0]
    if kind in ("lit", "k"):
        return []
    if kind == "var":
        return [] if node[2] != "dyn" else [node]
    if kind in ("get", "has"):
        return _read(node, facts)
    if kind == "call":
        return _call(node, facts)
    if kind == "list":
        return [part for item in node[2:] for part in unguarded(item, facts)]
    if kind in ("all", "exists"):
        return [part for body in node[3:] for part in unguarded(body, facts)]
    return [node]


def _read(node: Any, facts: Facts) -> list[Any]:
    path = path_of(node)
    if path is not None:
        return [] if node[0] == "has" or path in facts else [node]
    operand = node[1]
    owner = operand[3] if operand[0] == "get" else operand[2] if operand[0] == "var" else ""
    if owner in FIXED:
        sure = node[0] == "has" or (owner, node[2]) in NEVER_ABSENT
        return unguarded(operand, facts) if sure else [node]
    if node[0] == "has" and owner.startswith("map<"):
        return unguarded(operand, facts)
    return [node]


def _call(node: Any, facts: Facts) -> list[Any]:
    function, args = node[1], node[3:]
    if node[2] == "dyn" or function not in _TOTAL or any(_type(arg) == "dyn" for arg in args):
        return [node]
    if function == "_&&_":
        return unguarded(args[0], facts) + unguarded(args[1], facts | known_when_true(args[0]))
    if function == "_||_":
        return unguarded(args[0], facts) + unguarded(args[1], facts | known_when_false(args[0]))
    return [part for arg in args for part in unguarded(arg, facts)]


def _type(node: Any) -> str:
    if node[0] in ("call", "var"):
        return str(node[2])
    return str(node[3]) if node[0] == "get" else ""


def models_of(shape: Any) -> tuple[str, ...]:
    """Give the models that an expression looks at, in order of appearance."""
    found = [node[1] for node in expressions(shape) if node[0] == "var" and node[2] == node[1] and node[1] not in FIXED]
    return tuple(dict.fromkeys(found))
