"""The ``cel`` crate, through common-expression-language: it has no index, so the programs of a service are scanned."""

from __future__ import annotations

import json
from typing import Any

import cel
from policy_engines.cel_text import clauses
from policy_engines.entrant import Entrant
from policy_engines.rules import Call, RuleSet

__all__ = ["CelRust"]


class CelRust(Entrant):
    """Compiled programs by service, in order."""

    name = "cel-rust"

    def source(self, rule_set: RuleSet) -> str:
        return json.dumps([(rule.service, rule.name, " && ".join(clauses(rule))) for rule in rule_set.rules])

    def load(self, text: str) -> None:
        self.services: dict[str, list[tuple[Any, str]]] = {}
        for service, name, expression in json.loads(text):
            program = cel.compile(expression)
            self.services.setdefault(service, []).append((program.execute, name))

    def input(self, call: Call) -> Any:
        facts = {"state": call.state, "sku": call.sku, "amount": call.amount, "note": call.note}
        return call.service, cel.Context(facts)

    def find(self, given: Any) -> Any:
        service, context = given
        for execute, name in self.services.get(service, ()):
            if execute(context):
                return name
        return None

    def rule_of(self, answer: Any) -> str | None:
        return answer
