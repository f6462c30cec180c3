"""The floor: the index that a good engineer writes by hand for each shape, with a lambda for what is left to ask.

It reads the same requests as the engine and gives the rule. What a key proves is not asked again; the first rule wins.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from policy_engines.entrant import Entrant
from policy_engines.requests import request_of
from policy_engines.rules import Call, Rule, RuleSet, Test

from mcp_sdk import DecisionRequest, ModelContext

__all__ = ["Floor"]

Find = Callable[[DecisionRequest], str | None]
When = Callable[[ModelContext], bool]
Entry = tuple[int, When, str]
"""A rule's place in the order, its condition, and its name."""


class Floor(Entrant):
    """A dict, or a bisection, and lambdas."""

    name = "floor"

    def source(self, rule_set: RuleSet) -> str:
        return json.dumps(rule_set)

    def load(self, text: str) -> None:
        shape, listed = json.loads(text)
        ordered = [Rule(name, service, tuple(Test(*test) for test in tests)) for name, service, tests in listed]
        self.find = _FINDERS[shape](ordered)

    def input(self, call: Call) -> Any:
        return request_of(call)

    def rule_of(self, answer: Any) -> str | None:
        return answer


def _least(value: int) -> When:
    return lambda order: order.attributes.get("amount", 0) >= value


def _below(value: int) -> When:
    return lambda order: order.attributes.get("amount", 0) < value


def _value(rule: Rule, fact: str) -> Any:
    return next(test.value for test in rule.tests if test.fact == fact)


def _entries(ordered: Iterable[Rule]) -> Iterable[tuple[Rule, Entry]]:
    for number, rule in enumerate(ordered):
        yield rule, (number, _least(_value(rule, "amount")), rule.name)


def _table(keyed: Iterable[tuple[tuple[str, ...], Entry]]) -> dict[str, Any]:
    """File entries under their keys, a dict in a dict: quicker than one dict with tuples for keys."""
    table: dict[str, Any] = {}
    for (*ways, last), entry in keyed:
        place = table
        for way in ways:
            place = place.setdefault(way, {})
        place.setdefault(last, []).append(entry)
    return table


_NOTHING: dict[str, Any] = {}


def _by_state(ordered: Sequence[Rule]) -> Find:
    services = _table(((rule.service, _value(rule, "state")), entry) for rule, entry in _entries(ordered))

    def find(request: DecisionRequest) -> str | None:
        order = request.contexts.get("order")
        if order is None:
            return None
        for _, when, rule in services.get(request.service, _NOTHING).get(order.state, ()):
            if when(order):
                return rule
        return None

    return find


def _by_sku(ordered: Sequence[Rule]) -> Find:
    keyed = (((rule.service, _value(rule, "state"), _value(rule, "sku")), entry) for rule, entry in _entries(ordered))
    services = _table(keyed)

    def find(request: DecisionRequest) -> str | None:
        order = request.contexts.get("order")
        if order is None:
            return None
        states = services.get(request.service, _NOTHING)
        for _, when, rule in states.get(order.state, _NOTHING).get(order.attributes.get("sku"), ()):
            if when(order):
                return rule
        return None

    return find


def _by_list(ordered: Sequence[Rule]) -> Find:
    keyed = (((rule.service, value), entry) for rule, entry in _entries(ordered) for value in _value(rule, "sku"))
    services = _table(keyed)

    def find(request: DecisionRequest) -> str | None:
        order = request.contexts.get("order")
        if order is None:
            return None
        for _, when, rule in services.get(request.service, _NOTHING).get(order.attributes.get("sku"), ()):
            if when(order):
                return rule
        return None

    return find


def _by_prefix(ordered: Sequence[Rule]) -> Find:
    """Look up as many letters as there are in any prefix, for each number of letters; one may be within another."""
    services = _table(((rule.service, _value(rule, "sku")), entry) for rule, entry in _entries(ordered))
    lengths = {service: tuple(sorted(set(map(len, prefixes)))) for service, prefixes in services.items()}

    def find(request: DecisionRequest) -> str | None:
        order, prefixes = request.contexts.get("order"), services.get(request.service)
        if order is None or prefixes is None:
            return None
        sku, first = order.attributes.get("sku", ""), None
        for length in lengths[request.service]:
            for entry in prefixes.get(sku[:length], ()):
                if (first is None or entry < first) and entry[1](order):
                    first = entry
        return None if first is None else first[2]

    return find


def _by_interval(ordered: Sequence[Rule]) -> Find:
    """Bisect the intervals' beginnings; they do not overlap, and are listed as they begin."""
    services: dict[str, tuple[list[int], list[Entry]]] = {}
    for number, rule in enumerate(ordered):
        (_, _, begin), (_, _, end) = rule.tests
        begins, entries = services.setdefault(rule.service, ([], []))
        begins.append(begin)
        entries.append((number, _below(end), rule.name))

    def find(request: DecisionRequest) -> str | None:
        order, held = request.contexts.get("order"), services.get(request.service)
        if order is None or held is None:
            return None
        place = bisect_right(held[0], order.attributes.get("amount", -1)) - 1
        if place < 0:
            return None
        _, when, rule = held[1][place]
        return rule if when(order) else None

    return find


def _with_residue(ordered: Sequence[Rule]) -> Find:
    """Look up what has a key; scan what has none as long as it stands before what was found."""
    keyed, scanned = [], []
    for rule, (number, when, name) in _entries(ordered):
        if rule.tests[0].op == "contains":
            scanned.append((number, _says(rule.tests[0].value, _value(rule, "amount")), name))
        else:
            keyed.append(((rule.service, _value(rule, "state"), _value(rule, "sku")), (number, when, name)))
    services = _table(keyed)

    def find(request: DecisionRequest) -> str | None:
        order = request.contexts.get("order")
        if order is None:
            return None
        before, found = len(ordered), None
        states = services.get(request.service, _NOTHING)
        for number, when, rule in states.get(order.state, _NOTHING).get(order.attributes.get("sku"), ()):
            if when(order):
                before, found = number, rule
                break
        for number, when, rule in scanned:
            if number > before:
                break
            if when(order):
                return rule
        return found

    return find


def _says(text: str, least: int) -> When:
    return lambda order: text in order.attributes.get("note", "") and order.attributes.get("amount", 0) >= least


_FINDERS: dict[str, Callable[[Sequence[Rule]], Find]] = {
    "eq": _by_state,
    "attr": _by_sku,
    "in": _by_list,
    "prefix": _by_prefix,
    "range": _by_interval,
    "mixed": _with_residue,
}
