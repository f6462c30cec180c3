"""Cedar in Rust, through cedarpy: a policy a rule, its service in the scope, the facts in the request's context.

Policies are parsed once, and requests come with their context written. Cedar has no order: it names every policy that
permits, and the first of them is the rule.
"""

from __future__ import annotations

import json
from typing import Any

import cedarpy
from policy_engines.entrant import Entrant
from policy_engines.rules import Call, Rule, RuleSet, Test

__all__ = ["Cedar"]


class Cedar(Entrant):
    """One policy set, parsed once."""

    name = "cedar"

    def source(self, rule_set: RuleSet) -> str:
        return "".join(map(_policy, rule_set.rules))

    def load(self, text: str) -> None:
        self.policies = cedarpy.PolicySet.from_str(text)
        self.nothing = cedarpy.Entities.from_json_str("[]")

    def input(self, call: Call) -> Any:
        facts = {"state": call.state, "sku": call.sku, "amount": call.amount, "note": call.note}
        service = {"type": "Service", "id": call.service}
        named = {"principal": {"type": "Caller", "id": "c"}, "action": {"type": "Action", "id": "call"}}
        return {**named, "resource": service, "context": json.dumps(facts)}

    def find(self, given: Any) -> Any:
        return cedarpy.is_authorized(given, self.policies, self.nothing)

    def rule_of(self, answer: Any) -> str | None:
        if answer.diagnostics.errors:
            raise ValueError(answer.diagnostics.errors)
        names = answer.diagnostics.id_annotations_by_reason.values()
        return min(names, key=lambda name: int(name[1:]), default=None)


def _policy(rule: Rule) -> str:
    when = " && ".join(map(_clause, rule.tests))
    scope = f'principal, action == Action::"call", resource == Service::"{rule.service}"'
    return f'@id("{rule.name}")\npermit({scope}) when {{ {when} }};\n'


def _clause(test: Test) -> str:
    fact = f"context.{test.fact}"
    if test.op == "in":
        return f"{json.dumps(test.value)}.contains({fact})"
    if test.op in ("prefix", "contains"):
        return f'{fact} like "{"*" if test.op == "contains" else ""}{test.value}*"'
    return f"{fact} {test.op} {json.dumps(test.value)}"
