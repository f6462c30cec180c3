"""Thin clients: every decision is made by the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import call
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Config, Mesh, Refused
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.listing import listable
from mcp_sdk.permits import requires_permit
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision

ORDER = BusinessModel("order", states=("created", "paid"))
ACCESS = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: default}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: paid, when: "has(order.state) && order.state == 'paid'", effect: deny, reason: already paid}
"""


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server with a policy in force and a paid order."""
    with Replica(tmp_path) as running:
        with Mesh(config(running, "local"), models=[ORDER]) as operator:
            operator.control_plane.apply(PolicyRevision(0, {}, {"a.yaml": ACCESS})).result(20)
            operator.publish("order", "o-1", state="paid")
            assert operator.control_plane.flush(10)
        yield running


def config(replica: Replica, evaluation: Any = "server") -> Config:
    """Give the settings of a client."""
    return Config(
        service="shop",
        control_plane=replica.url,
        token=replica.token,
        evaluation=evaluation,
        evaluation_timeout=5.0,
        start_timeout=20.0,
    )


def get(mesh: Mesh, path: str) -> httpx.Response:
    """Ask an application behind the middleware."""
    mesh.operations.clear()
    return call(mesh, path)


def test_the_server_decides_with_contexts_of_its_own(replica: Replica) -> None:
    """The middleware, and a method, of a thin client refuse by a policy and a state that only the server knows."""
    with Mesh(config(replica), models=[ORDER]) as mesh:

        @requires_permit(operation="ship")
        def ship(order_id: str) -> str:
            return order_id

        assert mesh.control_plane.status() is Status.READY
        assert mesh.control_plane.snapshot().programs == {}
        assert get(mesh, "/orders/o-2").status_code == 204
        with pytest.raises(Refused, match="rule 'paid'"):
            ship("o-1")
        assert ship("o-2") == "o-2"


def test_a_thin_client_is_ready_again_once_it_believes_what_it_is_told(replica: Replica) -> None:
    """A manifest that is not believed makes it stale, and says why; the next good one ends both."""
    with Mesh(config(replica), models=[ORDER]) as mesh, Mesh(config(replica, "local"), models=[ORDER]) as operator:
        plane, session = mesh.control_plane, mesh.control_plane._sessions.get()
        session.loop.submit(lambda: session._hear({"op": "manifest", "envelope": {}})).result(20)
        assert plane.status() is Status.STALE
        assert plane.why
        operator.control_plane.apply(PolicyRevision(1, {}, {"a.yaml": ACCESS.replace("already", "long")})).result(20)
        until(lambda: (plane.status(), plane.why) == (Status.READY, ""))


def test_without_the_server_a_thin_client_refuses(replica: Replica) -> None:
    """What nobody decided is refused, with a 503, and without waiting for long."""
    with Mesh(config(replica), models=[ORDER]) as mesh:
        replica.kill()
        answer = get(mesh, "/orders/o-2")
        assert (answer.status_code, answer.json()["title"]) == (503, "The control plane does not answer")


def test_lists_need_policies_that_are_here(replica: Replica) -> None:
    """A thin client cannot filter lists, and says which setting would."""
    with Mesh(config(replica), models=[ORDER]), pytest.raises(ConfigurationError, match="MCP_SDK_EVALUATION=local"):
        listable("order", "GET /orders/{order}")
