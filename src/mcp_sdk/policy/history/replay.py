"""A decision log against policies: who would be decided otherwise.

``replay`` compares what was decided then, as the log says, with what an engine decides of the same question now.
``simulate`` has two engines decide each question, and compares those. A question of which a condition reads a fact that
the log does not hold is not answered but counted as unknown. Rate limits are named and not counted; a share that chance
draws is compared by its split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.explain import explain
from mcp_sdk.policy.history.records import Answer, Record, Unread, answer_of
from mcp_sdk.policy.history.unknown import Unknown, guarded

__all__ = ["Change", "Report", "Sample", "Skipped", "engine_for_replay", "replay", "simulate"]

PLACES = 3
"""How many places of one cause a report names."""


class Change(NamedTuple):
    """One way in which calls are decided otherwise: ``what`` is ``verdict route qos limits advice``."""

    what: str
    before: str
    after: str

    @property
    def refuses(self) -> bool:
        """Whether it refuses what was permitted."""
        return self.what == "verdict" and self.before == "permit"

    def __str__(self) -> str:
        return f"{self.what} {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One call that is decided otherwise, and the sentence that explains how it is decided now."""

    place: str
    time: str
    service: str
    operation: str
    phase: str
    changes: tuple[Change, ...]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        plain = {name: getattr(self, name) for name in ("place", "time", "service", "operation", "phase", "sentence")}
        return plain | {"changes": [change._asdict() for change in self.changes]}


@dataclass(slots=True)
class Skipped:
    """Lines that were not decided for one cause: how many, and where the first stand, with what was wrong."""

    count: int = 0
    places: list[tuple[str, str]] = field(default_factory=list)

    def add(self, place: str, detail: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.places) < PLACES:
            self.places.append((place, detail))


@dataclass(slots=True)
class Report:
    """What came of a log.

    ``decided`` counts the records that were decided, ``otherwise`` those decided otherwise, ``refused`` those of them
    that were permitted before and are not now. ``rules`` counts the rules that newly speak in those. ``samples`` are at
    most ``each`` for a change. Its size grows with the policies, not with the log.
    """

    each: int = 3
    decided: int = 0
    otherwise: int = 0
    refused: int = 0
    changes: Counter[Change] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, Skipped] = field(default_factory=dict)

    @property
    def undecided(self) -> int:
        """How many lines were not decided."""
        return sum(one.count for one in self.skipped.values())

    def skip(self, why: str, place: str, detail: str = "") -> None:
        """Count a line that cannot be decided."""
        self.skipped.setdefault(why, Skipped()).add(place, detail)

    def add(self, before: Answer, after: Answer, sample: Callable[[tuple[Change, ...]], Sample]) -> None:
        """Count a record, and keep it as a sample where there are too few of its change."""
        self.decided += 1
        changes = tuple(_changes(before, after))
        if not changes:
            return
        self.otherwise += 1
        self.refused += any(change.refuses for change in changes)
        self.rules.update(rule for rule in after.rules if rule not in before.rules)
        if any(self.changes[change] < self.each for change in changes):
            self.samples.append(sample(changes))
        self.changes.update(changes)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON, the most frequent first."""
        rules = ({"policy": policy, "rule": rule, "calls": calls} for (policy, rule), calls in _ranked(self.rules))
        return {
            "decided": self.decided,
            "otherwise": self.otherwise,
            "refused": self.refused,
            "changes": [change._asdict() | {"calls": calls} for change, calls in _ranked(self.changes)],
            "rules": list(rules),
            "samples": [sample.to_dict() for sample in self.samples],
            "undecided": [
                {"why": why, "lines": one.count, "first": [list(place) for place in one.places]}
                for why, one in self.skipped.items()
            ],
        }


def _ranked(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _changes(before: Answer, after: Answer) -> Iterable[Change]:
    if before.verdict != after.verdict:
        return [Change("verdict", before.verdict, after.verdict)]
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in ("route", "qos", "limits", "advice")]
    return [Change(name, _words(one), _words(other)) for name, one, other in pairs if one != other]


def _words(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else "; ".join(value) or "none"


def engine_for_replay(programs: Mapping[str, Any], models: Mapping[str, BusinessModel]) -> Engine:
    """Give an engine that decides as foreseeable as can be.

    It always draws the same number, leaves policies in shadow alone, and names limits without the keys that they are
    counted under: a key that the log hides keeps nobody from being decided again. Raises what ``Engine`` raises.
    """
    if not programs:
        return Engine(programs, models)
    effects = [_uncounted(effect) for effect in programs.get("effects", ())]
    policies = [policy for policy in programs.get("policies", ()) if not policy["shadow"]]
    return Engine({**programs, "effects": effects, "policies": policies}, models, rng=lambda: 0.0)


def _uncounted(effect: Mapping[str, Any]) -> Mapping[str, Any]:
    limit = effect.get("limit")
    return effect if limit is None else {"limit": {name: value for name, value in limit.items() if name != "key"}}


def replay(records: Iterable[Record | Unread], engine: Engine, *, samples: int = 3) -> Report:
    """Compare what was decided then with what ``engine`` decides now; it comes from ``engine_for_replay``."""
    return _compare(records, engine, lambda record, _: record.answer, samples)


def simulate(records: Iterable[Record | Unread], changed: Engine, current: Engine, *, samples: int = 3) -> Report:
    """Compare what ``current`` decides of each question with what ``changed`` does; both from ``engine_for_replay``."""
    return _compare(records, changed, lambda _, request: answer_of(current.decide(request)), samples)


def _compare(
    records: Iterable[Record | Unread],
    engine: Engine,
    before: Callable[[Record, DecisionRequest], Answer],
    samples: int,
) -> Report:
    report = Report(samples)
    for record in records:
        if isinstance(record, Unread):
            report.skip(record.why, record.place, record.detail)
            continue
        request = guarded(record.request, record.unknown)
        try:
            first, decision = before(record, request), engine.decide(request)
        except Unknown as unknown:
            report.skip(f"a condition reads {unknown.name}, which the log does not hold", record.place)
            continue
        report.add(first, answer_of(decision), _Sampler(engine, record, request, decision))
    return report


@dataclass(frozen=True, slots=True)
class _Sampler:
    engine: Engine
    record: Record
    request: DecisionRequest
    decision: Decision

    def __call__(self, changes: tuple[Change, ...]) -> Sample:
        asked = self.record.request
        return Sample(
            self.record.place,
            asked.now.isoformat(),
            asked.service,
            asked.operation,
            asked.phase.value,
            changes,
            self.sentence(),
        )

    def sentence(self) -> str:
        """Explain the decision; where that would read what is unknown, by the decision alone."""
        try:
            return explain(self.engine, self.request).sentence()
        except Unknown:
            return f"{self.decision.sentence()}."
