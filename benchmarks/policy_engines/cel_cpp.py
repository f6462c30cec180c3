"""cel-cpp, through cel-expr-python: it has no index, so the programs of a service are scanned."""

from __future__ import annotations

import json
from typing import Any

from cel_expr_python import cel
from policy_engines.cel_text import clauses
from policy_engines.entrant import Entrant
from policy_engines.rules import Call, RuleSet

__all__ = ["CelCpp"]


class CelCpp(Entrant):
    """Programs checked against typed variables, by service, in order; loaded from what they serialise to."""

    name = "cel-cpp"

    def __init__(self) -> None:
        kinds = cel.Type
        facts = {"state": kinds.STRING, "sku": kinds.STRING, "amount": kinds.INT, "note": kinds.STRING}
        self.env = cel.NewEnv(variables=facts)

    def source(self, rule_set: RuleSet) -> str:
        return json.dumps(
            [(rule.service, rule.name, self._checked(" && ".join(clauses(rule)))) for rule in rule_set.rules]
        )

    def _checked(self, expression: str) -> str:
        return self.env.compile(expression).serialize().hex()

    def load(self, text: str) -> None:
        self.services: dict[str, list[tuple[Any, str]]] = {}
        for service, name, checked in json.loads(text):
            program = self.env.deserialize(bytes.fromhex(checked))
            self.services.setdefault(service, []).append((program.eval, name))

    def input(self, call: Call) -> Any:
        facts = {"state": call.state, "sku": call.sku, "amount": call.amount, "note": call.note}
        return call.service, self.env.Activation(facts)

    def find(self, given: Any) -> Any:
        service, activation = given
        for evaluate, name in self.services.get(service, ()):
            if evaluate(activation).value():
                return name
        return None

    def rule_of(self, answer: Any) -> str | None:
        return answer
