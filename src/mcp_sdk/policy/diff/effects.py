"""What a decision does, as values that can be compared: of a split its distribution, not the draw.

``effects_of`` reads a decision beside the program that made it, part by part (``ASPECTS``). Two calls are decided alike
when every part is equal; ``text`` is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import gcd
from typing import Any, NamedTuple

from mcp_sdk.decisions import Decision, Denied, Limit, Reason, ReviewRequired, StepUpRequired
from mcp_sdk.policy.diff.forms import salt_of, shares_of
from mcp_sdk.policy.hashing import edges_of
from mcp_sdk.policy.program import RuleRow

__all__ = ["ASPECTS", "Book", "Effect", "Split", "buckets_of", "effects_of", "moved_share"]

ASPECTS = ("verdict", "route", "qos", "advice", "limits")
_KINDS = {"verdict": "AccessPolicy", "route": "TrafficPolicy", "qos": "QosPolicy", "limits": "RateLimitPolicy"}


class Split(NamedTuple):
    """A split to which a value sticks: versions with weights in their order, and the salt of the hash."""

    shares: tuple[tuple[str, int], ...]
    salt: str


@dataclass(frozen=True)
class Effect:
    """One part of what a decision does: ``value`` is compared, ``text`` read; ``reasons`` say who spoke.

    ``split`` is there for a route by a split to which a value may stick.
    """

    value: Any
    text: str
    reasons: tuple[Reason, ...] = ()
    split: Split | None = None


class Book:
    """The effects of a program's policies, found by the reason that names them."""

    def __init__(self, programs: Mapping[str, Any], namespace: str) -> None:
        self._programs, self._namespace = programs, namespace

    @cached_property
    def policies(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """The policies by kind and name."""
        found = self._programs.get("policies", ())
        return {(plain["kind"], plain["name"]): plain for plain in found if plain["namespace"] == self._namespace}

    @cached_property
    def rules(self) -> Mapping[tuple[str, str, str], RuleRow]:
        """The rules by kind, policy and name."""
        return {(*key, rule.name): rule for key, plain in self.policies.items() for rule in map(_row, plain["rules"])}

    def place(self, reason: Reason) -> str:
        """Give ``file:line:column`` of the rule, or ``file:line`` of the policy, that spoke; empty when unknown."""
        plain = self.policies.get((reason.kind, reason.policy))
        rule = self.rules.get((reason.kind, reason.policy, reason.rule))
        if plain is None:
            return ""
        return f"{plain['file']}:{rule.line}:{rule.column}" if rule else f"{plain['file']}:{plain['line']}"

    def route(self, reason: Reason) -> tuple[Mapping[str, Any], str]:
        """Give the route that a reason speaks of, and the salt of its split."""
        plain = self.policies[reason.kind, reason.policy]
        if not reason.rule:
            return plain["default"] or {}, salt_of(plain, "", plain["default"] or {})
        rule = self.rules[reason.kind, reason.policy, reason.rule]
        route = self._programs["effects"][rule.effect]["route"]
        return route, salt_of(plain, rule.name, route)


def _row(row: Sequence[Any]) -> RuleRow:
    return RuleRow.of(row)


def effects_of(decision: Decision, book: Book) -> dict[str, Effect]:
    """Give the parts of a decision; of a refusal only the verdict, for nothing else follows."""
    verdict = _verdict(decision)
    if not decision.permitted:
        return {"verdict": verdict}
    return {
        "verdict": verdict,
        "route": _route(decision, book),
        "qos": _qos(decision),
        "advice": _advice(decision),
        "limits": _limits(decision),
    }


def _reasons(decision: Decision, *aspects: str) -> tuple[Reason, ...]:
    kinds = [_KINDS[aspect] for aspect in aspects]
    return tuple(reason for kind in kinds for reason in decision.reasons if reason.kind == kind)


def _verdict(decision: Decision) -> Effect:
    said = decision.verdict
    text = str(said.name)
    if isinstance(said, Denied) and said.message:
        text += f" ({said.message})"
    elif isinstance(said, ReviewRequired):
        text += "".join(
            f" {part}" for part in (said.by and f"by {said.by}", said.message and f"({said.message})") if part
        )
    elif isinstance(said, StepUpRequired):
        age = "" if said.max_age is None else f"within {said.max_age} s"
        text += "".join(f" {part}" for part in (said.acr, age, said.message and f"({said.message})") if part)
    return Effect(said, text, _reasons(decision, "verdict")[:1])


def _route(decision: Decision, book: Book) -> Effect:
    reasons = _reasons(decision, "route")[:1]
    if not reasons or decision.route is None:
        return Effect((None, "", "", None), "any endpoint")
    route, salt = book.route(reasons[0])
    decided = decision.route
    shares: Any = shares_of(route.get("split", ()))
    split: Split | None = None
    where: Any
    where = text = str(decided.subset or "any endpoint")
    if len(shares) > 1:
        where, text, sticky = shares, _percents(shares), route.get("sticky")
        if sticky:
            split = Split(tuple((version, weight) for version, weight in route["split"] if weight), salt)
            where = (split, decided.sticky) if decided.sticky else shares
            text = f"{_percents(split.shares)}, by {sticky['clause']}"
    value = (where, decided.priority, decided.timeout)
    text += f", priority {decided.priority}" if decided.priority else ""
    text += f", timeout {decided.timeout:g} s" if decided.timeout is not None else ""
    return Effect(value, text, reasons, split)


def _percents(shares: Sequence[tuple[str, int]]) -> str:
    total = sum(weight for _, weight in shares)
    return " and ".join(f"{100 * weight / total:.3g} % {version}" for version, weight in shares)


def _qos(decision: Decision) -> Effect:
    if decision.qos is None:
        return Effect(None, "none")
    parts = [f"priority {decision.qos.priority}", decision.qos.service_class and f"class {decision.qos.service_class}"]
    return Effect(decision.qos, ", ".join(part for part in parts if part), _reasons(decision, "qos")[:1])


def _advice(decision: Decision) -> Effect:
    written = json.dumps(dict(decision.advice), sort_keys=True, ensure_ascii=False)
    return Effect(written, written if decision.advice else "none", _reasons(decision, "route", "qos")[:1])


def _limits(decision: Decision) -> Effect:
    found = sorted(
        (limit.requests, limit.per, limit.burst or limit.requests, counted_by(limit)) for limit in decision.limits
    )
    words = [
        f"{requests} per {per:g} s, burst {burst}" + (f", counted for {value}" if value else "")
        for requests, per, burst, value in found
    ]
    return Effect(tuple(found), "; ".join(words) or "none", tuple(limit.reason for limit in decision.limits))


def counted_by(limit: Limit) -> str:
    """Give the value that a limit is counted for; empty when all calls share it."""
    whole = f"{limit.policy}/{limit.reason.rule}"
    return "" if limit.key == whole else limit.key.removeprefix(f"{limit.reason.rule}:")


def buckets_of(old: Decision, new: Decision) -> list[tuple[str, str]]:
    """Give the limits of a call that two programs agree on, as the buckets that it spends from in each."""
    waiting = list(new.limits)
    pairs = []
    for limit in old.limits:
        alike = [one for one in waiting if (one.requests, one.per, counted_by(one)) == _numbers(limit)]
        alike.sort(key=lambda one, limit=limit: (one.policy, one.reason.rule) != (limit.policy, limit.reason.rule))  # type: ignore[misc]
        if alike:
            waiting.remove(alike[0])
            pairs.append((_bucket(limit), _bucket(alike[0])))
    return pairs


def _numbers(limit: Limit) -> tuple[int, float, str]:
    return (limit.requests, limit.per, counted_by(limit))


def _bucket(limit: Limit) -> str:
    return f"{limit.reason.rule!r} of {limit.policy!r}"


def moved_share(old: Split, new: Split) -> Fraction:
    """Give the share of ids, of many, that come to another version when one split takes the place of another.

    With another salt the two draws are independent. With the same, a hash modulo one total and modulo another are so
    within each remainder of their greatest common divisor (Chinese remainder theorem).
    """
    edges = [edges_of(weight for _, weight in split.shares) for split in (old, new)]
    common = gcd(edges[0][-1], edges[1][-1]) if old.salt == new.salt else 1
    cuts = sorted({0, common, *(edge % common for group in edges for edge in group)})
    kept = Fraction(0)
    for low, high in pairwise(cuts):
        counts = [_counts(split, low, common) for split in (old, new)]
        both = sum(count * counts[1].get(version, 0) for version, count in counts[0].items())
        kept += Fraction(both * common * common * (high - low), edges[0][-1] * edges[1][-1] * common)
    return 1 - kept


def _counts(split: Split, remainder: int, common: int) -> dict[str, int]:
    """Count, by version, the buckets that leave this remainder."""
    found: dict[str, int] = {}
    start = 0
    for version, weight in split.shares:
        end = start + weight
        number = (end - remainder + common - 1) // common - (start - remainder + common - 1) // common
        found[version] = found.get(version, 0) + number
        start = end
    return found
