"""Two policy sets asked the same call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcp_sdk.decisions import Decision
from mcp_sdk.policy.diff.effects import Book, Effect, effects_of
from mcp_sdk.policy.diff.witness import Side, Witness
from mcp_sdk.policy.engine import Engine

__all__ = ["Judge", "Pair"]

Plain = Mapping[str, Any]
Pair = tuple[Effect, Effect]
"""What the old set makes of a part of a call, and what the new one does."""


class Judge:
    """Decides calls by some policies of both sides; ``shadow`` as if those in shadow were in force too."""

    def __init__(
        self, sides: Sequence[Side], policies: Sequence[Sequence[Plain]], namespace: str, *, shadow: bool
    ) -> None:
        self.shadow = shadow
        self.sides = [
            Side({**side.programs, "policies": list(kept)}, side.models)
            for side, kept in zip(sides, policies, strict=True)
        ]
        self.engines = [Engine(side.programs, side.models) for side in self.sides]
        self.books = [Book(side.programs, namespace) for side in self.sides]
        self._one_model = sides[0].models == sides[1].models

    def decide(self, witness: Witness) -> list[Decision]:
        """Give the old decision and the new."""
        request = witness.request(self.sides[0].models)
        other = request if self._one_model else witness.request(self.sides[1].models)
        decisions = [self.engines[0].decide(request), self.engines[1].decide(other)]
        return [one.shadow or one for one in decisions] if self.shadow else decisions

    def alike(self, decisions: Sequence[Decision]) -> bool:
        """Tell whether two decisions do the same."""
        return not self._differing(decisions)

    def differing(self, witness: Witness) -> dict[str, Pair]:
        """Give the parts of the decisions that differ, the old and the new."""
        return self._differing(self.decide(witness))

    def _differing(self, decisions: Sequence[Decision]) -> dict[str, Pair]:
        old, new = (effects_of(decision, book) for decision, book in zip(decisions, self.books, strict=True))
        shared = [aspect for aspect in old if aspect in new and old[aspect].value != new[aspect].value]
        return {aspect: (old[aspect], new[aspect]) for aspect in (shared[:1] if "verdict" in shared else shared)}
