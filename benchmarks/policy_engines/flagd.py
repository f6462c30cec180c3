"""flagd-core: a flag a service, whose targeting is one chain of conditions in JSONLogic, in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from policy_engines.entrant import Entrant
from policy_engines.rules import Call, Rule, RuleSet, Test, by_service

__all__ = ["Flagd"]


class Flagd(Entrant):
    """The in-process evaluator of OpenFeature's flagd."""

    name = "flagd"

    def __init__(self) -> None:
        self.core = FlagdCore()

    def source(self, rule_set: RuleSet) -> str:
        return json.dumps({"flags": {service: _flag(of_service) for service, of_service in by_service(rule_set.rules)}})

    def load(self, text: str) -> None:
        self.core.set_flags(text)

    def input(self, call: Call) -> Any:
        facts = {"state": call.state, "sku": call.sku, "amount": call.amount, "note": call.note}
        return call.service, EvaluationContext(attributes=facts)

    def find(self, given: Any) -> Any:
        service, context = given
        return self.core.resolve_string_value(service, "", context)

    def rule_of(self, answer: Any) -> str | None:
        if answer.error_code is not None:
            raise ValueError(answer.error_message)
        return answer.value or None


def _flag(ordered: Sequence[Rule]) -> dict[str, Any]:
    chain: list[Any] = []
    for rule in ordered:
        chain += [{"and": list(map(_clause, rule.tests))}, rule.name]
    variants = {rule.name: rule.name for rule in ordered}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": None, "targeting": {"if": [*chain, None]}}


def _clause(test: Test) -> dict[str, Any]:
    fact = {"var": test.fact}
    if test.op == "contains":
        return {"in": [test.value, fact]}
    constant = list(test.value) if isinstance(test.value, tuple) else test.value
    return {{"prefix": "starts_with"}.get(test.op, test.op): [fact, constant]}
