"""What a server says of itself, forgetting over HTTP, and who is told the signing keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Replica
from verbs import Typist, token_for

from mcp_sdk.context import EntityRef
from mcp_sdk.ports import Status


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server over a file of its own."""
    with Replica(tmp_path) as running:
        yield running


def client(replica: Replica, token: str) -> httpx.Client:
    """Give a client with a token."""
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=replica.url, headers=headers, trust_env=False)


def test_who_asks_is_told_who_it_is(replica: Replica) -> None:
    """Version, protocol, time and key, to whoever has a token."""
    with client(replica, replica.token) as admin:
        told = admin.get("/v1/about").json()
        assert (told["mesh"], told["protocol"], told["roles"]) == ("default", [1], ["admin"])
        assert len(told["key"]) == 64
        probed = admin.post("/v1/probe").json()
        assert probed["written"] >= 0
        assert probed["key"] == told["key"]
    assert httpx.get(f"{replica.url}/v1/about", trust_env=False).status_code == 401


def test_only_operators_forget_and_probe(replica: Replica) -> None:
    """A viewer is told which role may."""
    with client(replica, token_for(replica, "viewer")) as viewer:
        assert viewer.delete("/v1/contexts/order/entity", params={"id": "o-1"}).status_code == 403
        assert viewer.post("/v1/probe").status_code == 403
    with client(replica, token_for(replica, "operator")) as operator:
        gone = operator.delete("/v1/contexts/order/entity", params={"id": "o-1"})
        assert gone.json() == {"contexts": 0, "transitions": 0, "by": "operator"}


def test_a_viewer_hears_everything_but_the_keys(replica: Replica, tmp_path: Path) -> None:
    """Whoever may not publish could sign what it never was; changes it hears."""
    admin = Typist(tmp_path, replica.url, replica.token)
    admin.seed()
    viewer = Typist(tmp_path, replica.url, token_for(replica, "viewer"))
    with admin.mesh() as publishing, viewer.mesh(service="looker") as looking:
        assert looking.control_plane.status() is Status.READY
        ref = EntityRef("order", "o-1")
        assert looking.control_plane.fetch([ref]).result(20)[ref].state == "paid"
        publishing.publish("order", "o-1", state="created")
        deadline = time.monotonic() + 20
        while looking.control_plane.known(ref).state != "created":  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert publishing.control_plane.keys()
        assert looking.control_plane.keys() == ()
