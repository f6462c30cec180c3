"""``mcpctl tap`` of several replicas."""

from __future__ import annotations

import time
from pathlib import Path

from serving import Replica
from verbs import ACCESS, Typist

from mcp_sdk import DecisionRequest, Mesh, ModelContext
from mcp_sdk.context import Trust
from mcp_sdk.snapshot import PolicyRevision


def decide(mesh: Mesh, number: str) -> None:
    """Decide a call on an order that is too large."""
    contexts = {"order": ModelContext("order", number, "created", {"amount": 500_000}, trust=Trust.STORE)}
    mesh.decide(DecisionRequest("shop", "POST /orders", contexts=contexts))


def test_decisions_of_every_replica_that_is_named_are_shown(tmp_path: Path) -> None:
    """Each hears of its own clients alone; when one is gone the others are listened to."""
    place = tmp_path / "other"
    place.mkdir()
    with Replica(tmp_path) as one, Replica(place, one.store, token=one.token) as two:
        first, second = Typist(tmp_path, one.url, one.token), Typist(tmp_path, two.url, two.token)
        with first.mesh() as mesh:
            mesh.control_plane.apply(PolicyRevision(0, {}, {"access.yaml": ACCESS})).result(20)
        both = Typist(tmp_path, f"{one.url},{two.url}", one.token)
        running = both.begin("tap", "--count", "1000")
        with first.mesh() as here, second.mesh() as there:
            while not ("order o-here" in running.out and "order o-there" in running.out):
                decide(here, "o-here")
                decide(there, "o-there")
                time.sleep(0.05)
            one.kill()
            while "order o-later" not in running.out:
                decide(there, "o-later")
                time.sleep(0.05)
        running.until("the other replicas are listened to")
        assert running.interrupt() == 0
