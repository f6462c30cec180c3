"""rego-cpp, through regopy: rules as data under their keys where Rego can look them up, else as a list to go through.

The module is built into a bundle once and asked by its entry point. The first match is the least number found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import regopy
from policy_engines.entrant import Entrant
from policy_engines.rules import Call, Rule, RuleSet

__all__ = ["Rego"]

FOUND = "found contains entry.number if {{ some entry in data.{}; {}; input.amount >= entry.least }}\n"
STEPS = {
    "eq": FOUND.format("keyed[input.service][input.state]", "true"),
    "attr": FOUND.format("keyed[input.service][input.state][input.sku]", "true"),
    "in": FOUND.format("keyed[input.service][input.sku]", "true"),
    "prefix": FOUND.format("listed[input.service]", "startswith(input.sku, entry.prefix)"),
    "range": FOUND.format("listed[input.service]", "input.amount < entry.end"),
    "mixed": FOUND.format("keyed[input.service][input.state][input.sku]", "true")
    + FOUND.format("listed[input.service]", "contains(input.note, entry.text)"),
}
MODULE = "package routes\n{}rule := sprintf(`r%d`, [min(found)]) if count(found) > 0\n"
KEYS = {"eq": ("state",), "attr": ("state", "sku"), "in": ("sku",), "mixed": ("state", "sku")}
NAMES = {("amount", ">="): "least", ("amount", "<"): "end", ("sku", "prefix"): "prefix", ("note", "contains"): "text"}


class Rego(Entrant):
    """One bundle, built once."""

    name = "rego-cpp"

    def source(self, rule_set: RuleSet) -> str:
        data: dict[str, Any] = {"keyed": {}, "listed": {}}
        for number, rule in enumerate(rule_set.rules):
            entry = {"number": number}
            entry |= {NAMES[test[:2]]: test.value for test in rule.tests if test[:2] in NAMES}
            if rule_set.shape in KEYS and rule.tests[0].op != "contains":
                _put(data["keyed"], rule, KEYS[rule_set.shape], entry)
            else:
                data["listed"].setdefault(rule.service, []).append(entry)
        return json.dumps({"module": MODULE.format(STEPS[rule_set.shape]), "data": data})

    def load(self, text: str) -> None:
        held, building, self.interpreter = json.loads(text), regopy.Interpreter(), regopy.Interpreter()
        building.add_data(held["data"])
        building.add_module("routes", held["module"])
        self.bundle = building.build(None, ["routes/rule"])

    def input(self, call: Call) -> Any:
        return regopy.Input(call._asdict() | {"meant": ""})

    def find(self, given: Any) -> Any:
        self.interpreter.set_input(given)
        return self.interpreter.query_bundle_entrypoint(self.bundle, "routes/rule")

    def rule_of(self, answer: Any) -> str | None:
        if not answer.ok():
            raise ValueError(str(answer))
        found = json.loads(str(answer)) if str(answer) != "undefined" else {}
        return found["expressions"][0] if found else None


def _put(keyed: dict[str, Any], rule: Rule, facts: Iterable[str], entry: dict[str, Any]) -> None:
    """File an entry under the service and each fact; under each value of a list."""
    places = [keyed.setdefault(rule.service, {})]
    for fact in facts:
        value = next(test.value for test in rule.tests if test.fact == fact)
        values = value if isinstance(value, tuple) else (value,)
        places = [place.setdefault(each, {}) for place in places for each in values]
    for place in places:
        place[str(entry["number"])] = entry
