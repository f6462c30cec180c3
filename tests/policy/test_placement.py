"""What is said of the index is where the look-up goes."""

from __future__ import annotations

from typing import Any

from conditions import MODELS, calls, condition, request_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.placement import Placement, placements


def placed(*conditions: str) -> list[Placement]:
    """Place the rules of one TrafficPolicy."""
    rules = "".join(f'  - {{when: "{when}", route: {{version: v1}}}}\n' for when in conditions)
    text = f"kind: TrafficPolicy\nmetadata: {{name: p}}\nspec:\n  target: {{service: s}}\n  rules:\n{rules}"
    return list(placements(Engine(compile_policies({"p": text}, MODELS), MODELS)))


def test_each_rule_shows_the_facts_that_lead_to_it() -> None:
    """Values, lists, prefixes, ranges and both sides of || are written as a person reads them."""
    found = placed(
        "order.state == 'a'",
        "order.state in ['b', 'c']",
        "order.state == 'd' && order.amount > 5",
        "order.state.startsWith('x/')",
        "order.state == 'e' || order.state.startsWith('y/')",
    )
    assert [str(placement) for placement in found] == [
        "order.state = 'a'",
        "order.state = 'b', 'c'",
        "order.state = 'd'",
        "order.state starts with 'x/'",
        "order.state starts with 'y/' or order.state = 'e'",
    ]
    assert [placement.sure for placement in found] == [True, True, False, True, True]


def test_a_rule_without_a_key_says_why() -> None:
    """What is scanned names the clause's trouble and the fact."""
    found = placed(
        "order.channel.contains('x')",
        "order.channel == order.other",
        "true",
        "order.state == 'a' && order.state == 'b'",
        "order.state == 'a' || size(order.channel) > 3",
        *(f"order.state == 's{number}'" for number in range(5)),
    )
    assert [placement.why for placement in found[:5]] == [
        "contains() on order.channel is no equality, list, prefix, range or presence against constants",
        "== on order.channel, order.other is no equality, list, prefix, range or presence against constants",
        "it is always true",
        "its condition is never true",
        "a part of || on order.state, order.channel gives no key",
    ]
    assert all(placement.ways and not placement.why for placement in found[5:])


def test_the_only_rule_of_a_policy_needs_no_key() -> None:
    """There is nothing to tell it from."""
    assert placed("order.state == 'a'")[0].why == "it is the only rule"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=st.lists(condition, min_size=1, max_size=20), inputs=calls)
def test_a_rule_that_is_said_to_be_scanned_is_come_upon_by_every_call(
    rules: list[str], inputs: list[tuple[dict[str, Any], str, bool]]
) -> None:
    """And one that has keys is listed once, with its own clause."""
    body = "".join(f'  - {{when: "{when}", route: {{version: v1}}}}\n' for when in rules)
    text = f"kind: TrafficPolicy\nmetadata: {{name: p}}\nspec:\n  target: {{service: s}}\n  rules:\n{body}"
    engine = Engine(compile_policies({"p": text}, MODELS), MODELS)
    found = list(placements(engine))
    assert [placement.clause for placement in found] == rules
    scanned = {number for number, one in enumerate(found) if not one.ways and "never" not in one.why}
    for facts, country, mfa in inputs:
        request = request_of(facts, country, mfa=mfa)
        candidates = engine.policies[0].index.tree.candidates(request.contexts, request)
        assert scanned <= {number for number, _ in candidates}
