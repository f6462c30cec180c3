"""Facts of the command line become the request that they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from mcp_sdk.cli.facts import decision_request
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.exceptions import MeshError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.diff.witness import Witness

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODELS = {
    "order": BusinessModel(
        "order",
        states=("created", "paid"),
        attributes={
            "amount": "decimal",
            "items": "int",
            "ratio": "double",
            "express": "bool",
            "paid_at": "timestamp",
            "tags": "list",
        },
    )
}
FACTS = {
    "now": NOW,
    "order.id": "o-1",
    "order.state": "paid",
    "order.rev": True,
    "order.amount": Decimal("1000.01"),
    "order.items": -3,
    "order.ratio": 0.1,
    "order.express": False,
    "order.paid_at": NOW - timedelta(hours=1),
    "order.tags": ("a", "b"),
    "principal.id": "u 1",
    "principal.mfa": True,
    "principal.roles": ("x", "y"),
    "principal.auth_time": NOW - timedelta(minutes=1),
    "principal.attributes.level": "gold",
    "request.size": 12,
    "request.geo.country": "NO",
    "request.headers.x-tenant": "eu.west",
    "request.query.q": "1",
    "source.verified": True,
}


@pytest.mark.parametrize("fact", FACTS)
def test_a_witness_is_typed_as_it_is(fact: str) -> None:
    """What a witness writes for the command line is read as the very request that it stands for."""
    witness = Witness("s", NOW, facts={fact: FACTS[fact]})
    assert decision_request(DecisionRequest("s", now=NOW), witness.words(), MODELS) == witness.request(MODELS)


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("now=soon", "write a moment"),
        ("principal.auth_time=1", "write a moment"),
        ("order.rev=new", "write a number, with +"),
        ("order=1", "is no fact"),
        ("request.header.x=1", "'request.header'"),
    ],
)
def test_a_fact_that_is_none_is_refused(fact: str, said: str) -> None:
    """With what was written and how to mend it."""
    with pytest.raises(MeshError, match=said):
        decision_request(DecisionRequest("s", now=NOW), [fact], MODELS)


def test_headers_are_in_lower_case_and_claims_of_their_type() -> None:
    """As the middleware brings them."""
    words = ["request.headers.X-Tenant=eu", "principal.attributes.level=3", "principal.attributes.name=x"]
    request = decision_request(DecisionRequest("s", now=NOW), [*words, "order.tags="], MODELS)
    assert request.request.headers == {"x-tenant": "eu"}
    assert request.principal.attributes == {"level": 3, "name": "x"}
    assert request.contexts["order"].attributes == {"tags": ()}
