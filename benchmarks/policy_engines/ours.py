"""The engine of this project: look-up alone, and the whole decision with its reason and counters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from mcp_sdk import DecisionRequest
from mcp_sdk.control.decider import Decider, build
from mcp_sdk.policy import Engine
from mcp_sdk.snapshot import Snapshot
from mcp_sdk.telemetry import Telemetry

from policy_engines.entrant import Entrant
from policy_engines.programs import MODELS, programs
from policy_engines.rules import Call, Rule

__all__ = ["Ours"]

class Ours(Entrant):
    """Programs as a store holds them, loaded and swapped in as every control plane does."""

    name = "ours"

    def __init__(self) -> None:
        self.decider, self.telemetry = Decider(), Telemetry(MODELS)
        self.revision = 0

    def source(self, ordered: Sequence[Rule], shape: str) -> str:
        return programs(ordered)

    def load(self, text: str) -> None:
        self.revision += 1
        snapshot = Snapshot(epoch=1, revision=self.revision, programs=json.loads(text), models=MODELS)
        engine = build(snapshot)
        self.find = lookup(engine)
        self.decider.install(snapshot, engine)

    def input(self, call: Call, request: DecisionRequest) -> Any:
        return request

    def rule_of(self, answer: Any) -> str | None:
        return None if answer is None else answer.reason.rule or None

    def decide(self, request: DecisionRequest) -> Any:
        """Decide with the reason, and count it."""
        decision = self.decider.decide(request)
        self.telemetry.decided(request, decision)
        return decision


def lookup(engine: Engine) -> Callable[[DecisionRequest], Any]:
    """Give the function from a request to the outcome of the first matching rule, without building a decision."""
    public: Any = getattr(engine, "lookup", None)
    if public is not None:
        return public

    def find(request: DecisionRequest) -> Any:
        plan = engine._plan(request)
        return None if plan is None else plan.traffic[0].index.first(request.contexts, request)

    return find
