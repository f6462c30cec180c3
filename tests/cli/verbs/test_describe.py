"""``mcpctl describe``."""

from __future__ import annotations

import pytest
from verbs import Typist

from mcp_sdk.services import Endpoint


def test_a_policy_is_told_with_rules_and_source(seeded: Typist) -> None:
    """Where it is in force, since which revision, by whom, each rule, and the text as it was written."""
    told = seeded.json("describe", "policy", "orders")
    assert told["in_force_for"] == "shop in namespace default"
    assert (told["revision"], told["operations"], told["default"]) == (1, ["POST /orders"], "permit")
    (rule,) = told["rules"]
    assert (rule["rule"], rule["when"], rule["then"]) == ("large", "order.amount >= 1000", "deny")
    assert told["source"].startswith("apiVersion: ")
    assert "versions" not in told["source"]
    assert seeded("describe", "policy", "versions") == 0
    assert "route version=v2" in seeded.out


def test_an_entity_is_told_with_its_history(seeded: Typist) -> None:
    """Oldest first."""
    told = seeded.json("describe", "order", "o-1")
    assert (told["state"], told["revision"], told["attributes"]) == ("paid", 2, "amount=12.50")
    assert [(each["from"], each["to"]) for each in told["history"]] == [(None, "created"), ("created", "paid")]


def test_a_service_is_told_with_endpoints_and_policies(seeded: Typist) -> None:
    """Those that are alive, and those that govern it."""
    with seeded.mesh() as mesh:
        mesh.control_plane.register(Endpoint("shop", "http://127.0.0.1:9", "i", "v2")).result(20)
        told = seeded.json("describe", "service", "shop")
    assert [(each["url"], each["version"]) for each in told["endpoints"]] == [("http://127.0.0.1:9", "v2")]
    assert {each["policy"] for each in told["policies"]} == {"orders", "versions"}


def test_a_model_is_told_with_who_reads_it(seeded: Typist) -> None:
    """States, attributes and policies."""
    told = seeded.json("describe", "model", "order")
    assert told["read_by"] == ["orders", "versions"]
    assert [each["state"] for each in told["states"]] == ["created", "paid"]
    assert [each["attribute"] for each in told["attributes"]] == ["amount"]


@pytest.mark.parametrize(
    ("what", "name", "said"),
    [
        ("policy", "order", "Did you mean 'orders'?"),
        ("service", "shp", "Did you mean 'shop'?"),
        ("model", "ordr", "Did you mean 'order'?"),
        ("ordr", "o-1", "Did you mean 'order'?"),
        ("order", "o-9", "no order 'o-9' is known"),
    ],
)
def test_what_is_not_there_names_the_nearest(seeded: Typist, what: str, name: str, said: str) -> None:
    """In a line."""
    assert seeded("describe", what, name) == 2
    assert said in seeded.err
