"""Programs: compiled policies as versioned plain JSON, read by a runtime with no native dependency.

    {"format": 2,
     "shapes": [{"expr": …, "params": ["string", …], "models": […]}, …],
     "effects": [{"route": {"version": "v2"}, "advice": {…}}, {"effect": "deny", "reason": …}, {"qos": …}, …],
     "policies": [{"kind", "name", "namespace", "service", "operations", "allow_tentative", "shadow", "file", "line",
                   "digest", "default": …,
                   "rules": [[name, clause, line, column, shape, [constants…], effect, cut, cut…], …]}, …],
     "uses": ["re2", "xxhash"]}

A rule is a row (``RuleRow``), for there may be a hundred thousand: ``shape`` and ``effect`` are numbers of the tables;
``cut`` is where an ``&&`` parts two clauses of ``clause``, in code points. Format 1 had a list of the clauses' texts in
the place of the cuts, and is read as well.
``digest`` is the SHA-256 of all that a policy says, shapes and effects included, wherever the tables hold them: a
policy with the digest of one that is loaded need not be loaded again. Equal sources and models give equal programs,
byte for byte. ``shapes`` describes expressions; see module ``shapes``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.policy.cel.clauses import clause_cuts, cut
from mcp_sdk.policy.cel.presence import models_of
from mcp_sdk.policy.cel.shapes import Table, expressions, shape_of
from mcp_sdk.policy.check import Checked
from mcp_sdk.policy.source.resources import (
    AccessPolicy,
    AccessRule,
    Condition,
    LimitRule,
    Policy,
    QosPolicy,
    QosRule,
    Rule,
    TrafficPolicy,
    TrafficRoute,
    TrafficRule,
)
from mcp_sdk.snapshot import canonical

__all__ = ["FORMAT", "CheckedPolicy", "RuleRow", "build_program", "check_format", "refuses"]

FORMAT, READ = 2, (1, 2)

CheckedPolicy = tuple[Policy, Mapping[int, Checked]]
"""A policy and its checked expressions, by ``id`` of the condition."""


class RuleRow(NamedTuple):
    """One rule as a program holds it: its condition's text is ``clause``, and ``cuts`` part that into ``clauses``."""

    name: str
    clause: str
    line: int
    column: int
    shape: int
    constants: Sequence[Any]
    effect: int
    cuts: Sequence[int] = ()
    texts: Sequence[str] = ()

    @classmethod
    def of(cls, row: Sequence[Any]) -> RuleRow:
        """Read a row of a program, also of format 1."""
        name, clause, line, column, shape, constants, effect, *rest = row
        texts, cuts = (rest[0], []) if rest and isinstance(rest[0], list) else ((), rest)
        return cls(name, clause, line, column, shape, constants, effect, cuts, texts)

    @property
    def clauses(self) -> Sequence[str]:
        """The text of each clause that ``&&`` joins, the whole condition where there is one."""
        return self.texts or (cut(self.clause, self.cuts) if self.cuts else [self.clause])


def refuses(effect: Mapping[str, Any]) -> bool:
    """Tell whether an effect refuses, so that an error makes its rule match."""
    return "limit" in effect or effect.get("effect", "permit") != "permit"


def check_format(programs: Mapping[str, Any]) -> None:
    """Raise ``ConfigurationError`` when these programs are not of a format that this version reads."""
    found = programs.get("format", FORMAT if not programs else None)
    if found not in READ:
        raise ConfigurationError(
            f"policy programs are of format {found!r}; this version of mcp-sdk reads {READ[0]} to {FORMAT}. "
            "Compile them again."
        )


def build_program(policies: Iterable[CheckedPolicy]) -> dict[str, Any]:
    """Write checked policies as one program."""
    builder = _Builder()
    written = [builder.policy(policy, checked) for policy, checked in policies]
    return {
        "format": FORMAT,
        "shapes": builder.shapes.rows,
        "effects": builder.effects.rows,
        "policies": written,
        "uses": sorted(builder.uses),
    }


