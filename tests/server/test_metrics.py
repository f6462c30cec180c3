"""``/metrics``, as Prometheus reads it."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

NAMES = {"mcp_sdk_requests_total", "mcp_sdk_transitions_total", "mcp_sdk_decisions_total", "mcp_sdk_policy_revision"}


def samples(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Give every sample, by name and labels."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for each in families for one in each.samples}


def test_requests_transitions_and_decisions_are_counted(admin: httpx.Client) -> None:
    """Counts are by route template, status and verdict; what is no route is one label."""
    one = {"model": "order", "entity_id": "secret-id", "to_state": "paid", "event_id": "m-1"}
    admin.post("/v1/transitions", json=one)
    admin.post("/v1/decide", json={"service": "shop"})
    admin.get("/v1/contexts/order/entity", params={"id": "secret-id"})
    admin.get("/nothing/secret-id")
    found = samples(admin)
    assert found["mcp_sdk_transitions_total", (("status", "applied"),)] >= 1
    assert found["mcp_sdk_decide_seconds_count", ()] >= 1
    assert found["mcp_sdk_decisions_total", (("verdict", "permit"),)] >= 1
    labels = (("method", "GET"), ("route", "/v1/contexts/{model}/entity"), ("status", "200"))
    assert found["mcp_sdk_requests_total", labels] >= 1
    assert found["mcp_sdk_requests_total", (("method", "GET"), ("route", "other"), ("status", "404"))] >= 1


def test_the_revision_in_force_and_the_store_are_shown(admin: httpx.Client) -> None:
    """An operator sees which revision a replica decides by, and for how long it has not heard its store."""
    found = samples(admin)
    labels = (("environment", "default"), ("epoch", "1"), ("namespace", "default"))
    assert found["mcp_sdk_policy_revision", labels] == 1
    assert 0 <= found["mcp_sdk_store_silence_seconds", ()] < 30
    assert found["mcp_sdk_stream_resyncs_total", ()] >= 0
    assert found["mcp_sdk_streams_open", ()] == 0


def test_no_label_holds_an_id(admin: httpx.Client) -> None:
    """Whatever is asked, labels are of the server's own words."""
    admin.get("/v1/contexts/order/entity", params={"id": "secret-id"})
    admin.request("SECRET-METHOD", "/v1/decide")
    text = admin.get("/metrics").text
    assert "secret" not in text.lower()
    assert all(name in text for name in NAMES)


def test_metrics_are_for_those_who_may(outsider: httpx.Client) -> None:
    """They speak of every namespace, so a role in one is not enough."""
    assert outsider.get("/metrics").status_code == 403
