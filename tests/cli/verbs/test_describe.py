"""``mcpctl describe``."""

from __future__ import annotations

import pytest
from serving import Replica
from verbs import Typist
from waiting import until

from mcp_sdk.services import Endpoint


def test_a_policy_is_told_with_rules_and_source(seeded: Typist) -> None:
    """Where it is in force, since which revision, by whom, each rule, and the text as it was written."""
    told = seeded.json("describe", "policy", "orders")
    assert told["in_force_for"] == "shop in namespace default"
    assert (told["revision"], told["operations"], told["default"]) == (1, ["POST /orders"], "permit")
    assert told["shadow"] is False
    (rule,) = told["rules"]
    assert (rule["rule"], rule["when"], rule["then"]) == ("large", "order.amount >= 1000", "deny")
    assert told["source"].startswith("apiVersion: ")
    assert "versions" not in told["source"]
    assert seeded("describe", "policy", "versions") == 0
    assert "route version=v2" in seeded.out


def test_an_entity_is_told_with_its_history(seeded: Typist) -> None:
    """Oldest first."""
    told = seeded.json("describe", "order", "o-1")
    assert (told["state"], told["revision"], told["attributes"]) == ("paid", 2, {"amount": "12.50"})
    assert [(each["from"], each["to"]) for each in told["history"]] == [(None, "created"), ("created", "paid")]
    assert told["history"][0]["attributes"] == {"amount": "12.50"}


def test_a_service_is_told_with_endpoints_and_policies(seeded: Typist) -> None:
    """Those that are alive, and those that govern it."""
    with seeded.mesh() as mesh:
        mesh.control_plane.register(Endpoint("shop", "http://127.0.0.1:9", "i", "v2", labels={"zone": "a"})).result(20)
        told = seeded.json("describe", "service", "shop")
    assert [(each["url"], each["version"]) for each in told["endpoints"]] == [("http://127.0.0.1:9", "v2")]
    assert told["endpoints"][0]["labels"] == {"zone": "a"}
    assert {each["policy"] for each in told["policies"]} == {"orders", "versions"}


def test_a_service_whose_glass_is_broken_says_so(seeded: Typist, place: str) -> None:
    """Until when, and why; nothing of it before, or when it is over."""
    if place == "store":
        return
    assert "glass" not in seeded.json("describe", "service", "shop")
    assert seeded("break-glass", "--service", "shop", "--ttl", "15m", "--reason", "provider down") == 0, seeded.err
    told = seeded.json("describe", "service", "shop")["glass"]
    assert told.startswith("broken: it refuses nothing until 20")
    assert told.endswith(" (provider down)")
    assert seeded("describe", "service", "shop") == 0
    assert "provider down" in seeded.out
    assert seeded("break-glass", "--service", "shop", "--ttl", "1s", "--reason", "provider down") == 0, seeded.err
    until(lambda: "glass" not in seeded.json("describe", "service", "shop"))


def test_broken_glass_is_told_by_a_store_that_holds_it(seeded: Typist, replica: Replica, place: str) -> None:
    """Who looks into the store of a server sees what the service would obey."""
    if place == "store":
        return
    assert seeded("break-glass", "--service", "shop", "--ttl", "15m", "--reason", "provider down") == 0, seeded.err
    told = Typist(seeded.folder, replica.store, environment=seeded.environment)
    described = told.json("describe", "service", "shop", "-s", replica.store)
    assert "provider down" in described["glass"]


def test_a_model_is_told_with_who_reads_it(seeded: Typist) -> None:
    """States, attributes and policies."""
    told = seeded.json("describe", "model", "order")
    assert told["read_by"] == ["orders", "versions"]
    assert told["states"] == [{"state": name, "may_become": "any"} for name in ("created", "paid")]
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
