"""The look-up against the linear truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest, Geo, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.index import Index, key_places, keys_of
from mcp_sdk.policy.program import RuleRow

MODELS = {"order": BusinessModel("order", attributes={"channel": "string", "amount": "decimal", "vip": "bool"})}
VALUES = ["a", "b", "c"]
quoted = st.sampled_from([f"'{value}'" for value in VALUES])
fact = st.sampled_from(["order.state", "order.channel", "request.geo.country"])
clause = st.one_of(
    st.tuples(fact, quoted).map(" == ".join),
    st.tuples(quoted, fact).map(" == ".join),
    st.tuples(fact, st.lists(quoted, max_size=3)).map(lambda pair: f"{pair[0]} in [{', '.join(pair[1])}]"),
    st.sampled_from(["order.amount > 1", "has(order.channel)", "order.vip", "order.state != 'a'"]),
)
condition = st.lists(clause, min_size=1, max_size=3).map(" && ".join) | st.tuples(clause, clause).map(" || ".join)
effect = st.sampled_from(["permit", "deny", "review"])
held = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(VALUES),
        "channel": st.sampled_from(VALUES),
        "amount": st.sampled_from([0, 500]),
        "vip": st.booleans(),
    },
)


def source(rules: list[tuple[str, str]]) -> str:
    """Write an AccessPolicy of these conditions and effects."""
    lines = [f'  - {{when: "{when}", effect: {effect}}}' for when, effect in rules]
    head = [
        "kind: AccessPolicy",
        "metadata: {name: p}",
        "spec:",
        "  target: {service: s}",
        "  default: permit",
        "  rules:",
    ]
    return "\n".join([*head, *lines])


def linear(index: Index[Any], contexts: Any, request: Any) -> list[Any]:
    """Ask every rule in turn."""
    found = []
    for rule in index.rules:
        try:
            matched = rule.holds(contexts, request)
        except Exception:
            matched = rule.on_error
        if matched:
            found.append(rule.outcome)
    return found


@settings(max_examples=150, deadline=None)
@given(
    rules=st.lists(st.tuples(condition, effect), min_size=1, max_size=25),
    calls=st.lists(st.tuples(held, st.sampled_from(["", *VALUES])), min_size=1, max_size=8),
)
def test_the_lookup_finds_what_asking_every_rule_finds(
    rules: list[tuple[str, str]], calls: list[tuple[Mapping[str, Any], str]]
) -> None:
    """First match and all matches are those of the linear scan, for every effect, facts present or not."""
    engine = Engine(compile_policies({"p": source(rules)}, MODELS), MODELS)
    index = engine.policies[0].index
    for facts, country in calls:
        attributes = {name: value for name, value in facts.items() if name != "state"}
        contexts = {"order": ModelContext("order", "1", facts.get("state"), attributes)} if facts else {}
        request = DecisionRequest("s", contexts=contexts, request=RequestFacts(geo=Geo(country)))
        expected = linear(index, contexts, request)
        assert index.every(contexts, request) == expected
        assert index.first(contexts, request) is (expected[0] if expected else None)


def test_a_fact_of_another_type_hides_no_refusal(
    call: Callable[..., DecisionRequest], context: Callable[..., ModelContext]
) -> None:
    """A value that cannot be a key falls back to asking every rule."""
    rules = [(f"order.channel == '{number}' || order.amount > 1", "deny") for number in range(3)]
    rules += [(f"order.channel == '{number}'", "deny") for number in range(9)]
    index = Engine(compile_policies({"p": source(rules)}, MODELS), MODELS).policies[0].index
    request = call("s", context("order", channel=["unhashable"], amount=200))
    assert index.every(request.contexts, request) == linear(index, request.contexts, request)


def test_keys_are_the_values_with_which_a_condition_can_hold() -> None:
    """Equality and in-list clauses on strings give keys; what ``||`` or ``!=`` join does not."""
    program = compile_policies(
        {"p": source([("order.state in ['a', 'b'] && order.state == 'b' && order.amount > 1", "permit")])}, MODELS
    )
    row = RuleRow(*program["policies"][0]["rules"][0])
    places = key_places(program["shapes"][row.shape]["expr"])
    assert keys_of(places, row.constants) == {("order", "state"): frozenset({"b"})}
