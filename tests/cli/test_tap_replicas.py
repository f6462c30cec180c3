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


def test_a_tap_of_one_replica_shows_all_and_goes_on_at_the_next(tmp_path: Path) -> None:
    """No decision is shown twice, whichever replica its client is connected to; others may be named to go on at."""
    place = tmp_path / "other"
    place.mkdir()
    with Replica(tmp_path) as one, Replica(place, one.store, token=one.token) as two:
        first, second = Typist(tmp_path, one.url, one.token), Typist(tmp_path, two.url, two.token)
        with first.mesh() as mesh:
            mesh.control_plane.apply(PolicyRevision(0, {}, {"access.yaml": ACCESS})).result(20)
        both = Typist(tmp_path, f"{one.url},{two.url}", one.token)
        running = both.begin("tap", "--count", "1000")
        with first.mesh() as here, second.mesh() as there:
            made: list[str] = []
            while not ("order here-" in running.out and "order there-" in running.out):
                for mesh, name in ((here, "here"), (there, "there")):
                    made.append(f"{name}-{len(made)}.")
                    decide(mesh, made[-1])
                time.sleep(0.1)
            one.kill()
            while "order later" not in running.out:
                decide(there, "later")
                time.sleep(0.05)
        running.until("going on at the next replica")
        assert max(running.out.count(name) for name in made) == 1
        assert running.interrupt() == 0


def test_a_tap_goes_on_when_the_replica_behind_its_address_is_another(tmp_path: Path) -> None:
    """A replica that leaves says when to come back; whoever answers there then is asked."""
    with Replica(tmp_path) as one:
        typist = Typist(tmp_path, one.url, one.token)
        with Replica(tmp_path / ".", one.store, token=one.token) as two:
            running = Typist(tmp_path, f"{two.url},{one.url}", one.token).begin("tap", "--count", "1")
            running.until("tapping decisions")
            two.stop()
        running.until("the server says: bye")
        with typist.mesh() as mesh:
            while "order later" not in running.out:
                decide(mesh, "later")
                time.sleep(0.05)
        assert running.ended() == 0
