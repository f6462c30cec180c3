"""What can be said of checked policies beyond types: refusing rules that can err, and rules that can never apply.

It claims a rule dead only when that is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_sdk.policy.check import Checked
from mcp_sdk.policy.fields import shown
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.presence import path_of, unguarded
from mcp_sdk.policy.resources import AccessPolicy, AccessRule, LimitRule, Policy, QosPolicy, Rule, TrafficPolicy
from mcp_sdk.policy.shapes import shape_of

__all__ = ["analyze", "refuses"]

_ALWAYS = ["lit", True]


def refuses(rule: Rule) -> bool:
    """Tell whether a rule's effect refuses, so that it fails closed."""
    return isinstance(rule, LimitRule) or (isinstance(rule, AccessRule) and rule.effect != "permit")


def analyze(policy: Policy, checked: Mapping[int, Checked], findings: Collector) -> None:
    """Report on one policy; rules that did not check are passed over."""
    rules: tuple[Rule, ...] = getattr(policy, "rules", ())
    always: Rule | None = None
    for rule in rules:
        condition = checked.get(id(rule.when))
        if condition is None:
            continue
        shape = shape_of(condition.tree, policy.constants).shape
        if refuses(rule):
            _unguarded(rule, shape, condition, findings)
        if always is not None and _hides(policy, always, rule):
            message = f"rule {rule.name!r} can never apply: rule {always.name!r} before it always does"
            findings.warning("MCP0102", message, rule.at)
        if always is None and shape == _ALWAYS:
            always = rule


def _hides(policy: Policy, always: Rule, rule: Rule) -> bool:
    if isinstance(policy, (TrafficPolicy, QosPolicy)):
        return True
    same = isinstance(always, AccessRule) and isinstance(rule, AccessRule) and always.effect == rule.effect
    return isinstance(policy, AccessPolicy) and same


def _unguarded(rule: Rule, shape: Any, condition: Checked, findings: Collector) -> None:
    parts = unguarded(shape, frozenset())
    if not parts:
        return
    path = next((".".join(found) for found in map(path_of, parts) if found), "")
    guard = f"Guard it: has({path}) && …" if path else "Make sure that every part of it has a value."
    what = f"reading {path} errs where it is absent" if path else f"{shown(condition.condition.text.strip())} can err"
    message = f"rule {rule.name!r} refuses, and {what}; an error then refuses the call. {guard}"
    findings.warning("MCP0101", message, condition.condition.place(0))
