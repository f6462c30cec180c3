"""Broken glass, as the server's own answers honour it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from calling import call
from listening import Reader
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, DecisionLog, Mesh

EVALUATION = "/access/v1/evaluation"
ORDER = BusinessModel("order", states=("created", "paid", "shipped"), attributes={"amount": "int"})


def question(**more: Any) -> dict[str, Any]:
    """Ask for what the policy of the orders refuses."""
    return {"service": "shop", "operation": "GET /orders/o-2", "references": [["order", "o-2"]], **more}


def decided(client: httpx.Client, **more: Any) -> dict[str, Any]:
    """Have the server decide."""
    response = client.post("/v1/decide", json=question(**more))
    assert response.status_code == 200, response.text
    return dict(response.json())


def evaluated(client: httpx.Client, order: str) -> dict[str, Any]:
    """Have the server decide, as gateways ask."""
    subject, resource = {"type": "user", "id": "alice"}, {"type": "order", "id": order}
    asked = {"subject": subject, "action": {"name": "can_read"}, "resource": resource, "context": {"service": "shop"}}
    return dict(client.post(EVALUATION, json=asked).json())


def broken(client: httpx.Client, service: str = "shop", ttl: float = 60.0) -> None:
    """Break the glass of a service."""
    wanted = {"service": service, "ttl": ttl, "reason": "provider down"}
    assert client.post("/v1/overrides", json=wanted).status_code == 201


@pytest.fixture
def glass(admin: httpx.Client) -> Iterator[None]:
    """Broken for the service ``shop``, until the test ends."""
    broken(admin)
    yield
    assert admin.delete("/v1/overrides", params={"service": "shop"}).status_code == 204


@pytest.mark.usefixtures("glass")
def test_what_would_be_refused_is_permitted_and_told(admin: httpx.Client) -> None:
    """The verdict, its details and its reasons are those of the policy; a mark says that it is not carried out."""
    answer = decided(admin)
    assert (answer["permitted"], answer["enforced"]) == (True, False)
    assert (answer["verdict"], answer["details"]) == ("deny", {"message": "it has left"})
    assert answer["reasons"][0]["rule"] == "shipped"
    batch = admin.post("/v1/decide/batch", json={"questions": [question(), question(references=[["order", "o-1"]])]})
    assert [(one["permitted"], one["enforced"]) for one in batch.json()["answers"]] == [(True, False), (True, True)]


@pytest.mark.usefixtures("glass")
def test_a_gateway_lets_calls_through(admin: httpx.Client) -> None:
    """AuthZEN's decision is true, and its context says what it would have been and why; a permit is as it was."""
    told = evaluated(admin, "o-2")
    assert told["decision"] is True
    assert (told["context"]["enforced"], told["context"]["verdict"]) == (False, "deny")
    assert "rule 'shipped' of 'orders'" in told["context"]["reason_admin"]["403"]
    assert "enforced" not in evaluated(admin, "o-1")["context"]


def test_when_it_is_ended_answers_refuse_again(admin: httpx.Client) -> None:
    """At once."""
    broken(admin)
    assert decided(admin)["permitted"]
    assert admin.delete("/v1/overrides", params={"service": "shop"}).status_code == 204
    answer = decided(admin)
    assert (answer["permitted"], answer["enforced"]) == (False, True)
    assert evaluated(admin, "o-2")["decision"] is False


def test_when_it_is_over_answers_refuse_again_by_themselves(admin: httpx.Client) -> None:
    """Nobody has to say anything: the clock does."""
    broken(admin, ttl=1.0)
    assert decided(admin)["permitted"]
    until(lambda: not decided(admin)["permitted"])
    assert decided(admin)["enforced"]
    assert admin.get("/v1/overrides").json()["overrides"]["shop"]["reason"] == "provider down"


def test_the_glass_of_another_service_changes_nothing(admin: httpx.Client) -> None:
    """Only what the named service would refuse goes on."""
    broken(admin, "billing")
    assert not decided(admin)["permitted"]


@pytest.mark.usefixtures("glass")
def test_a_tap_tells_what_was_observed_only(admin: httpx.Client) -> None:
    """The record of a refusal that was not carried out says so, and a permit's is as it was."""
    with Reader(admin, "/v1/tap", {"kind": "decisions"}) as reader:
        decided(admin)
        refused = reader.next("decision").data["record"]
        decided(admin, references=[["order", "o-1"]])
        permitted = reader.next("decision").data["record"]
    assert (refused["verdict"], refused["enforced"]) == ("deny", False)
    assert (permitted["verdict"], "enforced" in permitted) == ("permit", False)


@pytest.mark.usefixtures("glass")
def test_a_thin_client_is_told_the_verdict_and_observes_itself(replica: Replica, admin: httpx.Client) -> None:
    """It serves what it would refuse, and its log has the verdict: the server's answer to it is not softened."""
    records: list[dict[str, Any]] = []
    thin = Mesh(
        service="shop",
        models=[ORDER],
        control_plane=replica.url,
        token=replica.token,
        evaluation="server",
        evaluation_timeout=5.0,
        start_timeout=20.0,
        decision_log=DecisionLog(records.append),
    )
    with thin as mesh:
        mesh.declare_operations(["GET /orders/{order}"])
        until(lambda: not mesh.enforcing)
        assert call(mesh, "/orders/o-2").status_code == 204
    assert [(one["verdict"], one["enforced"]) for one in records] == [("deny", False)]
