"""Which rules would refuse if contexts could be fetched no longer."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sdk.decisions import DecisionRequest, Permit
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.outage import lost_rules

MODELS = {
    "order": BusinessModel("order", attributes=[Attribute("amount", "int"), Attribute("note", travels=False)]),
    "user": BusinessModel("user", principal=True, attributes={"tier": "string"}),
}


def programs(when: str, *, effect: str = "deny", default: str = "permit", **more: Any) -> Any:
    """Compile one AccessPolicy of one rule."""
    shadow = "  shadow: true\n" if more.get("shadow") else ""
    operations = ', operations: ["POST /orders", "PUT /orders"]' if more.get("operations") else ""
    text = f"""\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: orders}}
spec:
  target: {{service: shop{operations}}}
  default: {default}
{shadow}  rules:
  - {{name: r, when: "{when}", effect: {effect}}}
"""
    return compile_policies({"a.yaml": text}, MODELS)


def lost(when: str, *, travelling: tuple[str, ...] = (), **more: Any) -> bool:
    """Tell whether the rule is lost."""
    return bool(list(lost_rules(programs(when, **more), MODELS, travelling=travelling)))


@pytest.mark.parametrize(
    ("when", "refuses"),
    [
        ("order.amount > 10", True),
        ("order.amount > 10 && !principal.mfa", True),
        ("has(order.amount) && order.amount > 10", False),
        ("!has(order.amount)", True),
        ("!has(order.amount) || order.amount > 10", True),
        ("principal.mfa", False),
        ("user.tier == 'gold'", False),
        ("order.state == 'paid'", True),
    ],
)
def test_a_rule_that_refuses_is_lost_where_nothing_says_no(when: str, refuses: bool) -> None:
    """An error refuses; a guard that is surely false does not; a principal's model comes with the authentication."""
    assert lost(when) is refuses


@pytest.mark.parametrize("when", ["order.amount > 10", "!has(order.amount)", "has(order.amount) && order.amount > 10"])
def test_the_engine_agrees(when: str) -> None:
    """A call of which no context is there is decided as was said."""
    engine = Engine(programs(when), MODELS, epoch=1, revision=1)
    refused = not isinstance(engine.decide(DecisionRequest("shop", "POST /orders")).verdict, Permit)
    assert refused is lost(when)


def test_a_rule_that_grants_is_lost_where_its_policy_permits_nothing_else() -> None:
    """By default nothing is granted; a default that permits loses nothing."""
    assert lost("order.state == 'paid'", effect="permit", default="deny")
    assert not lost("order.state == 'paid'", effect="permit", default="permit")
    assert not lost("principal.mfa", effect="permit", default="deny")


def test_what_callers_bring_along_is_there() -> None:
    """But for an attribute that never travels."""
    assert not lost("order.amount > 10", travelling=("order",))
    (rule,) = lost_rules(programs("order.note == 'x'"), MODELS, travelling=("order",))
    assert rule.never == rule.facts == ("order.note",)


def test_every_operation_is_told_and_a_shadow_is_not() -> None:
    """One line an operation; a policy in shadow refuses nothing."""
    found = list(lost_rules(programs("order.amount > 10", operations=True), MODELS))
    assert [each.operation for each in found] == ["POST /orders", "PUT /orders"]
    assert found[0].to_dict()["place"].startswith("a.yaml:8:")
    assert not lost("order.amount > 10", shadow=True)
