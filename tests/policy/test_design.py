"""The two policies of the design, from YAML to decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.context import Trust
from mcp_sdk.decisions import Denied, Geo, Principal, RequestFacts, ReviewRequired, StepUpRequired
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies

Build = Callable[..., Any]

SOURCE = Path(__file__).parent / "sources" / "design.yaml"


@pytest.fixture(scope="module")
def engine(models: Mapping[str, BusinessModel]) -> Engine:
    """The policies of the design at revision 7."""
    return Engine(compile_policies({"design.yaml": SOURCE.read_text()}, models), models, epoch=1, revision=7)


def test_created_orders_go_to_v2(engine: Engine, call: Build, context: Build) -> None:
    """A created order is routed to v2, and the reason names policy, rule, clause, revision and trust."""
    decision = engine.decide(call("order-service", context("order", state="created"), namespace="shop"))
    assert decision.route is not None
    assert str(decision.route.subset) == "version=v2"
    reason = decision.reasons[0]
    assert (reason.policy, reason.kind, reason.rule, reason.effect) == (
        "order-traffic",
        "TrafficPolicy",
        "created",
        "route",
    )
    assert (reason.clause, reason.revision, reason.trust) == ("order.state == 'created'", 7, "local")


def test_a_vip_goes_to_the_performance_subset(engine: Engine, call: Build, context: Build) -> None:
    """The first matching rule wins: a VIP's created order goes to the performance instances, with priority."""
    held = context("user", tier="vip"), context("order", state="created")
    route = engine.decide(call("order-service", *held, namespace="shop")).route
    assert route is not None
    assert route.subset is not None
    assert (dict(route.subset.labels), route.priority) == ({"class": "performance"}, "high")


def test_a_large_order_sticks_to_its_share(engine: Engine, call: Build, context: Build) -> None:
    """Amounts are compared in minor units against literals in major units, and the split sticks to the order."""
    large = call("order-service", context("order", "o-1", amount=1000_01), namespace="shop")
    routes = {str(engine.decide(large).route) for _ in range(5)}
    assert len(routes) == 1
    assert "sticky='o-1'" in routes.pop()
    small = engine.decide(call("order-service", context("order", "o-1", amount=1000_00), namespace="shop"))
    assert small.reasons[0].rule == ""


def test_without_a_match_the_default_routes(engine: Engine, call: Build, context: Build) -> None:
    """A call that no rule speaks of goes by the default, which has no rule's name."""
    decision = engine.decide(call("order-service", namespace="shop"))
    assert decision.route is not None
    assert str(decision.route.subset) == "version=v1"
    assert decision.reasons[0].rule == ""


TRANSFER = {"namespace": "shop", "operation": "POST /transfers"}


def test_a_high_transfer_needs_step_up(engine: Engine, call: Build, context: Build) -> None:
    """A transfer of 50 000 without MFA needs a stronger authentication; with MFA it does not."""
    held = context("transfer", amount=50_000_00, risk="low")
    decision = engine.decide(call("transfers", held, **TRANSFER))
    assert decision.verdict == StepUpRequired("urn:mcp-sdk:mfa", 300)
    assert engine.decide(call("transfers", held, principal=Principal("u", mfa=True), **TRANSFER)).permitted


def test_deny_beats_review_and_step_up(engine: Engine, call: Build, context: Build) -> None:
    """When several rules match, the strongest effect decides."""
    held = context("transfer", amount=50_000_00, risk="high")
    blocked = RequestFacts(geo=Geo("KP"))
    assert engine.decide(call("transfers", held, **TRANSFER)).verdict == ReviewRequired("risk-service")
    assert engine.decide(call("transfers", held, request=blocked, **TRANSFER)).verdict == Denied("region not served")


def test_an_error_makes_a_refusing_rule_match(engine: Engine, call: Build, context: Build) -> None:
    """A refusing rule that reads an absent fact refuses; a routing rule that does is passed over."""
    assert isinstance(engine.decide(call("transfers", **TRANSFER)).verdict, ReviewRequired)


def test_another_namespace_or_operation_is_not_governed(engine: Engine, call: Build, context: Build) -> None:
    """Policies speak only inside their namespace and of their operations."""
    assert engine.decide(call("transfers", operation="POST /transfers")).reasons == ()
    assert engine.decide(call("transfers", namespace="shop", operation="GET /transfers")).reasons == ()


def test_the_reason_carries_the_least_trust(engine: Engine, call: Build, context: Build) -> None:
    """The trust of a reason is the least among the contexts that its rule looked at."""
    held = context("order", state="created").but(trust=Trust.VERIFIED)
    assert engine.decide(call("order-service", held, namespace="shop")).reasons[0].trust == "verified"
