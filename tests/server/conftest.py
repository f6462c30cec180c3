"""A replica for the tests of the server, with a policy and entities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from minting import mint_client
from serving import Replica

from mcp_sdk import BusinessModel
from mcp_sdk.server.access.callers import Grant

POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders, namespace: default}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: shipped, when: "has(order.state) && order.state == 'shipped'", effect: deny, reason: it has left}
  - {name: blocked, when: "has(user.state) && user.state == 'blocked'", effect: deny, reason: your account is blocked}
  - name: large
    when: "has(order.amount) && order.amount >= 50000 && !principal.mfa"
    effect: step_up
    acr: urn:mcp-sdk:mfa
    max_age: 5m
"""
MODELS = [
    BusinessModel("order", states=("created", "paid", "shipped"), attributes={"amount": "int"}),
    BusinessModel("user", states=("active", "blocked"), principal=True),
]


def said(entity: str, state: str, model: str = "order", **more: Any) -> dict[str, Any]:
    """Give a transition in its shortest form."""
    return {"model": model, "entity_id": entity, "to_state": state, "event_id": f"{model}-{entity}-{state}", **more}


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A server over a file of its own, with the policy in force."""
    directory: Path = tmp_path_factory.mktemp("replica")
    with Replica(directory) as running:
        yield running


@pytest.fixture(scope="module")
def admin(replica: Replica) -> Iterator[httpx.Client]:
    """Asks as an admin. The policy is in force, and some entities are known."""
    headers = {"authorization": f"Bearer {replica.token}"}
    with httpx.Client(base_url=replica.url, headers=headers, trust_env=False, timeout=20) as client:
        declared = {"models": [model.to_dict() for model in MODELS]}
        assert client.post("/v1/models", json=declared).status_code == 204
        answer = client.post("/v1/policies", json={"sources": {"a.yaml": POLICY}, "replaces": 0})
        assert answer.status_code == 200, answer.text
        known = [
            said("o-1", "created"),
            said("o-2", "shipped"),
            said("o-3", "created", attributes={"amount": 60000}),
            said("mallory", "blocked", model="user"),
        ]
        assert client.post("/v1/transitions", json={"transitions": known}).status_code == 200
        yield client


@pytest.fixture(scope="module")
def viewer(replica: Replica) -> Iterator[httpx.Client]:
    """Asks as somebody who may look."""
    with mint_client(replica, Grant("viewer")) as client:
        yield client


@pytest.fixture(scope="module")
def shop(replica: Replica) -> Iterator[httpx.Client]:
    """Asks as the service ``shop``."""
    with mint_client(replica, Grant("publisher"), service="shop") as client:
        yield client


@pytest.fixture(scope="module")
def outsider(replica: Replica) -> Iterator[httpx.Client]:
    """Asks as somebody of another namespace."""
    with mint_client(replica, Grant("viewer", namespace="other")) as client:
        yield client
