"""Coverage: what spoke, what was seen true and false, and what no case has tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.decisions import Geo, Phase, Principal, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.testing.coverage import Coverage, PartTried, RuleTried, Share

SOURCE = Path(__file__).parent / "sources" / "cased.yaml"
Build = Callable[..., Any]
ANN = Principal("ann", authenticated=True)


@pytest.fixture(scope="module")
def engine(models: Mapping[str, BusinessModel]) -> Engine:
    """Policies of every kind."""
    return Engine(compile_policies({"cased.yaml": SOURCE.read_text()}, models), models, rng=lambda: 0.0)


def covered(engine: Engine, *requests: Any) -> Coverage:
    """Note what the engine decides of some requests."""
    coverage = Coverage(engine)
    for request in requests:
        coverage.note(request, engine.decide(request))
    return coverage


def rule(coverage: Coverage, policy: str, name: str) -> RuleTried:
    """Give one rule, or the default."""
    (found,) = (one for one in coverage.rules if (one.policy, one.rule) == (policy, name))
    return found


def test_before_any_case_nothing_is_covered(engine: Engine) -> None:
    """Every rule, every default that is written, and both values of every part are counted; shadow is not."""
    counted = Coverage(engine).counted()
    assert counted.rules == Share(0, 12)
    assert counted.defaults == Share(0, 3)
    assert counted.values == Share(0, 38)
    assert counted.total.percent == 0
    assert "planned" not in {one.policy for one in Coverage(engine).rules}


def test_a_rule_that_matches_behind_another_did_not_speak(engine: Engine, call: Build, context: Build) -> None:
    """First match in order: the large order of a VIP is the VIP's."""
    request = call(
        "orders", context("user", tier="vip"), context("order", amount=150_000), namespace="shop", principal=ANN
    )
    coverage = covered(engine, request)
    assert (rule(coverage, "order-traffic", "vip").spoke, rule(coverage, "order-traffic", "vip").matched) == (1, 1)
    assert (rule(coverage, "order-traffic", "large").spoke, rule(coverage, "order-traffic", "large").matched) == (0, 1)
    assert rule(coverage, "order-traffic", "").spoke == 0
    assert rule(coverage, "limits", "each").spoke == 1


def test_a_part_counts_where_it_was_left_open(engine: Engine, call: Build, context: Build) -> None:
    """What a guard or the other side of ``||`` decides does not try the rest."""
    express = call("orders", context("order", express=True), namespace="shop", phase=Phase.OUTBOUND)
    unknown = call("orders", namespace="shop", phase=Phase.OUTBOUND)
    parts = rule(covered(engine, express, unknown), "order-traffic", "busy").parts
    assert parts == [
        PartTried("has(order.express)", true=1, false=1),
        PartTried("order.express", true=1),
        PartTried("order.items > 9", error=1),
    ]
    assert [part.untried for part in parts] == [(), ("false",), ("true", "false")]


def test_a_refusal_that_errs_matched(engine: Engine, models: Mapping[str, BusinessModel], call: Build) -> None:
    """As it does in force: closed."""
    policy = (
        "kind: AccessPolicy\nmetadata: {name: p}\nspec: {target: {service: s}, default: permit, "
        "rules: [{name: a, when: order.express, effect: deny}, {name: b, when: 'true', effect: permit}]}"
    )
    coverage = covered(Engine(compile_policies({"p.yaml": policy}, models), models), call("s"))
    assert (rule(coverage, "p", "a").matched, rule(coverage, "p", "a").parts[0].error) == (1, 1)
    assert rule(coverage, "p", "b").parts[0].untried == ()
    assert rule(coverage, "p", "b").parts[0].values == 1


def test_other_calls_try_nothing(engine: Engine, call: Build) -> None:
    """Of an operation that a policy does not govern, or another service."""
    calls = [call("orders", operation="GET /x", namespace="shop"), call("elsewhere", namespace="shop")]
    coverage = covered(engine, *calls)
    assert not rule(coverage, "transfers", "region").called
    assert rule(coverage, "known", "signed-in").called


def test_all_of_it_can_be_covered(engine: Engine, models: Mapping[str, BusinessModel], call: Build) -> None:
    """Both values of every part, every rule and the default make a hundred per cent."""
    policy = (
        "kind: AccessPolicy\nmetadata: {name: p}\nspec: {target: {service: s}, default: permit, "
        "rules: [{name: a, when: \"!(principal.mfa || request.geo.country == 'DE')\", effect: deny}]}"
    )
    engine = Engine(compile_policies({"p.yaml": policy}, models), models)
    at = {country: RequestFacts(geo=Geo(country)) for country in ("DE", "NO")}
    requests = [call("s", principal=Principal(mfa=True)), *(call("s", request=one) for one in at.values())]
    coverage = covered(engine, *requests)
    assert [part.text for part in rule(coverage, "p", "a").parts] == ["principal.mfa", "request.geo.country == 'DE'"]
    assert coverage.counted().total == Share(6, 6)
    assert coverage.to_dict()["total"] == {"tried": 6, "total": 6, "percent": 100}


@pytest.mark.parametrize(
    ("share", "said"), [(Share(0, 0), "100 %"), (Share(1999, 2000), "99.9 %"), (Share(1, 3), "33.3 %")]
)
def test_a_share_is_never_rounded_up(share: Share, said: str) -> None:
    """What is not all is not a hundred per cent."""
    assert said in str(share)
