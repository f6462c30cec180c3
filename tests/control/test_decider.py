"""The policies in force, and how they change."""

from __future__ import annotations

import pytest

from mcp_sdk.context import ModelContext
from mcp_sdk.control.decider import Decider, build
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.exceptions import MeshError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.compile import compile_policies
from mcp_sdk.snapshot import Snapshot

MODELS = {"order": BusinessModel("order", states=("created", "paid"))}
TRAFFIC = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: t, namespace: default}}
spec:
  target: {{service: shop}}
  rules:
  - {{name: paid, when: "order.state == 'paid'", route: {{version: {version}}}}}
  default: {{version: v1}}
"""


def snapshot(revision: int, version: str, *, epoch: int = 1) -> Snapshot:
    programs = compile_policies({"t.yaml": TRAFFIC.format(version=version)}, MODELS)
    return Snapshot(epoch, revision, MODELS, programs)


def version(decider: Decider, state: str = "paid") -> str | None:
    decision = decider.decide(DecisionRequest("shop", contexts={"order": ModelContext("order", "o-1", state)}))
    return decision.route and decision.route.subset.version


def put(decider: Decider, new: Snapshot) -> bool:
    return decider.newer(new) and decider.install(new, build(new))


def test_without_a_snapshot_everything_is_permitted_without_a_reason():
    """Before the first snapshot no policy speaks."""
    decision = Decider().decide(DecisionRequest("shop"))
    assert decision.permitted
    assert decision.reasons == ()
    assert decision.revision == 0


def test_a_newer_snapshot_is_put_in_force_whole():
    """Decisions follow the newest snapshot, and carry its epoch and revision."""
    decider = Decider()
    assert put(decider, snapshot(1, "v2"))
    assert (version(decider), version(decider, "created")) == ("v2", "v1")
    assert put(decider, snapshot(2, "v3"))
    decision = decider.decide(DecisionRequest("shop"))
    assert (version(decider), decision.epoch, decision.revision) == ("v3", 1, 2)


@pytest.mark.parametrize(("epoch", "revision"), [(2, 4), (2, 5), (1, 9)])
def test_snapshots_are_never_applied_backwards(epoch, revision):
    """An older revision, the same one, or one of an older epoch changes nothing."""
    decider = Decider()
    assert put(decider, snapshot(5, "v2", epoch=2))
    old = snapshot(revision, "v9", epoch=epoch)
    assert not put(decider, old)
    assert not decider.install(old, build(old))
    assert version(decider) == "v2"


def test_models_may_change_without_a_new_revision():
    """Services declare models at any time: the snapshot of the same revision with other models is taken."""
    decider = Decider()
    put(decider, snapshot(1, "v2"))
    more = Snapshot(1, 1, MODELS | {"user": BusinessModel("user")}, decider.snapshot.programs)
    assert put(decider, more)
    assert "user" in decider.snapshot.models


def test_programs_that_cannot_be_loaded_are_refused():
    """What is no program of ours raises, before anything in force has changed."""
    with pytest.raises(MeshError):
        build(Snapshot(1, 1, MODELS, {"format": 999, "policies": []}))
