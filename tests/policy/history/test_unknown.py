"""Questions with unknown facts: they are decided where the facts do not matter, and only there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mcp_sdk.decisions import Geo, Principal, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.history.unknown import Unknown, guarded

Build = Callable[..., Any]


def engine(models: Mapping[str, BusinessModel], *conditions: str) -> Engine:
    """Give an engine that denies by conditions."""
    rules = "".join(f'\n  - {{when: "{one}", effect: deny}}' for one in conditions)
    head = "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  default: permit\n  rules:"
    return Engine(compile_policies({"p.yaml": head + rules}, models), models)


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("request.headers", "'x-tier' in request.headers && request.headers['x-tier'] == 'gold'"),
        ("request.query", "request.query.size() > 3"),
        ("request.geo.city", "request.geo.city == 'Bonn'"),
        ("principal.id", "principal.id == 'alice'"),
        ("principal.attributes", "has(principal.attributes.team)"),
        ("source.address", "has(source.address)"),
        ("order", "has(order.state)"),
        ("order", "order.state == 'paid' || order.items > 3"),
        ("now", "now > timestamp('2020-01-01T00:00:00Z')"),
    ],
)
def test_reading_what_is_unknown_stops_the_decision(
    models: Mapping[str, BusinessModel], call: Build, context: Build, name: str, condition: str
) -> None:
    """No error rule answers for it; without that name the same question is decided."""
    request = call("s", context("order", state="created"), request=RequestFacts(geo=Geo(city="Rome")))
    with pytest.raises(Unknown) as caught:
        engine(models, condition).decide(guarded(request, [name]))
    assert caught.value.name == name
    assert guarded(request, []) is request
    engine(models, condition).decide(guarded(request, ["source.namespace"]))


def test_what_no_condition_reads_may_be_unknown(models: Mapping[str, BusinessModel], call: Build) -> None:
    """A clause before it that decides keeps it from being read, also in a large set that is looked up by key."""
    conditions = [f"principal.acr == 'a{number}' && principal.id == 'alice'" for number in range(40)]
    request = call("s", principal=Principal("bob", acr="a7"))
    found = engine(models, *conditions)
    assert found.decide(guarded(call("s", principal=Principal("bob")), ["principal.id"])).permitted
    with pytest.raises(Unknown, match=r"principal\.id"):
        found.decide(guarded(request, ["principal.id"]))
    with pytest.raises(Unknown, match=r"principal\.acr"):
        found.decide(guarded(request, ["principal.acr"]))
