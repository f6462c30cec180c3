"""Coverage of policies by cases: which rules and defaults spoke, and which parts of conditions were seen both ways.

A part of a condition counts only where the parts before it left it open, as it is read from left to right. Policies in
shadow decide nothing, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.policy.cel.branches import Branch, branch_texts, branches_of, evaluate
from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.cel.environment import Environment
from mcp_sdk.policy.cel.syntax import Unsupported, decode
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.loading import LoadedPolicy
from mcp_sdk.policy.program import RuleRow, refuses

__all__ = ["Counted", "Coverage", "PartTried", "RuleTried", "Share"]

Key = tuple[str, str, str, str]
"""Namespace, kind, policy and rule; the rule is empty for the default."""


@dataclass(slots=True)
class PartTried:
    """A part of a condition: in how many cases it was true, false, or an error. ``constant`` ones are but one."""

    text: str
    true: int = 0
    false: int = 0
    error: int = 0
    constant: bool | None = None

    @property
    def tried(self) -> bool:
        """Whether it was evaluated at all."""
        return bool(self.true or self.false or self.error)

    @property
    def untried(self) -> tuple[str, ...]:
        """The values that it could have had and never did."""
        return tuple(
            name
            for name, value, count in (("true", True, self.true), ("false", False, self.false))
            if not count and self.constant in (None, value)
        )

    @property
    def values(self) -> int:
        """How many values it can have."""
        return 2 if self.constant is None else 1

    def note(self, value: bool | None) -> None:  # noqa: FBT001 - a CEL value
        """Count a value; None is an error."""
        name = {True: "true", False: "false", None: "error"}[value]
        setattr(self, name, getattr(self, name) + 1)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"text": self.text, "true": self.true, "false": self.false, "error": self.error}


@dataclass(slots=True)
class RuleTried:
    """A rule, or a policy's default (``rule`` is empty): in how many cases it ``matched``, and in how many it spoke."""

    namespace: str
    kind: str
    policy: str
    rule: str
    file: str
    line: int
    matched: int = 0
    spoke: int = 0
    parts: list[PartTried] = field(default_factory=list)

    @property
    def called(self) -> bool:
        """Whether a case asked the rule's condition at all."""
        return any(part.tried for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        names = ("namespace", "kind", "policy", "rule", "file", "line", "matched", "spoke")
        plain: dict[str, Any] = {name: getattr(self, name) for name in names}
        return plain | {"default": not self.rule, "parts": [part.to_dict() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many were tried."""

    tried: int
    total: int

    @property
    def percent(self) -> float:
        """In hundredths; all of nothing is 100."""
        return 100.0 * self.tried / self.total if self.total else 100.0

    def __str__(self) -> str:
        return f"{self.tried} of {self.total} ({_rounded_down(self.percent):g} %)"


def _rounded_down(percent: float) -> float:
    return int(percent * 10) / 10


@dataclass(frozen=True, slots=True)
class Counted:
    """The shares of rules, of defaults, and of the values that parts of conditions can have; ``total`` is of all."""

    rules: Share
    defaults: Share
    values: Share

    @property
    def total(self) -> Share:
        """All of them together."""
        shares = (self.rules, self.defaults, self.values)
        return Share(sum(share.tried for share in shares), sum(share.total for share in shares))

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        shares = {"rules": self.rules, "defaults": self.defaults, "values": self.values, "total": self.total}
        return {
            name: {"tried": share.tried, "total": share.total, "percent": _rounded_down(share.percent)}
            for name, share in shares.items()
        }


class Coverage:
    """Counts, case by case, what the policies of an engine did. Raises ``MissingExtra`` without cel-expr-python."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._conditions: dict[int, list[_Condition]] = {}
        environment = Environment(engine.models)
        self._tried: dict[Key, RuleTried] = {}
        for policy in sorted(engine.policies, key=lambda policy: (policy.plain["file"], policy.plain["line"])):
            self._conditions[id(policy)] = [
                self._rule(policy, RuleRow.of(row), environment) for row in policy.plain["rules"]
            ]
            if policy.plain["default"] is not None:
                self._add(policy, "", policy.plain["line"])

    def _rule(self, policy: LoadedPolicy, row: RuleRow, environment: Environment) -> _Condition:
        shape, effect = self.engine.programs["shapes"][row.shape], self.engine.programs["effects"][row.effect]
        tried = self._add(policy, row.name, row.line)
        branch, leaves = branches_of(shape["expr"])
        texts = _texts(row.clause, len(leaves), environment)
        tried.parts += [PartTried(text, constant=_constant(leaf)) for text, leaf in zip(texts, leaves, strict=True)]
        return _Condition(tried, branch, shape["params"], row.constants, refusing=refuses(effect))

    def _add(self, policy: LoadedPolicy, rule: str, line: int) -> RuleTried:
        tried = RuleTried(policy.namespace, policy.kind, policy.name, rule, policy.plain["file"], line)
        self._tried[policy.namespace, policy.kind, policy.name, rule] = tried
        return tried

    def note(self, request: DecisionRequest, decision: Decision) -> None:
        """Count what one call tried."""
        for policy in self.engine.applicable(request):
            for condition in self._conditions[id(policy)]:
                condition.note(request)
        for reason in (*decision.reasons, *(limit.reason for limit in decision.limits)):
            tried = self._tried.get((request.namespace, reason.kind, reason.policy, reason.rule))
            if tried is not None:
                tried.spoke += 1

    @property
    def rules(self) -> tuple[RuleTried, ...]:
        """Every rule and default, in the order of the files; a default after the rules of its policy."""
        return tuple(self._tried.values())

    def counted(self) -> Counted:
        """Sum it up."""
        every = self._tried.values()
        values = [part for one in every for part in one.parts]
        total = sum(part.values for part in values)
        return Counted(
            rules=_spoken(one for one in every if one.rule),
            defaults=_spoken(one for one in every if not one.rule),
            values=Share(total - sum(len(part.untried) for part in values), total),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {**self.counted().to_dict(), "policies": [one.to_dict() for one in self.rules]}


def _spoken(tried: Iterable[RuleTried]) -> Share:
    spoke = [one.spoke > 0 for one in tried]
    return Share(sum(spoke), len(spoke))


def _constant(leaf: Branch) -> bool | None:
    return leaf.shape[1] if leaf.shape[0] == "lit" else None


def _texts(text: str, count: int, environment: Environment) -> list[str]:
    if count == 1:
        return [text]
    try:
        texts = branch_texts(text, decode(environment.parse(text)))
    except (RuntimeError, Unsupported):
        texts = []
    return texts if len(texts) == count else [f"{text} [part {number}]" for number in range(1, count + 1)]


@dataclass(slots=True)
class _Condition:
    """A rule's condition, whose parts are compiled when a case first asks for them."""

    tried: RuleTried
    branch: Branch
    params: list[str]
    constants: Any
    refusing: bool = field(kw_only=True)
    compiled: dict[int, Any] = field(default_factory=dict)

    def note(self, request: DecisionRequest) -> None:
        value = evaluate(self.branch, lambda leaf: self.see(leaf, request))
        self.tried.matched += value is True or (value is None and self.refusing)

    def see(self, leaf: Branch, request: DecisionRequest) -> bool | None:
        value = self.value(leaf, request)
        self.tried.parts[leaf.number].note(value)
        return value

    def value(self, leaf: Branch, request: DecisionRequest) -> bool | None:
        condition = self.compiled.get(leaf.number)
        if condition is None:
            row: Mapping[str, Any] = {"expr": leaf.shape, "params": self.params}
            condition = compile_shape(row, "value", name="coverage")(*self.constants)
            self.compiled[leaf.number] = condition
        try:
            value = condition(request.contexts, request)
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return None
        return value if isinstance(value, bool) else None
