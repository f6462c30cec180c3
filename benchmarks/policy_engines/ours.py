"""The engine of this project: look-up alone, and the whole decision with its reason and counters."""

from __future__ import annotations

import json
from typing import Any

from policy_engines.entrant import Entrant
from policy_engines.programs import MODELS, programs
from policy_engines.requests import request_of
from policy_engines.rules import Call, RuleSet

from mcp_sdk import DecisionRequest
from mcp_sdk.control.decider import Decider, build
from mcp_sdk.policy import Engine
from mcp_sdk.snapshot import Snapshot
from mcp_sdk.telemetry import Telemetry

__all__ = ["Ours"]


class Ours(Entrant):
    """Programs as a store holds them, loaded and swapped in as every control plane does."""

    name = "ours"

    def __init__(self) -> None:
        self.decider, self.telemetry = Decider(), Telemetry(MODELS)
        self.engine: Engine | None = None

    def source(self, rule_set: RuleSet) -> str:
        return programs(rule_set.rules)

    def load(self, text: str) -> None:
        before = self.engine
        revision = before.revision + 1 if before is not None else 1
        snapshot = Snapshot(epoch=1, revision=revision, programs=json.loads(text), models=MODELS)
        self.engine = build(snapshot, before)
        self.find = self.engine.lookup
        self.decider.install(snapshot, self.engine)

    def input(self, call: Call) -> Any:
        return request_of(call)

    def rule_of(self, answer: Any) -> str | None:
        return None if answer is None else answer.reason.rule or None

    def decide(self, request: DecisionRequest) -> Any:
        """Decide with the reason, and count it."""
        decision = self.decider.decide(request)
        self.telemetry.decided(request, decision)
        return decision
