"""Rules against the rules of their policy: which can never speak, which contradict each other, which change nothing."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import combinations, groupby
from typing import Any

from mcp_sdk.policy.analysis.regions import Box, Space, covering
from mcp_sdk.policy.analysis.rivals import Rivals
from mcp_sdk.policy.analysis.study import RANKS, Studied, Study, effect_of, place_of
from mcp_sdk.policy.cel.clauses import clause_texts
from mcp_sdk.policy.cel.shapes import clause_shapes
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.resources import (
    AccessPolicy,
    AccessRule,
    Policy,
    QosPolicy,
    QosRule,
    RateLimitPolicy,
    Rule,
    TrafficPolicy,
    TrafficRoute,
    TrafficRule,
)

__all__ = ["check_overlaps"]

MAX_CLAUSES = 8
NAMED = 3
_ANYWHERE: Sequence[Box] = ({},)


def check_overlaps(policy: Policy, rules: Sequence[Studied], study: Study, findings: Collector) -> None:
    """Report dead, shadowed, contradicted and redundant rules of one policy, and a default that never speaks."""
    ordered = sorted(rules, key=lambda one: RANKS.get(effect_of(one.rule), 0))
    coverage = _Coverage(study, findings, ordered)
    if findings.failures == 0:
        coverage.dead()
    if isinstance(policy, RateLimitPolicy):
        return
    speaking = coverage.speaking()
    coverage.default(policy)
    if findings.failures == 0:
        idle = {number for run in coverage.runs(speaking) for number in coverage.redundant(run)}
        coverage.like_default(policy, set(speaking) - idle)


class _Coverage:
    def __init__(self, study: Study, findings: Collector, rules: Sequence[Studied]) -> None:
        self.study, self.findings, self.rules = study, findings, rules
        self.boxes = [study.matching(one) for one in rules]
        self.rivals = Rivals(study.space, self.boxes)

    def dead(self) -> None:
        """Report rules whose condition can never hold."""
        for one, boxes in zip(self.rules, self.boxes, strict=True):
            if not boxes or (one.refusing and not self.study.holding(one)):
                self._dead(one, boxes)

    def _dead(self, one: Studied, boxes: Sequence[Box]) -> None:
        code = "MCP0104" if boxes else "MCP0103"
        what = "only errors make it refuse" if boxes else "it can never apply"
        why = "" if self.findings.full else _contradiction(self.study, one)
        message = f"rule {one.rule.name!r}: {what}, for {why}"
        if self.study.holding(one, space=self.study.space.opened):
            message += "; no other states are declared"
        self.findings.report(code, message, one.rule.at)

    def speaking(self) -> list[int]:
        """Report rules whose calls others take; give the numbers of those that may speak, in order."""
        found = []
        for number, boxes in enumerate(self.boxes):
            takers = covering(self.study.space, boxes, self.rivals.of(boxes)) if boxes else None
            if takers is not None:
                self._taken(self.rules[number], [self.rules[taker] for taker in takers])
            elif boxes:
                self.rivals.add(number, boxes)
                found.append(number)
        return found

    def _taken(self, one: Studied, takers: Sequence[Studied]) -> None:
        names = _listed(taker.rule for taker in takers)
        refused = any(taker.refusing for taker in takers) and not one.refusing and effect_of(one.rule) == "permit"
        if refused:
            message = f"rule {one.rule.name!r} grants nothing: {names} refuse{_s(takers)} every call that it permits"
        elif takers[0].shape.expr == ["lit", True]:
            message = f"rule {one.rule.name!r} can never apply: {names} before it always does"
        else:
            message = f"rule {one.rule.name!r} can never speak: {names} take{_s(takers)} every call that it matches"
        if not self.findings.full and self._by_declaration(one, takers):
            message += "; no other states are declared"
        self.findings.report("MCP0105" if refused else "MCP0102", message, one.rule.at)

    def _by_declaration(self, one: Studied, takers: Sequence[Studied]) -> bool:
        """Tell whether a claim rests on states being those that are declared."""
        space: Space = self.study.space.opened
        boxes = {number: self.study.matching(taker, space) for number, taker in enumerate(takers)}
        return covering(space, self.study.matching(one, space), boxes) is None

    def default(self, policy: Policy) -> None:
        """Report a written default that rules leave nothing to."""
        if getattr(policy, "default", None) is None:
            return
        takers = covering(self.study.space, _ANYWHERE, self.rivals.of(_ANYWHERE))
        if takers:
            last = self.rules[takers[-1]].rule
            names = _listed(self.rules[taker].rule for taker in takers)
            message = f"the default of {policy.name!r} never speaks: {names} take{_s(takers)} every call"
            self.findings.report("MCP0109", message, last.at)

    def runs(self, speaking: Sequence[int]) -> Iterator[list[int]]:
        """Yield those of ``speaking`` that stand together and say the same, also but for rules that never speak now."""
        among = set(speaking)
        for _, run in groupby(self._alive(), key=lambda number: _effect(self.rules[number].rule)):
            kept = [number for number in run if number in among]
            if len(kept) > 1:
                yield kept

    def _alive(self) -> list[int]:
        return [number for number, boxes in enumerate(self.boxes) if boxes]

    def like_default(self, policy: Policy, numbers: Container[int]) -> None:
        """Report those of ``numbers`` that stand just before the default, and say the same as it."""
        effect = _effect_of_default(policy)
        for number in reversed(self._alive()):
            rule = self.rules[number].rule
            if effect is None or _effect(rule) != effect:
                return
            if number in numbers:
                message = f"rule {rule.name!r} changes nothing: the default of {policy.name!r} says the same"
                self.findings.report("MCP0108", message, rule.at)

    def redundant(self, run: Sequence[int]) -> Iterator[int]:
        """Report and yield those of rules that stand together and say the same which later ones make needless."""
        rivals = self.rivals.none()
        for number in reversed(run):
            boxes, rule = self.boxes[number], self.rules[number].rule
            takers = covering(self.study.space, boxes, rivals.of(boxes))
            if takers is None:
                rivals.add(number, boxes)
                continue
            names = _listed(self.rules[taker].rule for taker in takers)
            does = "does" if len(takers) == 1 else "do"
            message = f"rule {rule.name!r} changes nothing: {names} after it {does} the same to every call of it"
            self.findings.report("MCP0108", message, rule.at)
            yield number


def _effect(rule: Rule) -> Any:
    """Give what a rule says in a form that equals another's where nobody can tell them apart by what follows."""
    if isinstance(rule, AccessRule):
        return (rule.effect, rule.reason, rule.by, rule.acr, rule.max_age)
    if isinstance(rule, QosRule):
        return (rule.priority, rule.service_class, repr(dict(rule.advice)))
    if isinstance(rule, TrafficRule):
        own = rule.name if rule.route.split and not rule.route.salt else ""
        return (repr(rule.route), repr(dict(rule.advice)), own)
    return rule.name


