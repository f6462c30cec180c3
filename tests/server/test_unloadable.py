"""Policies that a replica cannot load: an empty set would permit everything, so it decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.context import Scope
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.sqlite import connect

ORDER = BusinessModel("order", states=("created", "paid"))
QUESTION = {"service": "shop", "operation": "GET /orders/o-1"}
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: default}
spec:
  target: {service: shop}
  default: deny
  rules:
  - {name: paid, when: "has(order.state) && order.state == 'paid'", effect: permit}
"""


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server that decides for two seconds by what is no longer the newest."""
    with Replica(tmp_path, options=("--staleness", "2")) as running:
        yield running


@pytest.fixture
def admin(replica: Replica) -> Iterator[httpx.Client]:
    """Asks as an admin."""
    headers = {"authorization": f"Bearer {replica.token}"}
    with httpx.Client(base_url=replica.url, headers=headers, trust_env=False, timeout=20) as client:
        assert client.post("/v1/models", json={"models": [ORDER.to_dict()]}).status_code == 204
        yield client


def put(replica: Replica, base: int, environment: str = "default") -> None:
    """Put a set in force that is of a later version of the product."""

    async def write() -> None:
        store = connect(replica.store, poll_interval=0.05)
        await store.open()
        try:
            await store.put_policies(Scope("default", environment), PolicyRevision(base, {"format": 99}))
        finally:
            await store.close()

    asyncio.run(write())


def test_where_nothing_was_in_force_nothing_is_decided(replica: Replica, admin: httpx.Client) -> None:
    """And readiness says so; the other scopes go on."""
    put(replica, 0, "prod")
    answer = admin.post("/v1/decide", json={**QUESTION, "environment": "prod"})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "not-loaded"), answer.text
    assert "cannot be loaded here" in answer.json()["detail"]
    assert admin.post("/v1/decide", json=QUESTION).status_code == 200
    assert len(admin.get("/readyz").json()["not_loaded"]) == 1


def test_what_was_in_force_holds_for_a_while_and_a_mend_can_be_applied(replica: Replica, admin: httpx.Client) -> None:
    """For ``staleness`` seconds; glass can be broken all the time."""
    assert admin.post("/v1/policies", json={"sources": {"a.yaml": POLICY}, "replaces": 0}).status_code == 200
    config = Config(service="shop", control_plane=replica.url, token=replica.token, start_timeout=30)
    thin = Config(service="shop", control_plane=replica.url, token=replica.token, evaluation="server", start_timeout=30)
    with Mesh(config, models=[ORDER]) as mesh, Mesh(thin, models=[ORDER]) as slim:
        put(replica, 1)
        assert admin.post("/v1/decide", json=QUESTION).json()["verdict"] == "deny"
        until(lambda: admin.post("/v1/decide", json=QUESTION).status_code == 503)
        assert admin.get("/readyz").status_code == 503
        wanted = {"service": "shop", "ttl": 60, "reason": "the new set cannot be read"}
        assert admin.post("/v1/overrides", json=wanted).status_code == 201
        until(lambda: mesh.control_plane.override is not None)
        until(lambda: slim.control_plane.override is not None)
        assert admin.post("/v1/policies", json={"sources": {"a.yaml": POLICY}, "replaces": 2}).status_code == 200
        until(lambda: admin.post("/v1/decide", json=QUESTION).status_code == 200)
        assert admin.get("/readyz").status_code == 200
