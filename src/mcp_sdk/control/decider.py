"""The policies in force, and the answers that they give. Every control plane decides through this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_sdk.context import EntityRef
from mcp_sdk.control.trial import Trial
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.engine import Engine
from mcp_sdk.residue import Residue
from mcp_sdk.rollout import Candidate
from mcp_sdk.snapshot import Snapshot

__all__ = ["Decider", "build"]


class Decider:
    """Holds the engine of the newest snapshot, and swaps it in one assignment.

    Snapshots are never applied backwards in ``(epoch, revision)``. Before the first one there are no policies: every
    decision is a permit without a reason. Decide from any thread; install from one at a time. ``trial`` is a candidate
    that is rolled out beside what is in force, if there is one.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._engine = build(self.snapshot)
        self.trial: Trial | None = None

    def decide(self, request: DecisionRequest) -> Decision:
        """Answer by the policies in force, or by the candidate that a request is drawn to; pure."""
        trial = self.trial
        return self._engine.decide(request) if trial is None else trial.decide(request, self._engine)

    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        """Tell which references the policies in force look at, and the request has no context of."""
        trial = self.trial
        return self._engine.needs(request) if trial is None else trial.needs(request, self._engine)

    def build(self, snapshot: Snapshot) -> Engine:
        """Give the engine of a snapshot that is to follow the one in force; see ``build``."""
        return build(snapshot, self._engine)

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        """Tell of which entities of a model the policies in force would permit a request; pure."""
        trial = self.trial
        engine = self._engine if trial is None or not trial.takes(request) else trial.engine
        return engine.residue(request, model)

    def try_out(self, candidate: Candidate, programs: Mapping[str, Any]) -> Trial:
        """Give the trial of a candidate beside what is in force; raises what ``build`` raises."""
        held = self.trial
        models, epoch = self.snapshot.models, self.snapshot.epoch
        if held is not None and held.candidate.id == candidate.id and held.engine.models == models:
            return Trial(candidate, held.engine)
        return Trial(candidate, build(Snapshot(epoch, candidate.revision, models, programs), self._engine))

    def newer(self, snapshot: Snapshot) -> bool:
        """Tell whether a snapshot may replace the one in force.

        One of the same revision may when its models differ, for models are declared apart from policies.
        """
        held = self.snapshot
        return snapshot.order > held.order or (snapshot.order == held.order and snapshot.models != held.models)

    def install(self, snapshot: Snapshot, engine: Engine) -> bool:
        """Put a snapshot and its engine in force unless they are older than what is; tell whether they were put."""
        if not self.newer(snapshot):
            return False
        self._engine = engine
        self.snapshot = snapshot
        return True


def build(snapshot: Snapshot, before: Engine | None = None) -> Engine:
    """Give the engine of a snapshot; raises what it raises for programs that cannot be loaded.

    Policies that the engine ``before`` holds too are taken over from it.
    """
    return Engine(snapshot.programs, snapshot.models, epoch=snapshot.epoch, revision=snapshot.revision, before=before)
