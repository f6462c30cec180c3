"""pycasbin: a policy line a rule, one matcher a shape. ``Enforcer`` tries each line, ``FastEnforcer`` those of a key.

The rule is the line that ``enforce_ex`` explains by. A list of values is a line each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import casbin
from casbin.model import FastModel, fast_policy_filter
from casbin.persist import Adapter
from policy_engines.entrant import Entrant, NotExpressible
from policy_engines.rules import Call, Rule, RuleSet

__all__ = ["Fast", "Plain"]

MODEL = """\
[request_definition]
r = service, {request}
[policy_definition]
p = service, {policy}, rule
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.service == p.service && {matcher}
"""
SAYS = "p.text != '' && contains(r.note, p.text)"
SHAPES = {
    "eq": ("state, amount", "state, least", "r.state == p.state && r.amount >= p.least"),
    "attr": ("sku, state, amount", "sku, state, least", "r.sku == p.sku && r.state == p.state && r.amount >= p.least"),
    "in": ("sku, amount", "sku, least", "r.sku == p.sku && r.amount >= p.least"),
    "prefix": ("model, sku, amount", "model, prefix, least", "keyMatch(r.sku, p.prefix) && r.amount >= p.least"),
    "range": ("model, amount", "model, least, end", "r.amount >= p.least && r.amount < p.end"),
    "mixed": (
        "sku, state, note, amount",
        "sku, state, text, least",
        f"({SAYS} || p.text == '' && r.sku == p.sku && r.state == p.state) && r.amount >= p.least",
    ),
}
KEYED = ("eq", "attr", "in", "prefix", "range")
KEYS = [0, 1]
COLUMNS = {"least": ("amount", ">="), "end": ("amount", "<"), "prefix": ("sku", "prefix"), "text": ("note", "contains")}


class Plain(Entrant):
    """``Enforcer``."""

    name = "casbin"

    def source(self, rule_set: RuleSet) -> str:
        request, policy, matcher = SHAPES[rule_set.shape]
        rows = [row for rule in rule_set.rules for row in _rows(rule, policy.split(", "))]
        model = MODEL.format(request=request, policy=policy, matcher=matcher)
        return json.dumps({"model": model, "facts": request.split(", "), "rows": rows})

    def load(self, text: str) -> None:
        held = json.loads(text)
        model = casbin.Enforcer.new_model(text=held["model"])
        self.enforcer = casbin.Enforcer(model, _adapter(held["rows"]))
        self._begin(held["facts"])

    def _begin(self, facts: Sequence[str]) -> None:
        self.facts = facts
        self.enforcer.add_function("contains", lambda text, part: part in text)

    def input(self, call: Call) -> Any:
        facts = {"model": "order", "state": call.state, "sku": call.sku, "amount": call.amount, "note": call.note}
        return [call.service, *[facts[name] for name in self.facts]]

    def find(self, given: Any) -> Any:
        return self.enforcer.enforce_ex(*given)

    def rule_of(self, answer: Any) -> str | None:
        permitted, line = answer
        return line[-1] if permitted else None


class Fast(Plain):
    """``FastEnforcer`` with the service and the shape's attribute as its keys."""

    name = "casbin-fast"

    def source(self, rule_set: RuleSet) -> str:
        if rule_set.shape not in KEYED:
            raise NotExpressible("FastEnforcer keeps the lines of a key in a set, which has no first")
        return super().source(rule_set)

    def load(self, text: str) -> None:
        held = json.loads(text)
        model = FastModel(KEYS)
        model.load_model_from_text(held["model"])
        self.enforcer = casbin.FastEnforcer(model, _adapter(held["rows"]), cache_key_order=KEYS)
        self.policy = self.enforcer.model.model["p"]["p"].policy
        self._begin(held["facts"])

    def find(self, given: Any) -> Any:
        with fast_policy_filter(self.policy, *[given[key] for key in KEYS]):
            return self.enforcer.enforce_ex(*given)


def _adapter(rows: Sequence[Sequence[Any]]) -> Any:
    """Give an adapter that puts lines into a model as they are; casbin's own would make numbers strings."""

    class Rows(Adapter):
        def load_policy(self, model: Any) -> None:
            for row in rows:
                model.model["p"]["p"].policy.append(row)

    return Rows()


def _rows(rule: Rule, columns: Sequence[str]) -> Iterator[list[Any]]:
    """Give a rule's lines; a prefix is written as casbin's ``keyMatch`` wants it."""
    held = {(test.fact, test.op): test.value for test in rule.tests}
    values = [_value(held, column) for column in columns]
    for place, value in enumerate(values):
        if isinstance(value, tuple):
            for each in value:
                yield [rule.service, *values[:place], each, *values[place + 1 :], rule.name]
            return
    yield [rule.service, *values, rule.name]


def _value(held: dict[tuple[str, str], Any], column: str) -> Any:
    if column == "prefix":
        return f"{held['sku', 'prefix']}*"
    if column == "model":
        return "order"
    if column in COLUMNS:
        return held.get(COLUMNS[column], "")
    return held.get((column, "=="), held.get((column, "in"), ""))
