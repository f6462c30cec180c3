"""``/v1/decide``: the server's own answers."""

from __future__ import annotations

from typing import Any

import httpx

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decision_record import plain_request
from mcp_sdk.decisions import DecisionRequest

CONTEXT = ModelContext("order", "o-1", "shipped", revision=9).to_dict()


def question(entity: str = "o-1", **more: Any) -> dict[str, Any]:
    """Give a question about an order."""
    return {"service": "shop", "operation": f"GET /orders/{entity}", "references": [["order", entity]], **more}


def asked(client: httpx.Client, plain: dict[str, Any]) -> dict[str, Any]:
    """Ask, and give the answer."""
    response = client.post("/v1/decide", json=plain)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_entities_that_a_policy_needs_are_looked_up(admin: httpx.Client) -> None:
    """A reference is enough: the state of the order comes from the store, and the reasons say which rule spoke."""
    assert asked(admin, question("o-1"))["permitted"]
    refused = asked(admin, question("o-2"))
    assert (refused["verdict"], refused["details"]) == ("deny", {"message": "it has left"})
    assert refused["reasons"][0]["rule"] == "shipped"
    assert asked(admin, question("o-9"))["absent"] == [["order", "o-9"]]


def test_the_form_of_a_decision_record_is_a_question(admin: httpx.Client) -> None:
    """What ``plain_request`` writes is answered as it stands."""
    request = DecisionRequest("shop", "GET /orders/o-2", references=(EntityRef("order", "o-2"),))
    assert asked(admin, plain_request(request, operation=request.operation))["verdict"] == "deny"


def test_a_step_up_says_what_would_help(admin: httpx.Client) -> None:
    """The details of a refusal are what the caller has to bring, and who brings it is let through."""
    refused = asked(admin, question("o-3"))
    assert (refused["verdict"], refused["details"]) == ("step_up", {"acr": "urn:mcp-sdk:mfa", "max_age": 300})
    assert asked(admin, question("o-3", principal={"id": "u", "authenticated": True, "mfa": True}))["permitted"]


def test_contexts_count_of_a_publisher_only(admin: httpx.Client, viewer: httpx.Client) -> None:
    """Whoever may publish may assert a state; of anybody else the store is believed."""
    sent = question(contexts=[CONTEXT])
    assert not asked(admin, sent)["permitted"]
    assert asked(viewer, sent)["permitted"]


def test_a_batch_is_answered_in_order(admin: httpx.Client) -> None:
    """Answers come in the order of the questions."""
    response = admin.post("/v1/decide/batch", json={"questions": [question(name) for name in ("o-1", "o-2", "o-3")]})
    assert [answer["verdict"] for answer in response.json()["answers"]] == ["permit", "deny", "step_up"]


def test_who_may_not_decide_is_told_so(admin: httpx.Client, outsider: httpx.Client) -> None:
    """A token of another namespace is refused with the role that it lacks."""
    response = outsider.post("/v1/decide", json=question())
    assert response.status_code == 403
    assert "may not decide in default/default" in response.json()["detail"]


def test_policies_of_another_namespace_are_refused(admin: httpx.Client) -> None:
    """Whoever posts them is told with file and line; those that name none are of the namespace that is asked."""
    text = "kind: AccessPolicy\nmetadata: {%s}\nspec: {target: {service: shop}, default: deny, rules: []}\n"
    answers = [
        admin.post(
            "/v1/policies",
            params={"namespace": "tutorial"},
            json={"sources": {"a.yaml": text % metadata}, "replaces": 0},
        )
        for metadata in ("name: a, namespace: default", "name: a")
    ]
    assert [answer.status_code for answer in answers] == [422, 200]
    assert "MCP0012" in answers[0].text
    asked = admin.post("/v1/decide", json={"service": "shop", "operation": "GET /", "namespace": "tutorial"})
    assert asked.json()["verdict"] == "deny", asked.text
