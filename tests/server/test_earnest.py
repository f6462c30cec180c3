"""Running it in earnest: break-glass, and the drill of a restore from a backup. Real processes over one file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.policy import compile_policies
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision

ORDER = BusinessModel("order")
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: revision-{number}, namespace: default}}
spec:
  target: {{service: shop}}
  default: permit
"""


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server over a file of its own."""
    with Replica(tmp_path) as running:
        yield running


def mesh(url: str, token: str = "", **settings: Any) -> Mesh:
    """Give a service."""
    config = Config(service="shop", control_plane=url, token=token, start_timeout=20.0, poll_interval=0.02, **settings)
    return Mesh(config, models=[ORDER])


def client(replica: Replica) -> httpx.Client:
    """Give an HTTP client of the admin's."""
    headers = {"authorization": f"Bearer {replica.token}"}
    return httpx.Client(base_url=replica.url, headers=headers, timeout=30, trust_env=False)


def kept_order(directory: Path) -> tuple[int, int]:
    """Give epoch and revision of the last good snapshot on disk."""
    (file,) = directory.glob("snapshot-*.json")
    said = json.loads(json.loads(file.read_text())["envelope"]["text"])
    return said["epoch"], said["revision"]


def apply(of: Mesh, number: int) -> None:
    """Put revision ``number`` in force."""
    sources = {"a.yaml": POLICY.format(number=number)}
    of.control_plane.apply(PolicyRevision(number - 1, {}, sources)).result(20)


def test_glass_is_broken_within_a_second_and_mends_by_itself(replica: Replica) -> None:
    """A service, and one that opens the store itself, stop refusing; another service does not; then it is over."""
    wanted = {"service": "shop", "ttl": 4.0, "reason": "provider down"}
    other = Config(service="other", control_plane=replica.url, token=replica.token, start_timeout=20.0)
    with mesh(replica.url, replica.token) as remote, mesh(replica.store) as local, Mesh(other) as bystander:
        with client(replica) as http:
            assert remote.enforcing
            answer = http.post("/v1/overrides", json=wanted)
            assert (answer.status_code, answer.json()["by"]) == (201, "first-admin")
            until(lambda: not remote.enforcing and not local.enforcing, 3.0)
            assert bystander.enforcing
            assert http.get("/v1/overrides").json()["overrides"]["shop"]["reason"] == "provider down"
        replica.kill()
        until(lambda: remote.enforcing and local.enforcing, 10.0)


def test_broken_glass_can_be_mended_at_once(replica: Replica) -> None:
    """Taking the override away has the service refuse again; a second one replaces the first. Of none it is said."""
    with mesh(replica.url, replica.token) as remote, client(replica) as http:
        for reason in ("first", "second"):
            wanted = {"service": "shop", "ttl": 600, "reason": reason}
            assert http.post("/v1/overrides", json=wanted).status_code == 201
        until(lambda: not remote.enforcing)
        assert http.delete("/v1/overrides", params={"service": "shop"}).status_code == 204
        gone = http.delete("/v1/overrides", params={"service": "shop", "environment": "prod"})
        assert (gone.status_code, gone.json()["type"].endswith("no-override")) == (404, True)
        assert "no glass is broken for 'shop' in default/prod" in gone.json()["detail"]
        assert gone.json()["detail"].endswith("mcpctl break-glass --list -e prod")
        until(lambda: remote.enforcing)


@pytest.mark.parametrize(
    "wanted",
    [
        {"service": "shop", "ttl": 90_000, "reason": "too long"},
        {"service": "shop", "ttl": 0, "reason": "too short"},
        {"service": "", "ttl": 60, "reason": "nobody"},
        {"service": "shop", "ttl": 60, "reason": ""},
        {"service": "shop", "ttl": 60},
    ],
)
def test_glass_is_not_broken_without_a_reason_and_an_end(replica: Replica, wanted: dict[str, Any]) -> None:
    """A time of more than a day, no service, or no reason is refused."""
    with client(replica) as http:
        assert http.post("/v1/overrides", json=wanted).status_code == 422
        assert http.get("/v1/overrides").json() == {"overrides": {}}


