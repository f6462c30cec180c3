"""A candidate beside the policies in force: both answer every decision, one of the two answers counts.

See ``docs/decisions/0011-staged-rollouts.md``. What is counted here is sent to the server, which sums it.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from threading import Lock

from mcp_sdk.context import EntityRef
from mcp_sdk.decisions import Decision, DecisionRequest, Rolled
from mcp_sdk.policy.engine import Engine
from mcp_sdk.rollout import Candidate, Counts

__all__ = ["Tally", "Trial", "place_of"]


def place_of(rollout: str, unit: str) -> float:
    """Give the place, from 0 to below 1, of a unit in a rollout: it is in every share that is greater.

    BLAKE2b (RFC 7693) with a digest of 8 bytes over the UTF-8 of ``rollout:unit``, big-endian, over 2^64. A lone
    surrogate is hashed as its escape.
    """
    text = f"{rollout}:{unit}".encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") / 2.0**64


def unit_of(request: DecisionRequest) -> str:
    """Give what a decision is drawn by: who calls, else the first entity of the call by model; empty for neither."""
    if request.principal.authenticated:
        return request.principal.id
    refs = (*(context.ref for context in request.contexts.values()), *request.references)
    first: EntityRef | None = min((ref for ref in refs if ref.entity_id), default=None)
    return "" if first is None else f"{first.model}/{first.entity_id}"


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that was loaded. ``rng`` draws for calls that name nobody and nothing."""

    candidate: Candidate
    engine: Engine
    rng: Callable[[], float] = random.random

    def takes(self, request: DecisionRequest) -> bool:
        """Tell whether the candidate decides a request."""
        share = self.candidate.share
        if not share:
            return False
        unit = unit_of(request)
        return (place_of(self.candidate.id, unit) if unit else self.rng()) < share

    def decide(self, request: DecisionRequest, engine: Engine) -> Decision:
        """Answer by the side that a request is drawn to, with the other side's answer beside it.

        A candidate that raises loses the request to the policies in force.
        """
        current, candidate = engine.decide(request), self.candidate
        try:
            other = self.engine.decide(request)
        except Exception:  # noqa: BLE001 - a candidate must not be able to fail a call
            return replace(current, rolled=Rolled(candidate.id, candidate.stage, "current", None))
        if self.takes(request):
            return replace(other, rolled=Rolled(candidate.id, candidate.stage, "candidate", current))
        return replace(current, rolled=Rolled(candidate.id, candidate.stage, "current", other))

    def needs(self, request: DecisionRequest, engine: Engine) -> tuple[EntityRef, ...]:
        """Tell which references either side looks at, and the request has no context of."""
        return tuple(dict.fromkeys((*engine.needs(request), *self.engine.needs(request))))


class Tally:
    """What was counted and not taken yet, by rollout and stage. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)

    def decided(self, decision: Decision) -> None:
        """Count a decision that both sides made."""
        rolled = decision.rolled
        if rolled is not None:
            self._count(rolled, compared(decision, rolled))

    def ended(self, decision: Decision, *, failed: bool) -> None:
        """Count the end of a call that was permitted, to the side that decided it."""
        rolled = decision.rolled
        if rolled is not None and decision.permitted:
            calls, errors = f"{rolled.arm}_calls", f"{rolled.arm}_errors"
            self._count(rolled, (calls, errors) if failed else (calls,))

    def add(self, stage: tuple[str, int], counts: Counts) -> None:
        """Count what was counted elsewhere, of a rollout's id and stage."""
        with self._lock:
            self._sums[stage].update(counts.to_dict())

    def take(self) -> dict[tuple[str, int], Counts]:
        """Give what was counted since the last time."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(Counter)
        return {stage: Counts(**sums) for stage, sums in taken.items()}

    def _count(self, rolled: Rolled, names: Iterable[str]) -> None:
        with self._lock:
            sums = self._sums[rolled.id, rolled.stage]
            for name in names:
                sums[name] += 1


def compared(decision: Decision, rolled: Rolled) -> Iterator[str]:
    """Yield what one decision of both sides counts for, as ``Counts`` names it."""
    yield "decisions"
    other, took = rolled.other, rolled.arm == "candidate"
    current, candidate = (other, decision) if took else (decision, other)
    if took:
        yield "candidate_decisions"
    before, after = current is None or current.permitted, candidate is None or candidate.permitted
    if not before:
        yield "current_refusals"
    if candidate is None:
        yield "faults"
        return
    if not after:
        yield "candidate_refusals"
    if before is not after:
        yield "newly_permitted" if after else "newly_refused"
