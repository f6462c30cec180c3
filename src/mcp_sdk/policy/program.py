"""Programs: compiled policies as versioned plain JSON, read by a runtime with no native dependency.

    {"format": 1,
     "shapes": [{"expr": …, "params": ["string", …]}, …],
     "policies": [{"kind", "name", "namespace", "service", "operations", "allow_tentative", "shadow", "file", "line",
                   "default": …,
                   "rules": [{"name", "clause", "line", "column", "when": {"shape": 0, "constants": […]}, "models": […],
                              "clauses": [text of each operand of the outermost &&, when there are several],
                              …the effect…}, …]}, …],
     "uses": ["re2", "xxhash"]}

Equal sources and models give equal programs, byte for byte. ``shapes`` describes expressions; see module ``shapes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.policy.check import Checked
from mcp_sdk.policy.clauses import clause_texts
from mcp_sdk.policy.presence import models_of
from mcp_sdk.policy.resources import (
    AccessPolicy,
    AccessRule,
    LimitRule,
    Policy,
    QosPolicy,
    QosRule,
    Rule,
    TrafficPolicy,
    TrafficRoute,
    TrafficRule,
)
from mcp_sdk.policy.shapes import ShapeTable, expressions, shape_of

__all__ = ["FORMAT", "CheckedPolicy", "build_program", "check_format"]

FORMAT = 1

CheckedPolicy = tuple[Policy, Mapping[int, Checked]]
"""A policy and its checked expressions, by ``id`` of the condition."""


def check_format(programs: Mapping[str, Any]) -> None:
    """Raise ``ConfigurationError`` when these programs are not of a format that this version reads."""
    found = programs.get("format", FORMAT if not programs else None)
    if found != FORMAT:
        raise ConfigurationError(
            f"policy programs are of format {found!r}; this version of mcp-sdk reads {FORMAT}. Compile them again."
        )


def build_program(policies: Iterable[CheckedPolicy]) -> dict[str, Any]:
    """Write checked policies as one program."""
    builder = _Builder()
    written = [builder.policy(policy, checked) for policy, checked in policies]
    return {"format": FORMAT, "shapes": builder.shapes.rows, "policies": written, "uses": sorted(builder.uses)}


class _Builder:
    def __init__(self) -> None:
        self.shapes = ShapeTable()
        self.uses: set[str] = set()

    def policy(self, policy: Policy, checked: Mapping[int, Checked]) -> dict[str, Any]:
        self.checked, self.constants = checked, policy.constants
        written: dict[str, Any] = {
            "kind": policy.kind,
            "name": policy.name,
            "namespace": policy.namespace,
            "service": policy.target.service,
            "operations": list(policy.target.operations),
            "allow_tentative": policy.allow_tentative,
            "shadow": policy.shadow,
            "file": policy.at.file,
            "line": policy.at.line,
        }
        rules: Iterable[Rule] = getattr(policy, "rules", ())
        return written | {"default": self.default(policy), "rules": [self.rule(rule) for rule in rules]}

    def default(self, policy: Policy) -> Any:
        if isinstance(policy, TrafficPolicy):
            return None if policy.default is None else self.route(policy.default)
        if isinstance(policy, QosPolicy):
            return None if policy.default is None else _qos(policy.default)
        return policy.default if isinstance(policy, AccessPolicy) else None

    def rule(self, rule: Rule) -> dict[str, Any]:
        expression = shape_of(self.checked[id(rule.when)].tree, self.constants)
        self.note(expression.shape)
        return {
            "name": rule.name,
            "clause": rule.when.text.strip(),
            "line": rule.at.line,
            "column": rule.at.column,
            "when": self.shapes.add(expression),
            "models": list(models_of(expression.shape)),
            **_clauses(self.checked[id(rule.when)]),
            **self.effect(rule),
        }

    def effect(self, rule: Rule) -> dict[str, Any]:
        if isinstance(rule, TrafficRule):
            return {"route": self.route(rule.route), "advice": dict(rule.advice)}
        if isinstance(rule, QosRule):
            return _qos(rule)
        if isinstance(rule, LimitRule):
            return {"limit": self.limit(rule)}
        return _access(rule) if isinstance(rule, AccessRule) else {}

    def route(self, route: TrafficRoute) -> dict[str, Any]:
        subset = route.subset
        if route.sticky is not None:
            self.uses.add("xxhash")
        return {
            "version": subset.version if subset else "",
            "labels": dict(sorted(subset.labels.items())) if subset else {},
            "split": [[share.version, share.weight] for share in route.split],
            "sticky": None if route.sticky is None else self.expression(route.sticky),
            "salt": route.salt,
            "priority": route.priority,
            "timeout": route.timeout,
        }

    def limit(self, rule: LimitRule) -> dict[str, Any]:
        key = None if rule.key is None else self.expression(rule.key)
        return {"requests": rule.requests, "per": rule.per, "burst": rule.burst, "key": key}

    def expression(self, condition: Any) -> dict[str, Any]:
        expression = shape_of(self.checked[id(condition)].tree, self.constants)
        self.note(expression.shape)
        return {
            **self.shapes.add(expression),
            "models": list(models_of(expression.shape)),
            "clause": condition.text.strip(),
        }

    def note(self, shape: Any) -> None:
        if any(node[0] == "call" and node[1] == "matches" for node in expressions(shape)):
            self.uses.add("re2")


def _clauses(checked: Checked) -> dict[str, Any]:
    texts = clause_texts(checked)
    return {"clauses": texts} if len(texts) > 1 else {}


def _qos(rule: QosRule) -> dict[str, Any]:
    return {"qos": {"priority": rule.priority, "class": rule.service_class}, "advice": dict(rule.advice)}


def _access(rule: AccessRule) -> dict[str, Any]:
    return {"effect": rule.effect, "reason": rule.reason, "by": rule.by, "acr": rule.acr, "max_age": rule.max_age}
