"""Partial evaluation against decisions on each item."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import listings

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest, Phase, Principal
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel
from mcp_sdk.residue import ALWAYS, NEVER, Compare, Opaque

ORDER = BusinessModel("order", states=listings.STATES, attributes=listings.ATTRIBUTES | {"tags": "list"})
TEMPLATE = "GET /orders/{order}"


def decided(engine: Any, request: DecisionRequest, item: Any) -> bool:
    """Decide a call on one item; silence, which permits, lists nothing."""
    contexts = {**request.contexts, "order": item}
    decision = engine.decide(replace(request, contexts=contexts))
    return bool(decision.permitted and decision.reasons)


@settings(max_examples=150, deadline=None)
@given(
    text=listings.policies(st.one_of(listings.translatable, listings.opaque)),
    principal=listings.principals,
    user=listings.users,
    table=listings.tables,
    tags=st.sampled_from([None, (), ("a", "b")]),
)
def test_a_residue_holds_of_just_what_a_call_on_each_item_permits(text, principal, user, table, tags) -> None:
    """Whatever the policies, the caller and the item, asking the residue is deciding the call."""
    engine, request = listings.engine(text, ORDER), listings.request(principal, user)
    residue = engine.residue(request, ORDER)
    for number, facts in enumerate(table):
        item = listings.context(facts | {"tags": tags}, listings.ids[number])
        assert residue.holds(item) is decided(engine, request, item), json.dumps(residue.to_dict())


OPERATIONS = (
    TEMPLATE,
    "GET /orders/a",
    "GET /orders/**",
    "* /orders/{id}",
    "POST /orders/{order}",
    "GET /orders/%C3%A9",
)


@settings(max_examples=80, deadline=None)
@given(
    text=listings.policies(
        st.one_of(listings.translatable, st.sampled_from(["request.path == '/orders/a'", "request.method == 'GET'"])),
        OPERATIONS,
    ),
    principal=listings.principals,
    number=st.integers(0, len(listings.ids) - 1),
    facts=listings.rows,
)
def test_a_template_stands_for_the_call_on_each_item(text, principal, number, facts) -> None:
    """Targets that name one entity, and conditions on the path, count for the item they are about."""
    engine, item = listings.engine(text, ORDER), listings.context(facts, listings.ids[number])
    template = listings.request(principal, None, TEMPLATE)
    template = replace(template, request=replace(template.request, method="GET"))
    residue = engine.residue(template, ORDER)
    operation = f"GET /orders/{quote(item.entity_id, safe='')}"
    facts_of_call = replace(template.request, path=f"/orders/{item.entity_id}", operation=operation)
    call = replace(template, operation=operation, request=facts_of_call)
    assert residue.holds(item) is decided(engine, call, item), json.dumps(residue.to_dict())


@pytest.fixture
def left() -> Callable[..., Any]:
    """Give the condition that policies with these rules leave."""

    def build(*rules: str, default: str = "deny", **fields: Any) -> Any:
        text = (
            f"{listings.HEAD}metadata: {{name: p}}\nspec:\n  target: {{service: orders, operations: [orders.read]}}\n"
        )
        text += f"  default: {default}\n  rules: [{', '.join(rules)}]\n"
        request = listings.request(fields.pop("principal", Principal()), fields.pop("user", None))
        return listings.engine(text, ORDER).residue(replace(request, **fields), ORDER)

    return build


def test_silence_lists_nothing(left) -> None:
    """Where no policy speaks of the call, nothing is listed, though each call would go on."""
    assert left(operation="orders.write").condition == NEVER
    assert left(service="elsewhere").condition == NEVER


def test_no_rule_matched_lists_nothing_but_by_a_default(left) -> None:
    """A policy that denies by default lists what a rule grants; one that permits has said so."""
    assert left().condition == NEVER
    assert left(default="permit").condition == ALWAYS


def test_what_is_known_is_folded(left) -> None:
    """Nothing is left of a rule that the caller alone decides, and of another only what is about the item."""
    rule = '{name: own, when: "principal.mfa || order.channel == principal.id", effect: permit}'
    assert left(rule, principal=Principal(mfa=True)).condition == ALWAYS
    assert left(rule, principal=Principal("u-1")).condition == Compare("channel", "==", "u-1")


def test_an_error_in_what_is_known_refuses(left) -> None:
    """A refusing rule that reads what nobody brought matches every item; a granting one matches none."""
    assert left("{name: r, when: \"user.tier == 'a'\", effect: deny}", default="permit").condition == NEVER
    assert left("{name: r, when: \"user.tier == 'a'\", effect: permit}").condition == NEVER


def test_a_tentative_fact_of_the_caller_grants_nothing(left) -> None:
    """What is not stored yet grants no list, as it grants no call; a refusal may use it."""
    user = ModelContext("user", "u-1", None, {"tier": "a"}, tentative=True)
    when = "when: \"user.tier == 'a' && order.express\""
    assert left(f"{{name: r, {when}, effect: permit}}", user=user).condition == NEVER
    assert left(f"{{name: r, {when}, effect: permit}}", user=user.but(tentative=False)).condition != NEVER
    assert left(f"{{name: r, {when}, effect: deny}}", user=user, default="permit").condition != ALWAYS


def test_equalities_are_gathered(left) -> None:
    """A rule for each of many values leaves one test."""
    rules = [f"{{name: r{number}, when: \"order.channel == 'c{number}'\", effect: permit}}" for number in range(3)]
    assert left(*rules).to_dict() == {
        "kind": "conditional",
        "model": "order",
        "revision": 0,
        "condition": {"field": "channel", "op": "in", "value": ["c0", "c1", "c2"]},
    }


@pytest.mark.parametrize(
    ("clause", "why"),
    [
        ("order.channel.matches('a')", "a regular expression means"),
        ("order.items * 2 > 3", "CEL's arithmetic ends in an error"),
        ("order.channel == order.id", "it compares two facts of the item"),
        ("[order.channel] == ['a']", "no test of one fact says it"),
    ],
)
def test_what_no_test_says_is_named_with_its_place(left, clause, why) -> None:
    """An opaque part tells its clause, rule and place, and why it is one."""
    condition = left(f'{{name: odd, when: "has(order.state) && {clause}", effect: permit}}').condition
    opaque = next(part for part in condition.parts if isinstance(part, Opaque))
    assert (opaque.origin.clause, opaque.origin.rule, opaque.origin.place) == (clause, "odd", "p.yaml:7:11")
    assert opaque.why.startswith(why)


@pytest.mark.parametrize("operation", ["GET /users/{user}/orders/{order}", "GET /orders/{line}", "* /orders/{order}"])
def test_a_template_names_the_item_alone(left, operation) -> None:
    """Another parameter is refused, and so is any method."""
    with pytest.raises(ConfigurationError, match="cannot be listed by"):
        left(operation=operation, phase=Phase.INBOUND)


def test_moments_are_those_of_the_call(left) -> None:
    """``now`` is when the list is asked for."""
    condition = left("{name: r, when: \"order.paid_at > now - duration('1h')\", effect: permit}").condition
    assert condition == Compare("paid_at", ">", listings.NOW - timedelta(hours=1))
