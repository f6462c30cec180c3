"""OpenID AuthZEN 1.0, by requests of the specification's shapes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
ALICE = {"type": "user", "id": "alice@example.com"}
READ = {"name": "can_read"}


def order(entity: str) -> dict[str, Any]:
    """Give a resource."""
    return {"resource": {"type": "order", "id": entity}}


def verdicts(response: httpx.Response) -> list[bool]:
    """Give the decisions of an answer to several."""
    assert response.status_code == 200, response.text
    return [one["decision"] for one in response.json()["evaluations"]]


def test_a_single_evaluation(shop: httpx.Client, admin: httpx.Client) -> None:
    """A subject, an action with properties, a resource and a context make a decision; the request id comes back."""
    asked = {
        "subject": ALICE | {"properties": {"department": "Sales", "ip_address": "172.217.22.14"}},
        "resource": {"type": "account", "id": "123"},
        "action": {"name": "can_read", "properties": {"method": "GET"}},
        "context": {"time": "1985-10-26T01:22-07:00"},
    }
    response = shop.post(EVALUATION, json=asked, headers={"x-request-id": "bfe9eb29"})
    assert response.headers["content-type"] == "application/json"
    assert (response.json()["decision"], response.headers["x-request-id"]) == (True, "bfe9eb29")


def test_a_refusal_says_why_to_both(shop: httpx.Client, admin: httpx.Client) -> None:
    """Admins read the rule, users what the policy's author wrote for them."""
    refused = shop.post(EVALUATION, json={"subject": ALICE, "action": READ, **order("o-2")}).json()
    assert not refused["decision"]
    assert "rule 'shipped' of 'orders'" in refused["context"]["reason_admin"]["403"]
    assert refused["context"]["reason_user"] == {"403": "it has left"}


def test_a_step_up_is_asked_for(shop: httpx.Client, admin: httpx.Client) -> None:
    """The class and the age of authentication that would do are in the context; with them it is granted."""
    asked = {"subject": ALICE, "action": READ, **order("o-3")}
    refused = shop.post(EVALUATION, json=asked).json()
    assert (refused["context"]["acr_values"], refused["context"]["max_age"]) == ("urn:mcp-sdk:mfa", 300)
    assert shop.post(EVALUATION, json=asked | {"subject": ALICE | {"properties": {"mfa": True}}}).json()["decision"]


def test_the_subject_is_an_entity_of_the_principals_model(shop: httpx.Client, admin: httpx.Client) -> None:
    """A policy on the user's state holds for the subject of that id."""
    asked = {"subject": {"type": "user", "id": "mallory"}, "action": READ, **order("o-1")}
    assert shop.post(EVALUATION, json=asked).json()["context"]["reason_user"] == {"403": "your account is blocked"}


def test_defaults_complete_each_evaluation(shop: httpx.Client, admin: httpx.Client) -> None:
    """Members at the top hold where an evaluation does not say its own."""
    asked = {
        "subject": ALICE,
        "context": {"time": "2024-05-31T15:22-07:00"},
        "action": READ,
        "evaluations": [order("o-1"), order("o-2"), {"action": {"name": "can_edit"}, **order("o-1")}],
    }
    assert verdicts(shop.post(EVALUATIONS, json=asked)) == [True, False, True]
    alone = {"subject": ALICE, "action": READ, **order("o-1")}
    assert verdicts(shop.post(EVALUATIONS, json={"evaluations": [alone, alone]})) == [True, True]


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_semantics(shop: httpx.Client, admin: httpx.Client, semantic: str, expected: list[bool]) -> None:
    """Answers end with the one that decides."""
    three = {"evaluations": [order("o-1"), order("o-2"), order("o-1")], "subject": ALICE, "action": READ}
    asked = three | {"options": {"evaluations_semantic": semantic, "another_option": "value"}}
    assert verdicts(shop.post(EVALUATIONS, json=asked)) == expected


def test_without_evaluations_the_defaults_are_the_question(shop: httpx.Client, admin: httpx.Client) -> None:
    """A request for several that holds none is answered as a single one."""
    for more in ({}, {"evaluations": []}):
        asked = {"subject": ALICE, "action": READ, **order("o-2"), **more}
        assert shop.post(EVALUATIONS, json=asked).json()["decision"] is False


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"action": READ, **order("o-1")}, "subject"),
        ({"subject": {"type": "user"}, "action": READ, **order("o-1")}, "subject.id"),
        ({"subject": ALICE, "action": {"name": 5}, **order("o-1")}, "action.name"),
        ({"subject": ALICE, "action": READ, **order("o-1"), "context": {"time": "soon"}}, "RFC 3339"),
        ([], "body"),
    ],
)
def test_what_does_not_fit_is_a_400(shop: httpx.Client, asked: Any, said: str) -> None:
    """The specification's code for a bad request, with a word on what is wrong."""
    response = shop.post(EVALUATION, json=asked)
    assert response.status_code == 400
    assert said in response.json()["detail"]


def test_a_default_that_is_missing_is_named(shop: httpx.Client) -> None:
    """An evaluation that lacks a member which no default gives is a 400 that says which."""
    response = shop.post(EVALUATIONS, json={"subject": ALICE, "evaluations": [order("o-1")]})
    assert (response.status_code, response.json()["detail"]) == (400, "evaluations.0.action is missing")


def test_the_service_has_to_be_known(viewer: httpx.Client, admin: httpx.Client) -> None:
    """A token without a service says which one it means in the context."""
    asked = {"subject": ALICE, "action": READ, **order("o-2")}
    assert "context.service" in viewer.post(EVALUATION, json=asked).json()["detail"]
    assert viewer.post(EVALUATION, json=asked | {"context": {"service": "shop"}}).json()["decision"] is False


def test_the_configuration_is_at_its_well_known_place(shop: httpx.Client) -> None:
    """Whoever knows the address alone finds the endpoints."""
    found = shop.get("/.well-known/authzen-configuration").json()
    base = str(shop.base_url).rstrip("/")
    assert found["policy_decision_point"] == base
    assert found["access_evaluations_endpoint"] == base + EVALUATIONS


def test_without_a_token_it_is_a_401(replica: Any) -> None:
    """Who asks has to say who it is."""
    response = httpx.post(replica.url + EVALUATION, json={}, trust_env=False)
    assert response.status_code in (400, 401)