class _Builder:
    def __init__(self) -> None:
        self.shapes, self.effects = Table(), Table()
        self.uses: set[str] = set()
        self.shape_said = cache(lambda number: canonical(self.shapes.rows[number]))
        self.effect_said = cache(lambda number: canonical(self.spelt(self.effects.rows[number])))

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
        written |= {"default": self.default(policy), "rules": [self.rule(rule) for rule in rules]}
        return written | {"digest": self.digest(written)}

    def digest(self, written: Mapping[str, Any]) -> str:
        """Hash a policy with the shapes and effects that its numbers stand for."""
        default = self.spelt({"route": written["default"]})
        said = hashlib.sha256(canonical({**written, "default": default, "rules": []}))
        for row in written["rules"]:
            name, clause, line, column, shape, constants, effect, *cuts = row
            said.update(canonical([name, clause, line, column, constants, cuts]))
            said.update(self.shape_said(shape) + self.effect_said(effect))
        return said.hexdigest()

    def spelt(self, effect: Mapping[str, Any]) -> dict[str, Any]:
        """Give an effect with the shapes of its expressions in the place of their numbers."""
        plain = dict(effect)
        for part, name in (("route", "sticky"), ("limit", "key")):
            held = plain.get(part)
            written = held.get(name) if isinstance(held, Mapping) else None
            if written:
                plain[part] = {**plain[part], name: {**written, "shape": self.shapes.rows[written["shape"]]}}
        return plain

    def default(self, policy: Policy) -> Any:
        if isinstance(policy, TrafficPolicy):
            return None if policy.default is None else self.route(policy.default)
        if isinstance(policy, QosPolicy):
            return None if policy.default is None else _qos(policy.default)
        return policy.default if isinstance(policy, AccessPolicy) else None

    def rule(self, rule: Rule) -> list[Any]:
        checked = self.checked[id(rule.when)]
        reference = self.expression(rule.when)
        row = [rule.name, reference["clause"], rule.at.line, rule.at.column, reference["shape"], reference["constants"]]
        before = len(rule.when.text) - len(rule.when.text.lstrip())
        return [*row, self.effects.add(self.effect(rule)), *(place - before for place in clause_cuts(checked))]

    def effect(self, rule: Rule) -> dict[str, Any]:
        if isinstance(rule, TrafficRule):
            return {"route": self.route(rule.route), **_written({"advice": dict(rule.advice)})}
        if isinstance(rule, QosRule):
            return _qos(rule)
        if isinstance(rule, LimitRule):
            return {"limit": self.limit(rule)}
        return _access(rule) if isinstance(rule, AccessRule) else {}

    def route(self, route: TrafficRoute) -> dict[str, Any]:
        subset = route.subset
        if route.sticky is not None:
            self.uses.add("xxhash")
        written = {
            "version": subset.version if subset else "",
            "labels": dict(sorted(subset.labels.items())) if subset else {},
            "split": [[share.version, share.weight] for share in route.split],
            "sticky": None if route.sticky is None else self.expression(route.sticky),
            "salt": route.salt,
            "priority": route.priority,
            "timeout": route.timeout,
        }
        return _written(written)

    def limit(self, rule: LimitRule) -> dict[str, Any]:
        key = {} if rule.key is None else {"key": self.expression(rule.key)}
        return {"requests": rule.requests, "per": rule.per, "burst": rule.burst, **key}

    def expression(self, condition: Condition) -> dict[str, Any]:
        expression = shape_of(self.checked[id(condition)].tree, self.constants)
        if any(node[0] == "call" and node[1] == "matches" for node in expressions(expression.shape)):
            self.uses.add("re2")
        shape = {
            "expr": expression.shape,
            "params": list(expression.params),
            "models": list(models_of(expression.shape)),
        }
        return {
            "shape": self.shapes.add(shape),
            "constants": list(expression.constants),
            "clause": condition.text.strip(),
        }


def _written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty."""
    return {name: value for name, value in fields.items() if value not in ("", None, [], {})}


def _qos(rule: QosRule) -> dict[str, Any]:
    qos = {"priority": rule.priority, **_written({"class": rule.service_class})}
    return {"qos": qos, **_written({"advice": dict(rule.advice)})}


def _access(rule: AccessRule) -> dict[str, Any]:
    details = {"reason": rule.reason, "by": rule.by, "acr": rule.acr, "max_age": rule.max_age}
    return {"effect": rule.effect, **_written(details)}
