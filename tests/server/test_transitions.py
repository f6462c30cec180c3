"""``/v1/transitions``: one, many, and as CloudEvents."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def event(name: str, **more: Any) -> dict[str, Any]:
    """Give a CloudEvent about an order of that name."""
    return {
        "specversion": "1.0",
        "type": "mcp_sdk.transition",
        "id": f"ce-{name}",
        "source": "billing",
        "subject": f"order/{name}",
        "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json",
        "data": {"to_state": "paid", "attributes": {"amount": 5}},
        **more,
    }


def send(client: httpx.Client, content: Any, kind: str = STRUCTURED) -> httpx.Response:
    """Send events."""
    return client.post("/v1/transitions", content=json.dumps(content), headers={"content-type": kind})


def stored(client: httpx.Client, name: str) -> dict[str, Any]:
    """Give the last transition of an order."""
    history = client.get("/v1/contexts/order/history", params={"id": name}).json()
    return dict(history["transitions"][-1]["transition"])


def test_one_transition_is_taken_as_it_is(admin: httpx.Client) -> None:
    """A single object needs no list around it; what is left out is filled in, and sent again it changes nothing."""
    one = {"model": "order", "entity_id": "t-1", "to_state": "paid", "event_id": "e-1"}
    for status in ("applied", "duplicate"):
        answer = admin.post("/v1/transitions", json=one)
        assert [result["status"] for result in answer.json()["results"]] == [status], answer.text
    assert stored(admin, "t-1")["observed_at"]


def test_a_structured_event_is_a_transition(admin: httpx.Client) -> None:
    """Each attribute of the event has its place in the transition."""
    assert send(admin, event("t-2")).json()["results"][0]["status"] == "applied"
    found = stored(admin, "t-2")
    assert (found["event_id"], found["source"], found["to_state"]) == ("billing#ce-t-2", "billing", "paid")
    assert found["observed_at"].startswith("2026-01-02T03:04:05")
    assert found["attributes"] == {"amount": 5}


def test_data_may_come_as_base64(admin: httpx.Client) -> None:
    """``data_base64`` holds the same JSON."""
    plain = event("t-3")
    text = json.dumps(plain.pop("data")).encode()
    assert send(admin, plain | {"data_base64": base64.b64encode(text).decode()}).status_code == 200
    assert stored(admin, "t-3")["to_state"] == "paid"


def test_a_batch_of_events_is_applied_in_order(admin: httpx.Client) -> None:
    """One outcome an event."""
    answer = send(admin, [event("t-4"), event("t-5"), event("t-4")], BATCH)
    assert [result["status"] for result in answer.json()["results"]] == ["applied", "applied", "duplicate"]


def test_two_producers_may_use_one_id(admin: httpx.Client) -> None:
    """CloudEvents are told apart by source and id together: what one counts hides nothing of another."""
    sources = ("billing", "shop", "a#b", "a", "s" * 300, "s" * 301)
    ids = ("17", "17", "c", "b#c", "17", "17")
    events = [
        event(f"tp-{number}", source=source, id=name)
        for number, (source, name) in enumerate(zip(sources, ids, strict=True))
    ]
    for status in ("applied", "duplicate"):
        answer = send(admin, events, BATCH)
        assert [result["status"] for result in answer.json()["results"]] == [status] * len(events), answer.text


def test_a_binary_event_is_a_transition(admin: httpx.Client) -> None:
    """Attributes in headers, percent-encoded where they are not ASCII; the data is the body."""
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "mcp_sdk.transition",
        "ce-id": "ce-bin",
        "ce-source": "bill%20ing",
        "ce-subject": "order/t-%C3%A4",
    }
    assert admin.post("/v1/transitions", json={"to_state": "paid"}, headers=headers).status_code == 200
    assert stored(admin, "t-ä")["source"] == "bill ing"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"type": "other"}, "mcp_sdk.transition"),
        ({"subject": "order"}, "model/id"),
        ({"id": ""}, "id is missing"),
        ({"id": "1" * 201}, "201 characters"),
        ({"data": []}, "data is a JSON object"),
        ({"data": {"event_id": "x"}}, "event_id"),
        ({"data_base64": "!"}, "base64"),
    ],
)
def test_an_event_that_does_not_fit_says_why(admin: httpx.Client, changed: dict[str, Any], said: str) -> None:
    """What is wrong with an event is named, and nothing is stored."""
    answer = send(admin, event("t-6") | changed)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    "changed",
    [
        {"entity_id": 5},
        {"entity_id": ""},
        {"base_revision": -1},
        {"base_revision": 2**63},
        {"attributes": {"amount": 2**64}},
        {"attributes": {"amount": {"x": 1}}},
        {"attributes": []},
        {"outcome": "perhaps"},
        {"observed_at": "yesterday"},
        {"observed_at": "2026-01-02T03:04:05"},
        {"model": "a\x00b"},
        {"namespace": ""},
        {"further": 1},
    ],
)
def test_a_field_that_does_not_fit_is_named(admin: httpx.Client, changed: dict[str, Any]) -> None:
    """Types and bounds are looked at before anything is stored."""
    one = {"model": "order", "entity_id": "t-7", "to_state": "paid", "event_id": "e-7"}
    answer = admin.post("/v1/transitions", json={"transitions": [one | changed]})
    assert answer.status_code == 422
    assert f"transitions.0.{next(iter(changed))}" in answer.json()["detail"]
    assert admin.get("/v1/contexts/order/entity", params={"id": "t-7"}).status_code == 404
