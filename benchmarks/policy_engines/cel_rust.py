"""The ``cel`` crate, through common-expression-language: it has no index, so the programs of a service are scanned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcp_sdk import DecisionRequest

from policy_engines.cel_text import clauses
from policy_engines.entrant import Entrant
from policy_engines.rules import Call, Rule

__all__ = ["CelRust"]


class CelRust(Entrant):
    """Compiled programs by service, in order."""

    name = "cel-rust"
    packages = ("common-expression-language==0.10.0",)

    def prepare(self) -> None:
        import cel

        self.cel = cel

    def source(self, ordered: Sequence[Rule], shape: str) -> str:
        return json.dumps([(rule.service, rule.name, " && ".join(clauses(rule))) for rule in ordered])

    def load(self, text: str) -> None:
        self.services: dict[str, list[tuple[Any, str]]] = {}
        for service, name, expression in json.loads(text):
            program = self.cel.compile(expression)
            self.services.setdefault(service, []).append((program.execute, name))

    def input(self, call: Call, request: DecisionRequest) -> Any:
        facts = {"state": call.state, "sku": call.sku, "amount": call.amount, "note": call.note}
        return call.service, self.cel.Context(facts)

    def find(self, given: Any) -> Any:
        service, context = given
        for execute, name in self.services.get(service, ()):
            if execute(context):
                return name
        return None

    def rule_of(self, answer: Any) -> str | None:
        return answer
