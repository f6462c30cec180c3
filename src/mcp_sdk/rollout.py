"""A policy change on its way: what clients are told of it, what they count, and when it goes on or stops.

Pure values; ``docs/decisions/0011-staged-rollouts.md`` says why they are so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self

from mcp_sdk.exceptions import ProtocolError

__all__ = ["DEFAULT_STAGES", "Candidate", "Counts", "Limits", "Plan", "Rollout", "Stage", "Step", "judge"]

MOST = 2**53
"""The most that a count may be: beyond it JSON numbers are no longer whole."""
MOST_STAGES = 20
LONGEST = 30 * 86_400.0
"""Seconds that a stage lasts at most."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a client is told: which part of the snapshot decides which share (0 to 1) of decisions; 0 is shadow.

    ``revision`` is the one that the candidate becomes.
    """

    id: str
    stage: int
    share: float
    revision: int

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            share = float(plain["share"])
            if not 0 <= share <= 1:
                raise ProtocolError(f"a share is from 0 to 1, not {share}")
            return cls(str(plain["id"]), int(plain["stage"]), share, int(plain["revision"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"not a candidate: {error!r:.80}") from error


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over decisions and calls of one stage.

    ``decisions`` were made by both sides, and the candidate's answer counted in ``candidate_decisions`` of them;
    ``current_refusals`` and ``candidate_refusals`` are what each of the two refused, ``newly_refused`` and
    ``newly_permitted`` where they differ, ``faults`` where the candidate raised.
    ``…_calls`` ended, of those that a side decided and permitted, and ``…_errors`` of them in an error of the service.
    """

    decisions: int = 0
    candidate_decisions: int = 0
    current_refusals: int = 0
    candidate_refusals: int = 0
    newly_refused: int = 0
    newly_permitted: int = 0
    faults: int = 0
    current_calls: int = 0
    current_errors: int = 0
    candidate_calls: int = 0
    candidate_errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in _COUNTED))

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _COUNTED)

    def to_dict(self) -> dict[str, int]:
        """Give the counts that are not 0 as plain JSON."""
        return {name: value for name in _COUNTED if (value := getattr(self, name))}

    @classmethod
    def from_dict(cls, plain: Any) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``. Counts of names that are not known are passed over."""
        if not isinstance(plain, Mapping):
            raise ProtocolError(f"counts are an object, not {plain!r:.40}")
        found = {name: plain[name] for name in _COUNTED if name in plain}
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
                raise ProtocolError(f"the count {name} is a whole number, not {value!r:.40}")
        counts = cls(**found)
        if not counts.possible:
            raise ProtocolError("a part of the counts is greater than the whole that it is of")
        return counts

    @property
    def possible(self) -> bool:
        """Whether no part is greater than its whole."""
        parts = (self.candidate_decisions, self.current_refusals, self.candidate_refusals, self.faults)
        changed = self.newly_refused + self.newly_permitted
        errors = self.current_errors <= self.current_calls and self.candidate_errors <= self.candidate_calls
        return max(*parts, changed) <= self.decisions and errors

    @property
    def rise_of_refusals(self) -> float:
        """How much more of the decisions the candidate refuses, from -1 to 1."""
        return (self.candidate_refusals - self.current_refusals) / self.decisions if self.decisions else 0.0

    @property
    def rise_of_faults(self) -> float:
        """In how much of the decisions the candidate raised, from 0 to 1."""
        return self.faults / self.decisions if self.decisions else 0.0

    @property
    def rise_of_errors(self) -> float:
        """How much more of the calls that the candidate decided end in an error, from -1 to 1."""
        if not self.candidate_calls:
            return 0.0
        before = self.current_errors / self.current_calls if self.current_calls else 0.0
        return self.candidate_errors / self.candidate_calls - before


_COUNTED = tuple(each.name for each in fields(Counts))


@dataclass(frozen=True, slots=True)
class Stage:
    """A share of decisions, 0 to 1 (0 is shadow), for at least so many seconds."""

    share: float
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ProtocolError(f"a share is from 0 to 1, not {self.share}")
        if not 0 <= self.seconds <= LONGEST:
            raise ProtocolError(f"a stage lasts from 0 to {LONGEST:g} seconds, not {self.seconds}")

    def __str__(self) -> str:
        return f"{100 * self.share:g} %" if self.share else "shadow"


DEFAULT_STAGES = (Stage(0.0, 600.0), Stage(0.05, 600.0), Stage(0.25, 600.0))


@dataclass(frozen=True, slots=True)
class Limits:
    """What stops a rollout: a rise of refusals or of errors above these (0 to 1), once ``minimum`` were counted."""

    refusals: float = 0.01
    errors: float = 0.01
    minimum: int = 100

    def __post_init__(self) -> None:
        if not (0 <= self.refusals <= 1 and 0 <= self.errors <= 1):
            raise ProtocolError(f"a rise is from 0 to 1, not {self.refusals} or {self.errors}")
        if not 1 <= self.minimum <= MOST:
            raise ProtocolError(f"at least one decision has to be counted, not {self.minimum}")


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a rollout, each of a greater share than the one before, and what stops it."""

    stages: tuple[Stage, ...] = DEFAULT_STAGES
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        shares = [stage.share for stage in self.stages]
        if not 1 <= len(shares) <= MOST_STAGES:
            raise ProtocolError(f"a rollout has 1 to {MOST_STAGES} stages, not {len(shares)}")
        if sorted(set(shares)) != shares:
            said = ", ".join(map(str, self.stages))
            raise ProtocolError(f"each stage has a greater share than the one before, not {said}")

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"stages": [asdict(stage) for stage in self.stages], "limits": asdict(self.limits)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            return cls(tuple(Stage(**stage) for stage in plain["stages"]), Limits(**plain["limits"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"not a plan: {error!r:.80}") from error


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout, as it is stored. Times are ISO 8601; ``base`` is the revision that the candidate follows.

    ``status`` is ``running``, ``held``, ``done``, ``stopped`` or ``superseded``; ``reason`` says why it is not running.
    One that is held stays in its stage until somebody else approved it. ``since`` is when its ``stage`` began;
    ``history`` holds the counts of each stage that is over; ``approved`` is who approved it beside its author.
    """

    id: str
    author: str
    base: int
    plan: Plan = Plan()
    stage: int = 0
    since: str = ""
    status: str = "running"
    reason: str = ""
    history: tuple[Counts, ...] = ()
    approved: str = ""

    @property
    def running(self) -> bool:
        """Whether its candidate decides a share: it is on its way, or held there."""
        return self.status in ("running", "held")

    @property
    def held(self) -> bool:
        """Whether it waits for an approval."""
        return self.status == "held"

    @property
    def at(self) -> Stage:
        """The stage that it is in."""
        return self.plan.stages[self.stage]

    @property
    def last(self) -> bool:
        """Whether only all decisions come after its stage."""
        return self.stage + 1 == len(self.plan.stages)

    @property
    def candidate(self) -> Candidate:
        """What clients are told."""
        return Candidate(self.id, self.stage, self.at.share, self.base + 1)

    def further(self, now: datetime, counts: Counts) -> Rollout:
        """Give the rollout in its next stage, ``counts`` being those of the stage that it leaves."""
        on = self.unheld()
        return replace(on, stage=self.stage + 1, since=now.isoformat(), history=(*self.history, counts))

    def holding(self, reason: str) -> Rollout:
        """Give the rollout as it waits for an approval."""
        return replace(self, status="held", reason=reason)

    def unheld(self) -> Rollout:
        """Give the rollout as it is on its way again."""
        return replace(self, status="running", reason="")

    def approved_by(self, name: str) -> Rollout:
        """Give the rollout as it goes on when somebody else approved it."""
        return replace(self.unheld(), author=f"{self.author}, approved by {name}", approved=name)

    def ended(self, status: str, reason: str, counts: Counts) -> Rollout:
        """Give the rollout as it ended."""
        return replace(self, status=status, reason=reason, history=(*self.history, counts))

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {"plan": self.plan.to_dict(), "history": [counts.to_dict() for counts in self.history]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            found = cls(
                str(plain["id"]),
                str(plain["author"]),
                int(plain["base"]),
                Plan.from_dict(plain["plan"]),
                int(plain["stage"]),
                datetime.fromisoformat(plain["since"]).isoformat(),
                str(plain["status"]),
                str(plain["reason"]),
                tuple(map(Counts.from_dict, plain["history"])),
                str(plain.get("approved", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"not a rollout: {error!r:.80}") from error
        if not 0 <= found.stage < len(found.plan.stages):
            raise ProtocolError(f"there is no stage {found.stage} in the plan of the rollout {found.id!r:.40}")
        return found


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done: ``wait``, ``advance`` or ``stop``, and why."""

    what: str
    reason: str = ""


def judge(rollout: Rollout, counts: Counts, now: datetime) -> Step:
    """Say what is to be done with a running rollout whose stage has these counts so far."""
    limits, stage = rollout.plan.limits, rollout.at
    for what, counted, rise, limit in (
        ("decisions refused", counts.decisions, counts.rise_of_refusals, limits.refusals),
        ("failures of the candidate", counts.decisions, counts.rise_of_faults, limits.errors),
        ("errors", counts.candidate_calls, counts.rise_of_errors, limits.errors),
    ):
        if counted >= limits.minimum and rise > limit:
            return Step("stop", f"{rise:.2%} more {what} in {counted}, and {limit:.2%} is the limit")
    seen = counts.candidate_decisions if stage.share else counts.decisions
    if seen < limits.minimum:
        return Step("wait", f"{seen} of {limits.minimum} decisions counted")
    left = datetime.fromisoformat(rollout.since) + timedelta(seconds=stage.seconds) - now
    return Step("wait", f"{left.total_seconds():.0f} s left") if left > timedelta() else Step("advance")
