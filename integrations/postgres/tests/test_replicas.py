"""Two replicas of the control-plane server over one PostgreSQL, each killed under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from schemas import Schemas
from services import postgres
from serving import Replica

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision

pytestmark = pytest.mark.services
ORDER = BusinessModel("order", states=("created", "paid"))
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: revision-{number}, namespace: default}}
spec:
  target: {{service: shop}}
  default: permit
"""


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """Two servers over one schema."""
    schemas = Schemas(postgres())
    store = schemas.url(tmp_path)
    try:
        with Replica(tmp_path, store) as one, Replica(tmp_path, store, token=one.token) as two:
            yield one, two
    finally:
        schemas.close()


def test_nothing_is_lost_when_either_replica_is_killed_under_load(replicas: tuple[Replica, Replica]) -> None:
    """Transitions and policies that were sent while one replica after the other died are all there, applied once."""
    one, two = replicas
    config = Config(
        service="shop", control_plane=f"{one.url},{two.url}", token=one.token, linger=0.001, start_timeout=20.0
    )
    sent: list[str] = []
    stop = threading.Event()
    with Mesh(config, models=[ORDER]) as mesh:
        plane = mesh.control_plane

        def load() -> None:
            while not stop.is_set():
                sent.append(f"o-{len(sent):05}")
                mesh.publish("order", sent[-1], state="created")
                mesh.publish("order", sent[-1], state="paid")
                time.sleep(0.002)

        loading = threading.Thread(target=load)
        loading.start()
        try:
            for number, (victim, other) in enumerate(((one, two), (two, one))):
                time.sleep(1.0)
                victim.kill()
                time.sleep(0.5)
                revision = PolicyRevision(number, {}, {"a.yaml": POLICY.format(number=number)})
                assert plane.apply(revision).result(30).revision == number + 1
                victim.start()
                assert other.process.poll() is None
        finally:
            stop.set()
            loading.join()
        assert plane.flush(60)
        assert plane.status() is Status.READY
        assert plane.snapshot().revision == 2
        found, after = [], ""
        while True:
            page = plane.list("order", limit=1000, after=after).result(20)
            found += [(context.entity_id, context.state, context.revision) for context in page.contexts]
            if not (after := page.after):
                break
    assert found == [(entity, "paid", 2) for entity in sent]
