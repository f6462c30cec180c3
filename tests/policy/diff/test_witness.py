"""Calls worth asking, and the requests that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from mcp_sdk.decisions import Geo, Phase, Principal, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.diff.witness import Side, Witness, witnesses

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HEAD = "kind: AccessPolicy\nmetadata: {name: %s}\nspec:\n  target: {service: s, operations: [%s]}\n  default: permit\n"
Models = Mapping[str, BusinessModel]


def side(name: str, operations: str, *rules: str, models: Models) -> Side:
    text = HEAD % (name, operations) + f"  rules: [{', '.join(f'{{{rule}}}' for rule in rules)}]\n"
    return Side(compile_policies({f"{name}.yaml": text}, models), models)


def test_calls_are_the_same_every_time(models: Models) -> None:
    """The same programs give the same calls in the same order, and none twice."""
    rules = ("when: order.items > 5 && user.tier == 'x', effect: deny", "when: order.express, effect: review, by: y")
    sides = [side("p", "", *rules, models=models), side("q", "'GET /a'", rules[0], models=models)]
    runs = [[call.command() for call in witnesses(sides, now=NOW)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == len(set(runs[0])) > 20


def test_every_rule_speaks_in_some_call(models: Models) -> None:
    """Also where the budget does not reach for every combination."""
    tiers = [
        f"name: r{number}, when: user.tier == 't{number}' && order.items > {number}, effect: deny"
        for number in range(9)
    ]
    one = side("p", "'POST /x/{id}', shop.pay", *tiers, models=models)
    engine = Engine(one.programs, models)
    calls = list(witnesses([one], now=NOW, budget=60))
    assert len(calls) == 60
    spoken = {reason.rule for call in calls for reason in engine.decide(call.request(models)).reasons}
    assert {f"r{number}" for number in range(9)} <= spoken


def test_operations_stand_for_patterns(models: Models) -> None:
    """One of each pattern, and one that no policy governs; a dotted name is asked as a method."""
    one = side("p", "'POST /x/{id}', shop.pay", models=models)
    asked = {call.operation: call.phase for call in witnesses([one], now=NOW)}
    assert asked == {"POST /x/id": Phase.INBOUND, "shop.pay": Phase.METHOD, "GET /other": Phase.INBOUND}


def test_a_request_is_what_the_words_say(models: Models) -> None:
    """Facts become contexts, principal, source and request of the call."""
    facts = {"order.state": "paid", "principal.roles": ("x",), "request.geo.country": "NO", "request.headers.x-a": "b"}
    witness = Witness("s", NOW, "GET /a", facts=facts)
    request = witness.request(models)
    assert request.contexts["order"].state == "paid"
    assert request.principal == Principal(roles=("x",))
    assert request.request == RequestFacts("GET", "/a", "GET /a", headers={"x-a": "b"}, geo=Geo("NO"))
    assert witness.command() == (
        "s --operation 'GET /a' order.state=paid principal.roles=x request.geo.country=NO request.headers.x-a=b"
    )


def test_a_fact_that_a_model_does_not_declare_is_absent(models: Models) -> None:
    """So that one call asks two sets of models."""
    witness = Witness("s", NOW, facts={"order.colour": "red", "order.items": 1, "order.card": "4000", "cart.id": "c"})
    contexts = witness.request(models).contexts
    assert (list(contexts), dict(contexts["order"].facts)) == (["order"], {"items": 1})
