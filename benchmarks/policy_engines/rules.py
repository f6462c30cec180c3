"""Rule sets and calls as data, the same for every engine; each engine writes the rules in its own language.

A rule belongs to a service and asks for all of its tests; the first rule of a service that holds wins. Beside what its
shape is about, each rule asks for an amount, so that after every look-up a condition is left to evaluate; in ``range``
that is the interval's end.

======  ===============================================================================================
eq      a service and a state each, a hundred rules a service
attr    one service and one state; a string attribute of its own each
in      one service; a list of three strings of its own each
prefix  one service; a prefix of its own each, of several lengths
range   one service; an interval of its own each, with gaps
mixed   as ``attr``, but each twentieth asks what no key can find: a text that contains another
======  ===============================================================================================
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

__all__ = [
    "SHAPES",
    "Call",
    "Rule",
    "RuleSet",
    "Test",
    "by_service",
    "calls",
    "changed",
    "first_match",
    "rules",
    "states",
]

PER_SERVICE, RESIDUE = 100, 20
SEED = 20240229


class Test(NamedTuple):
    """One comparison of a fact of the order with a constant. ``op``: ==, in, prefix, contains, >=, <."""

    fact: str
    op: str
    value: Any


class Rule(NamedTuple):
    """A rule: its name, its service, and the tests that must all hold."""

    name: str
    service: str
    tests: tuple[Test, ...]


class RuleSet(NamedTuple):
    """Rules of one shape in order."""

    shape: str
    rules: list[Rule]


class Call(NamedTuple):
    """What a call brings, and the name of the rule that it was made to hit; None for a miss."""

    service: str
    state: str
    sku: str
    amount: int
    note: str
    meant: str | None


def _least(number: int) -> int:
    return 100 + number % 7 * 100


def _amount(number: int) -> Test:
    return Test("amount", ">=", _least(number))


def _eq(number: int) -> Rule:
    service, state = divmod(number, PER_SERVICE)
    return Rule(f"r{number}", f"s{service}", (Test("state", "==", f"x{state}"), _amount(number)))


def _attr(number: int) -> Rule:
    tests = (Test("state", "==", "open"), Test("sku", "==", f"k{number}"), _amount(number))
    return Rule(f"r{number}", "s0", tests)


def _in(number: int) -> Rule:
    values = tuple(f"k{number}{end}" for end in "abc")
    return Rule(f"r{number}", "s0", (Test("sku", "in", values), _amount(number)))


def _prefix(number: int) -> Rule:
    return Rule(f"r{number}", "s0", (Test("sku", "prefix", f"k{number}-"), _amount(number)))


def _range(number: int) -> Rule:
    return Rule(f"r{number}", "s0", (Test("amount", ">=", 10 * number), Test("amount", "<", 10 * number + 8)))


def _mixed(number: int) -> Rule:
    if number % RESIDUE != 5:
        return _attr(number)
    return Rule(f"r{number}", "s0", (Test("note", "contains", f"w{number};"), _amount(number)))


SHAPES: dict[str, Callable[[int], Rule]] = {
    "eq": _eq,
    "attr": _attr,
    "in": _in,
    "prefix": _prefix,
    "range": _range,
    "mixed": _mixed,
}


def rules(shape: str, count: int) -> RuleSet:
    """Give as many rules of a shape."""
    return RuleSet(shape, [SHAPES[shape](number) for number in range(count)])


def changed(rule_set: RuleSet) -> RuleSet:
    """Give the same rule set with one rule changed: the last asks for one more."""
    *others, last = rule_set.rules
    *tests, end = last.tests
    return rule_set._replace(rules=[*others, last._replace(tests=(*tests, end._replace(value=end.value + 1)))])


def states() -> tuple[str, ...]:
    """Give every state that an order may be in."""
    return ("open", "other", *(f"x{number}" for number in range(PER_SERVICE)))


def calls(shape: str, count: int, *, hit: bool, size: int) -> list[Call]:
    """Give ``size`` calls in a fixed shuffled order, made for rules from all over the set, or for none."""
    order = random.Random(f"{SEED}/{shape}/{count}/{hit}")
    numbers = order.sample(range(count), size) if size <= count else [number % count for number in range(size)]
    made = [(_hit if hit else _miss)(shape, number, turn, count) for turn, number in enumerate(numbers)]
    order.shuffle(made)
    return made


def _hit(shape: str, number: int, turn: int, count: int) -> Call:
    rule = SHAPES[shape](number)
    facts = {"state": "open", "sku": "none", "amount": _least(number) + turn % 50, "note": "nothing to see"}
    facts |= {test.fact: _matching(test, turn) for test in rule.tests if test.op not in (">=", "<")}
    if shape == "range":
        facts["amount"] = 10 * number + turn % 8
    if shape == "mixed" and turn % 10 == 0 and facts["sku"] == "none":
        later = min(number + 1, count - 1)  # a later rule matches as well: the first one must win
        facts |= {"sku": f"k{later}", "amount": 1000}
    return Call(rule.service, **facts, meant=rule.name)


def _matching(test: Test, turn: int) -> Any:
    if test.op == "in":
        return test.value[turn % len(test.value)]
    return {"prefix": f"{test.value}{turn}", "contains": f"says {test.value} no more"}.get(test.op, test.value)


def _miss(shape: str, number: int, turn: int, count: int) -> Call:
    """Give a call that misses by its key, or, each second one, by the condition that is left."""
    call = _hit(shape, number, turn, count)._replace(meant=None)
    if shape == "range":
        return call._replace(amount=10 * number + 8 + turn % 2 if turn % 2 else 10 * count + turn)
    if turn % 2:
        return call._replace(amount=50)
    return call._replace(state="other", sku=f"k{number}!", note=f"nothing about w{number}", amount=1000)


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "in": lambda value, values: value in values,
    "prefix": str.startswith,
    "contains": operator.contains,
    ">=": operator.ge,
    "<": operator.lt,
}


def first_match(ordered: Iterable[Rule], call: Call) -> str | None:
    """Give the first rule that holds by trying all of them in order: the truth that every engine is held to."""
    for rule in ordered:
        if rule.service == call.service and all(
            _HOLDS[op](getattr(call, fact), value) for fact, op, value in rule.tests
        ):
            return rule.name
    return None


def by_service(ordered: Sequence[Rule]) -> Iterator[tuple[str, list[Rule]]]:
    """Yield each service with its rules in order."""
    found: dict[str, list[Rule]] = {}
    for rule in ordered:
        found.setdefault(rule.service, []).append(rule)
    yield from found.items()
