"""Conditions that can err: refusing rules that an absent fact makes refuse, others that err for more than absence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_sdk.policy.analysis.study import Studied, Study
from mcp_sdk.policy.cel.presence import path_of
from mcp_sdk.policy.cel.syntax import Tree, walk
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.lookup.normal import Path, path_to
from mcp_sdk.policy.source.fields import shown

__all__ = ["check_hazards"]

_CONVERTING = frozenset({"int", "uint", "double", "timestamp", "duration", "bool"})
_BY_ZERO = {"_/_": "a division by zero", "_%_": "a remainder by zero"}
_OVERFLOWING = {"_+_": "a sum", "_-_": "a difference", "_*_": "a product"}


def check_hazards(one: Studied, study: Study, findings: Collector) -> None:
    """Report how a rule's condition can err."""
    if one.refusing:
        _unguarded(one, findings)
        return
    for tree, what in _dangers(one.checked.tree, one, study):
        message = f"rule {one.rule.name!r} does not match where this errs: {what}"
        findings.report("MCP0115", message, one.checked.place(tree))


def _unguarded(one: Studied, findings: Collector) -> None:
    parts = one.shape.unguarded
    if not parts:
        return
    condition = one.checked.condition
    path = next((".".join(found) for found in map(path_of, parts) if found), "")
    guard = f"Guard it: has({path}) && …" if path else "Make sure that every part of it has a value."
    what = f"reading {path} errs where it is absent" if path else f"{shown(condition.text.strip())} can err"
    message = f"rule {one.rule.name!r} refuses, and {what}; an error then refuses the call. {guard}"
    findings.report("MCP0101", message, condition.place(0))


def _dangers(tree: Tree, one: Studied, study: Study) -> Iterator[tuple[Tree, str]]:
    if not any(map(_risky, one.shape.functions)):
        return
    for node in walk(tree):
        if node.kind == "call" and _risky(node.value):
            what = _danger(node, one, study)
            if what:
                yield node, what


def _risky(function: str) -> bool:
    return function == "_[_]" or function in _BY_ZERO or function in _OVERFLOWING or function in _CONVERTING


def _danger(node: Tree, one: Studied, study: Study) -> str:
    function, args = node.value, node.args
    if function in _BY_ZERO and node.type in ("int", "uint"):
        return "" if _nonzero(args[1], one, study) else _BY_ZERO[function]
    if function == "_[_]" and args[0].type.startswith("list<"):
        return "an index past the end of the list"
    if function in _OVERFLOWING and node.type in ("int", "uint"):
        return f"{_OVERFLOWING[function]} out of the range of {node.type}"
    if function in _CONVERTING and args and args[0].type != function and args[0].kind != "const":
        return f"a {args[0].type} that is no {function}"
    return ""


def _nonzero(divisor: Tree, one: Studied, study: Study) -> bool:
    """Tell whether a divisor is certainly not zero wherever the condition may be true; -1 would overflow too."""
    if divisor.kind == "const":
        return divisor.value[1] not in (0, -1)
    path = _path(divisor)
    if path is None:
        return False
    return not any(0 in (box.get(path) or study.space.all_of(path)) for box in study.holding(one))


def _path(tree: Tree) -> Path | None:
    if tree.kind != "select" or tree.args[0].kind != "name":
        return None
    owner = tree.args[0]
    node: Any = ["get", ["var", owner.value, owner.type], tree.value, tree.type]
    return path_to(node)