def test_the_drill_of_a_restore(replica: Replica, tmp_path: Path) -> None:
    """After a restore clients keep what they have, until an operator opens a new epoch; then they follow, signed."""
    state = str(tmp_path / "state")
    with mesh(replica.url, replica.token, state_dir=state) as service:
        apply(service, 1)
        apply(service, 2)
        with closing(sqlite3.connect(tmp_path / "mesh.db")) as live, closing(sqlite3.connect(tmp_path / "old")) as old:
            live.backup(old)
        apply(service, 3)
        replica.stop()
        for path in tmp_path.glob("mesh.db*"):
            path.unlink()
        (tmp_path / "old").rename(tmp_path / "mesh.db")
        replica.start()
        plane = service.control_plane
        until(lambda: plane.status() is Status.STALE)
        time.sleep(1)
        assert plane.snapshot().order == (1, 3)
        assert plane.status() is Status.STALE
        with client(replica) as http:
            assert http.get("/v1/epoch").json() == {"epoch": 1}
            wrong = http.post("/v1/epoch", json={"leaves": 2, "reason": "seen wrongly"})
            assert (wrong.status_code, wrong.json()["type"]) == (409, "urn:mcp-sdk:problem:revision-conflict")
            assert http.post("/v1/epoch", json={"leaves": 1, "reason": "restored"}).json()["epoch"] == 2
        until(lambda: plane.snapshot().order == (2, 2))
        until(lambda: kept_order(Path(state)) == (2, 2))
        until(lambda: plane.status() is Status.READY)
    replica.kill()
    with mesh(replica.url, replica.token, state_dir=state) as again:
        assert again.control_plane.snapshot().order == (2, 2)


def test_two_versions_of_a_model_stand_side_by_side(replica: Replica) -> None:
    """What both declare is merged, what contradicts is refused with both values, and an operator may replace it."""

    def declared(**changes: Any) -> dict[str, Any]:
        return {"models": [BusinessModel("order", **changes).to_dict()]}

    with client(replica) as http:
        one, two = declared(states=("created", "paid")), declared(states=("created", "lost"), attributes={"a": "int"})
        for version in (one, two, one):
            assert http.post("/v1/models", json=version).status_code == 204
        (held,) = http.get("/v1/models").json()["models"]
        assert set(held["states"]) == {"created", "paid", "lost"}
        refused = http.post("/v1/models", json=declared(attributes={"a": "string"}))
        assert (refused.status_code, "type is 'int' and 'string'" in refused.json()["detail"]) == (422, True)
        assert http.get("/v1/models").json()["models"] == [held]
        assert http.post("/v1/models?replace=true", json=declared(attributes={"a": "string"})).status_code == 204
        assert http.get("/v1/models").json()["models"][0]["attributes"][0]["type"] == "string"


def test_a_revision_that_was_given_twice_is_not_taken_for_the_same(replica: Replica, tmp_path: Path) -> None:
    """After a restore a number is given anew, to other policies: who holds the first keeps it, and says so."""
    with mesh(replica.url, replica.token) as service:
        apply(service, 1)
        with closing(sqlite3.connect(tmp_path / "mesh.db")) as live, closing(sqlite3.connect(tmp_path / "old")) as old:
            live.backup(old)
        apply(service, 2)
        replica.stop()
        for path in tmp_path.glob("mesh.db*"):
            path.unlink()
        (tmp_path / "old").rename(tmp_path / "mesh.db")
        with mesh(replica.store) as other:
            sources = {"a.yaml": POLICY.format(number=99)}
            programs = compile_policies(sources, {"order": ORDER})
            other.control_plane.apply(PolicyRevision(1, programs, sources)).result(20)
        replica.start()
        plane = service.control_plane
        until(lambda: plane.status() is Status.STALE)
        time.sleep(2)
        assert (plane.status(), plane.snapshot().order) == (Status.STALE, (1, 2))
        assert plane.snapshot().programs["policies"][0]["name"] == "revision-2"
        with client(replica) as http:
            assert http.post("/v1/epoch", json={"leaves": 1, "reason": "restored"}).status_code == 201
        until(lambda: plane.snapshot().order == (2, 2))
        assert plane.snapshot().programs["policies"][0]["name"] == "revision-99"
