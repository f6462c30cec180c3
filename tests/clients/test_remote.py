"""The remote control plane, over a real server on a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Replica

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.context import EntityRef
from mcp_sdk.decisions import DecisionRequest, Denied
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision

ORDER = BusinessModel("order", states=("created", "paid", "shipped"))
ACCESS = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: default}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: paid, when: "has(order.state) && order.state == 'paid'", effect: deny}
"""


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server over a file of its own."""
    with Replica(tmp_path) as running:
        yield running


def mesh(replica: Replica, **settings: object) -> Mesh:
    """Give a mesh on that server."""
    settings.setdefault("fetch_timeout", 5.0)
    config = Config(service="shop", control_plane=replica.url, token=replica.token, linger=0.001, **settings)
    return Mesh(config, models=[ORDER])


def test_what_one_service_says_another_decides_by(replica: Replica) -> None:
    """A policy that is applied and a state that is published over HTTP decide a call in another process's plane."""
    with mesh(replica) as one, mesh(replica) as other:
        plane = other.control_plane
        stored = one.control_plane.apply(PolicyRevision(0, {}, {"a.yaml": ACCESS})).result(10)
        assert stored.revision == 1
        one.publish("order", "o-1", state="paid")
        assert one.control_plane.flush(10)
        ref = EntityRef("order", "o-1")
        deadline = time.monotonic() + 10
        while plane.snapshot().revision < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        request = DecisionRequest("shop", "GET /orders/o-1", references=(ref,))
        assert plane.needs(request) == (ref,)
        context = plane.fetch([ref]).result(5)[ref]
        decided = plane.decide(DecisionRequest("shop", "GET /orders/o-1", contexts={"order": context}))
        assert isinstance(decided.verdict, Denied)
        assert plane.status() is Status.READY
