"""What two policy sets decide differently: by effect, with a call that shows each change.

Targets whose policies are equal in canonical form are passed over. The others are asked: every combination of the
values that matter where they are few enough, else calls that a search finds and their neighbours. That nothing differs
is certain only where forms are equal, or where every kind of call was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from typing import Any

from mcp_sdk.decisions import Phase, Reason
from mcp_sdk.policy.diff.effects import Book, Effect, buckets_of, moved_share
from mcp_sdk.policy.diff.focus import changed_rules, in_chunks
from mcp_sdk.policy.diff.forms import policy_form
from mcp_sdk.policy.diff.judge import Judge, Pair
from mcp_sdk.policy.diff.seeking import Seeker
from mcp_sdk.policy.diff.structure import Note, model_notes, policy_notes, target_notes
from mcp_sdk.policy.diff.witness import (
    BUDGET,
    NOW,
    RuleSite,
    Side,
    Space,
    Witness,
    about,
    policies_of,
    sites_of,
    unlike,
)

__all__ = ["Change", "Difference", "Said", "difference"]

KINDS = ("AccessPolicy", "TrafficPolicy", "QosPolicy", "RateLimitPolicy")
OUTBOUND = frozenset({"TrafficPolicy", "QosPolicy"})
MANY, FIRST = 400, 50
Plain = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """What one set says of a call: the effect, who says so and why, and where that is written."""

    effect: str
    because: tuple[str, ...]
    speakers: tuple[tuple[str, str], ...]
    places: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        speakers = [{"policy": policy, "rule": rule or None} for policy, rule in self.speakers]
        return {"effect": self.effect, "because": list(self.because), "by": speakers, "at": list(self.places)}

    def sentence(self) -> str:
        """Give it as a sentence for a person."""
        return f"{self.effect}: {' and '.join(self.because) or 'no policy speaks of it'}"


@dataclass(frozen=True)
class Change:
    """One way in which calls are decided differently, and the plainest call that shows it.

    ``calls`` counts those tried that it was seen with. ``shadow`` says that it is seen only when policies in shadow are
    counted as enforced. ``moved`` is the share of ids that come to another version.
    """

    aspect: str
    before: Said
    after: Said
    witness: Witness
    calls: int
    shadow: bool = False
    moved: Fraction | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        call = self.witness
        named = {"service": call.service, "namespace": call.namespace, "aspect": self.aspect, "shadow": self.shadow}
        asked = {"operation": call.operation, "phase": call.phase.value, "facts": list(call.words())}
        moved = None if self.moved is None else float(self.moved)
        said = {"before": self.before.to_dict(), "after": self.after.to_dict(), "moved": moved}
        return named | said | {"calls": self.calls, "witness": {**asked, "explain": call.command()}}


@dataclass(frozen=True)
class Difference:
    """Everything that two sets do differently.

    ``tried`` counts calls that were decided by both. ``complete`` says that every kind of call was, so that nothing
    else differs; without changes that is ``certain``.
    """

    changes: tuple[Change, ...]
    notes: tuple[Note, ...]
    tried: int
    complete: bool

    @property
    def same(self) -> bool:
        """Whether nothing was found that may change what happens."""
        return not self.changes and not any(note.matters for note in self.notes)

    @property
    def certain(self) -> bool:
        """Whether the answer to ``same`` is certain: what differs was seen, what does not was covered whole."""
        return self.complete or not self.same

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        found = {"changes": [change.to_dict() for change in self.changes], "notes": [n.to_dict() for n in self.notes]}
        verdict = {"same": self.same, "certain": self.certain, "complete": self.complete, "tried": self.tried}
        return verdict | found


def difference(old: Side, new: Side, *, now: datetime, budget: int = BUDGET) -> Difference:
    """Compare two programs by what they do.

    ``now`` is the moment at which calls are made; ``budget`` bounds the calls that are tried of each kind of policy of
    a target. Raises ``ConfigurationError`` for a damaged program, ``MissingExtra`` for one that needs RE2 or xxhash
    where it is missing.
    """
    work = _Work((old, new), now, budget)
    targets = {(plain["namespace"], plain["service"]) for side in (old, new) for plain in _all(side)}
    for namespace, service in sorted(targets):
        work.target(Witness(service, now, namespace=namespace))
    notes = [*target_notes(old, new), *work.notes, *model_notes(old, new)]
    return Difference(tuple(work.changes()), tuple(notes), work.tried, work.complete)


def _all(side: Side) -> Sequence[Plain]:
    found: Sequence[Plain] = side.programs.get("policies", ())
    return found


@dataclass
class _Seen:
    aspect: str
    pair: Pair
    witness: Witness
    judge: Judge
    shadow: bool
    calls: int = 0


@dataclass
class _Work:
    sides: tuple[Side, Side]
    now: datetime
    budget: int
    tried: int = 0
    complete: bool = True
    notes: list[Note] = field(default_factory=list)
    seen: dict[tuple[Any, ...], _Seen] = field(default_factory=dict)

    @cached_property
    def one_meaning(self) -> bool:
        """Whether equal forms mean the same on both sides: constants are in units of the models."""
        kinds = [{name: _units(model) for name, model in side.models.items()} for side in self.sides]
        return kinds[0] == kinds[1]

    def target(self, call: Witness) -> None:
        """Compare the policies of one service."""
        policies = [policies_of(side, call.namespace, call.service) for side in self.sides]
        self.notes += policy_notes(policies[0], policies[1], self._renamed(policies))
        self._compare(call, [[one for one in group if not one["shadow"]] for group in policies], shadow=False)
        if any(one["shadow"] for group in policies for one in group):
            self._compare(call, policies, shadow=True)

    def _renamed(self, policies: Sequence[Sequence[Plain]]) -> dict[tuple[str, str], str]:
        names = [{(one["kind"], one["name"]) for one in group} for group in policies]
        gone, fresh = (
            [one for one in group if (one["kind"], one["name"]) not in others]
            for group, others in zip(policies, reversed(names), strict=True)
        )
        forms = {_whole_form(self.sides[1], one): one["name"] for one in fresh}
        found = {(one["kind"], one["name"]): forms.get(_whole_form(self.sides[0], one)) for one in gone}
        return {key: name for key, name in found.items() if name is not None}

    def _compare(self, call: Witness, policies: Sequence[Sequence[Plain]], *, shadow: bool) -> None:
        full = None
        for kind in KINDS:
            chosen = [[one for one in group if one["kind"] == kind] for group in policies]
            if not any(chosen) or (
                self.one_meaning and _form(self.sides[0], chosen[0]) == _form(self.sides[1], chosen[1])
            ):
                continue
            full = full or Judge(self.sides, policies, call.namespace, shadow=shadow)
            _Exploration(self, call, kind, chosen, full, shadow).run()

    def report(self, seen: _Seen) -> None:
        """Keep one way in which a call is decided differently, with the plainest call."""
        key = (seen.witness.namespace, seen.witness.service, seen.aspect, *map(_voice, seen.pair))
        known = self.seen.get((*key, False)) or self.seen.setdefault((*key, seen.shadow), seen)
        if known.shadow is seen.shadow:
            known.calls += 1
            if _plainness(seen.witness) < _plainness(known.witness):
                known.witness, known.pair = seen.witness, seen.pair

    def changes(self) -> Iterator[Change]:
        """Yield what was kept."""
        for seen in self.seen.values():
            old, new = seen.pair
            anew = old.split and new.split and old.split.salt != new.split.salt
            said = [_said(effect, book, anew=anew) for effect, book in zip(seen.pair, seen.judge.books, strict=True)]
            moved = moved_share(old.split, new.split) if old.split and new.split else None
            yield Change(seen.aspect, said[0], said[1], _plainest(seen), seen.calls, seen.shadow, moved)


def _units(model: Any) -> Any:
    facts = {one.name: (one.type, one.scale, one.sensitive) for one in model.attributes.values()}
    return (facts, frozenset(model.states))


def _whole_form(side: Side, plain: Plain) -> Any:
    return (policy_form(side.programs, plain), plain["shadow"])


def _form(side: Side, policies: Sequence[Plain]) -> Any:
    forms = [(plain["shadow"], *policy_form(side.programs, plain)) for plain in sorted(policies, key=_asked)]
    return sorted(forms, key=repr) if policies and policies[0]["kind"] == "RateLimitPolicy" else forms


def _asked(plain: Plain) -> tuple[bool, str]:
    return (not plain["operations"], plain["name"])


def _voice(effect: Effect) -> tuple[Any, ...]:
    return (effect.text, tuple((reason.kind, reason.policy, reason.rule) for reason in effect.reasons), effect.split)


def _plainness(witness: Witness) -> tuple[int, int, int]:
    return (witness.phase is not Phase.INBOUND, len(witness.facts), len(witness.command()))


def _said(effect: Effect, book: Book, *, anew: Any) -> Said:
    reasons = effect.reasons
    return Said(
        effect.text + (f", salt {effect.split.salt}" if effect.split and anew else ""),
        tuple(map(_because, reasons)),
        tuple((reason.policy, reason.rule) for reason in reasons),
        tuple(filter(None, map(book.place, reasons))),
    )


def _because(reason: Reason) -> str:
    where = f"rule {reason.rule!r} of {reason.policy!r}" if reason.rule else f"the default of {reason.policy!r}"
    return where + (f" because {reason.clause}" if reason.clause else "")


def _plainest(seen: _Seen) -> Witness:
    """Leave out every fact without which the same change is still seen."""
    witness, wanted = seen.witness, tuple(map(_voice, seen.pair))
    for fact in witness.facts:
        if fact == NOW:
            continue
        plainer = replace(witness, facts={name: value for name, value in witness.facts.items() if name != fact})
        pair = seen.judge.differing(plainer).get(seen.aspect)
        if pair is not None and tuple(map(_voice, pair)) == wanted:
            witness = plainer
    return witness


@dataclass
class _Exploration:
    """Tries calls on the policies of one kind and target: alone first, then together with all others."""

    work: _Work
    call: Witness
    kind: str
    policies: Sequence[Sequence[Plain]]
    full: Judge
    shadow: bool
    buckets: set[tuple[str, str]] = field(default_factory=set)
    hidden: bool = False

    def run(self) -> None:
        """Try calls, and report what is decided differently."""
        sites = [sites_of(group) for group in self.policies]
        others = [len(side.programs["policies"]) for side in self.full.sides] != [len(one) for one in self.policies]
        alone = Judge(self.work.sides, self.policies, self.call.namespace, shadow=self.shadow) if others else self.full
        if sum(map(len, sites)) <= MANY:
            self._explore(alone, sites, self.work.budget, whole=True)
        else:
            chunks = in_chunks(changed_rules(self.work.sides, self.policies, sites))
            for chunk in chunks:
                self._explore(alone, chunk, max(self.work.budget // len(chunks), MANY), whole=False)
        self.work.notes += _bucket_notes(self.buckets)

    def _explore(self, alone: Judge, sites: Sequence[Sequence[RuleSite]], budget: int, *, whole: bool) -> None:
        space = Space(self.work.sides, self.policies, sites, self.call)
        small = space.size <= budget
        calls = space.every() if small else self._found(space, self._changed_first(sites) if whole else sites, alone)
        for witness in islice(unlike(calls), budget):
            self.work.tried += 1
            self._try(alone, witness)
        self.work.complete &= whole and small and space.exact and not self.hidden

    def _found(self, space: Space, sites: Sequence[Sequence[RuleSite]], alone: Judge) -> Iterator[Witness]:
        """Search, a rule at a time in the order of ``sites``."""
        return chain(Seeker(space, sites, alone).calls(), about(space, sites))

    def _changed_first(self, sites: Sequence[Sequence[RuleSite]]) -> Sequence[Sequence[RuleSite]]:
        """Order all rules of the policies, those that changed first; a group of ``in_chunks`` holds only such."""
        changed = changed_rules(self.work.sides, self.policies, sites)
        return [
            list({site.key: site for site in [*first, *group]}.values())
            for first, group in zip(changed.sites, sites, strict=True)
        ]

    def _try(self, alone: Judge, witness: Witness) -> None:
        decisions = alone.decide(witness)
        if decisions[0].limits or decisions[1].limits:
            self.buckets.update(buckets_of(*decisions))
        if not alone.alike(decisions) and not self._shown(witness):
            self.hidden = True

    def _shown(self, witness: Witness) -> bool:
        """Report a call that differs also where the policies of all kinds speak; false when none was found."""
        outbound = [replace(witness, phase=Phase.OUTBOUND)] if self.kind in OUTBOUND else []
        carried = (replace(witness, facts={**facts, **witness.facts}) for facts in self.carriers)
        for call in chain([witness], carried, outbound):
            found = self.full.differing(call)
            for aspect, pair in found.items():
                self.work.report(_Seen(aspect, pair, call, self.full, self.shadow))
            if found:
                return True
        return False

    @cached_property
    def carriers(self) -> list[Mapping[str, Any]]:
        """Facts with which both sides permit a call, so that it is seen what else they say."""
        policies = [[one for one in _all(side) if one["kind"] == "AccessPolicy"] for side in self.full.sides]
        if self.kind == "AccessPolicy" or not any(policies):
            return []
        sites = [sites_of(group)[:FIRST] for group in policies]
        space = Space(self.work.sides, policies, sites, self.call)
        found = (call.facts for call in islice(about(space, sites), MANY) if self._permitted(call))
        return list(islice(found, 4))

    def _permitted(self, call: Witness) -> bool:
        return all(decision.permitted for decision in self.full.decide(call))


def _bucket_notes(pairs: Iterable[tuple[str, str]]) -> Iterator[Note]:
    """Tell of calls that shared a limit's bucket and no longer do, or do now."""
    for number, verb in ((0, "is counted apart now, as"), (1, "is counted together now; it was")):
        met: dict[str, set[str]] = {}
        for pair in sorted(pairs):
            met.setdefault(pair[number], set()).add(pair[1 - number])
        for name, others in met.items():
            if len(others) > 1:
                yield Note("limit", f"what the limit {name} counts {verb} {' and '.join(sorted(others))}", matters=True)
