"""Runs cases: decides each by the engine, compares what it expects, and tells why a decision is another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcp_sdk.decisions import Decision
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.explain import Explanation, RuleSeen, explain
from mcp_sdk.policy.testing.cases import Case
from mcp_sdk.policy.testing.expectations import CHANCE, Difference, Vocabulary, compare, observe

__all__ = ["Verified", "Verifier"]

SHOWN = 6


@dataclass(frozen=True, slots=True)
class Verified:
    """A case, the decision on it, and where that is not as expected."""

    case: Case
    decision: Decision
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether the decision is as expected."""
        return not self.differences


class Verifier:
    """Verifies cases against the policies of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._vocabulary = Vocabulary(engine)

    def verify(self, case: Case) -> Verified:
        """Decide a case, and compare what it expects."""
        decision = self.engine.decide(case.request)
        observed = observe(decision, self._vocabulary.of(case.request))
        return Verified(case, decision, compare(case.expected, observed))

    def explain(self, verified: Verified) -> tuple[str, ...]:
        """Give the lines that say why: the rule that spoke, and of those that were expected the clause that failed."""
        explanation = explain(self.engine, verified.case.request)
        lines = [f"{verified.decision.sentence()}."]
        if any(difference.observed.find(CHANCE) >= 0 for difference in verified.differences):
            lines.append("a split decides by chance where nothing sticks: expect the split, or give what it sticks to")
        rules = list(_concerned(verified, explanation))
        lines += [f"{policy}: {rule}" for policy, rule in rules[:SHOWN]]
        return (*lines, f"… and {len(rules) - SHOWN} more rules") if len(rules) > SHOWN else tuple(lines)


_KINDS = {
    "route": ("TrafficPolicy",),
    "qos": ("QosPolicy",),
    "advice": ("TrafficPolicy", "QosPolicy"),
    "limits": ("RateLimitPolicy",),
}


def _concerned(verified: Verified, explanation: Explanation) -> Iterator[tuple[str, RuleSeen]]:
    """Yield the rules that were expected to speak; where none is named, all of the kinds that are not as expected."""
    named = {(one.get("policy"), one["rule"]) for one in _reasons(verified.case) if "rule" in one}
    kinds = {kind for one in verified.differences for kind in _KINDS.get(one.aspect, ("AccessPolicy",))}
    for policy in explanation.policies:
        for rule in policy.rules:
            wanted = {(policy.policy, rule.rule), (None, rule.rule)} & named
            if wanted or (not named and policy.kind in kinds):
                yield policy.policy, rule


def _reasons(case: Case) -> list[dict[str, str]]:
    return [*case.expected.get("reason", ()), *case.expected.get("limits", ())]