def _effect_of_default(policy: Policy) -> Any:
    if isinstance(policy, AccessPolicy) and policy.default == "permit":
        return ("permit", "", "", "", None)
    if isinstance(policy, QosPolicy) and policy.default is not None:
        return _effect(policy.default)
    if isinstance(policy, TrafficPolicy):
        route = policy.default or TrafficRoute()
        return None if route.split and not route.salt else (repr(route), repr({}), "")
    return None


def _contradiction(study: Study, one: Studied) -> str:
    """Say which clauses of a rule's condition cannot hold, alone or together."""
    parts = list(zip(clause_shapes(one.shape.expr), clause_texts(one.checked), strict=True))
    for shape, text in parts[:MAX_CLAUSES]:
        if not study.part(one, shape):
            return f"{_shown(text)} is never true"
    for (left, text), (right, other) in combinations(parts[:MAX_CLAUSES], 2):
        if not study.part(one, left, right):
            return f"{_shown(text)} and {_shown(other)} exclude each other"
    return "its clauses exclude each other"


def _shown(text: str) -> str:
    """Give a clause as messages show it, on one line and cut."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _listed(rules: Iterable[Rule]) -> str:
    places = list(map(place_of, rules))
    if len(places) == 1:
        return f"rule {places[0]}"
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f"rules {', '.join(places[:NAMED])}{more} together"


def _s(several: Sequence[Any]) -> str:
    return "s" if len(several) == 1 else ""
