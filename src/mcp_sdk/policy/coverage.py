"""Rules against the rules of their policy: which can never speak, which contradict each other, which change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby
from typing import Any

from mcp_sdk.policy.clauses import clause_shapes, clause_texts
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.regions import Box, Space, covering
from mcp_sdk.policy.resources import (
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
from mcp_sdk.policy.rivals import Rivals
from mcp_sdk.policy.study import RANKS, Studied, Study, effect_of, place_of

__all__ = ["check_coverage"]

MAX_CLAUSES = 12
NAMED = 3
_ANYWHERE: Sequence[Box] = ({},)


def check_coverage(policy: Policy, rules: Sequence[Studied], study: Study, findings: Collector) -> None:
    """Report dead, shadowed, contradicted and redundant rules of one policy, and a default that never speaks."""
    ordered = sorted(rules, key=lambda one: RANKS.get(effect_of(one.rule), 0))
    coverage = _Coverage(study, findings, ordered)
    if isinstance(policy, RateLimitPolicy):
        coverage.alive()
        return
    speaking = coverage.speaking()
    coverage.default(policy)
    if findings.failures == 0:
        redundant = {id(one) for run in _runs(speaking) for one in coverage.redundant(run)}
        _like_default(policy, [one for one in speaking if id(one) not in redundant], findings)


class _Coverage:
    def __init__(self, study: Study, findings: Collector, rules: Sequence[Studied]) -> None:
        self.study, self.findings, self.rules = study, findings, rules
        self.rivals = Rivals(study.space, map(study.matching, rules))

    def alive(self) -> Iterable[tuple[int, list[Box]]]:
        """Report rules that can never hold; give the others with where they match."""
        return [(number, boxes) for number, one in enumerate(self.rules) if (boxes := self._boxes(one))]

    def _boxes(self, one: Studied) -> list[Box]:
        boxes = self.study.matching(one)
        if boxes and (not one.refusing or self.study.holding(one)):
            return boxes
        code = "MCP0104" if boxes else "MCP0103"
        what = "only errors make it refuse" if boxes else "it can never apply"
        message = f"rule {one.rule.name!r}: {what}, for {_contradiction(self.study, one)}"
        if self.study.holding(one, space=self.study.space.opened):
            message += "; no other states are declared"
        self.findings.report(code, message, one.rule.at)
        return boxes

    def speaking(self) -> list[Studied]:
        """Report rules whose calls others take; give those that may speak, in the order in which they are asked."""
        found = []
        for number, one in enumerate(self.rules):
            boxes = self._boxes(one)
            takers = covering(self.study.space, boxes, self.rivals.of(boxes)) if boxes else None
            if takers is not None:
                self._taken(one, [self.rules[taker] for taker in takers])
            elif boxes:
                self.rivals.add(number, boxes)
                found.append(one)
        return found

    def _taken(self, one: Studied, takers: Sequence[Studied]) -> None:
        names = _listed(taker.rule for taker in takers)
        refused = any(taker.refusing for taker in takers) and not one.refusing and effect_of(one.rule) == "permit"
        if refused:
            message = f"rule {one.rule.name!r} grants nothing: {names} refuse{_s(takers)} every call that it permits"
        elif takers[0].shape == ["lit", True]:
            message = f"rule {one.rule.name!r} can never apply: {names} before it always does"
        else:
            message = f"rule {one.rule.name!r} can never speak: {names} take{_s(takers)} every call that it matches"
        if self._by_declaration(one, takers):
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

    def redundant(self, run: Sequence[Studied]) -> Iterator[Studied]:
        """Report and yield those of rules with one effect, asked one after the other, that later ones make needless."""
        study = self.study
        rivals = Rivals(study.space, map(study.matching, run))
        for number in reversed(range(len(run))):
            boxes = study.matching(run[number])
            takers = covering(study.space, boxes, rivals.of(boxes))
            if takers is None:
                rivals.add(number, boxes)
                continue
            names = _listed(run[taker].rule for taker in takers)
            does, rule = "does" if len(takers) == 1 else "do", run[number].rule
            message = f"rule {rule.name!r} changes nothing: {names} after it {does} the same to every call of it"
            self.findings.report("MCP0108", message, rule.at)
            yield run[number]


def _runs(rules: Sequence[Studied]) -> Iterable[list[Studied]]:
    runs = (list(run) for _, run in groupby(rules, key=lambda one: _effect(one.rule)))
    return (run for run in runs if len(run) > 1)


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


def _like_default(policy: Policy, rules: Sequence[Studied], findings: Collector) -> None:
    """Report the rules just before the default that say the same as it."""
    effect = _effect_of_default(policy)
    for one in reversed(rules):
        if effect is None or _effect(one.rule) != effect:
            return
        message = f"rule {one.rule.name!r} changes nothing: the default of {policy.name!r} says the same"
        findings.report("MCP0108", message, one.rule.at)


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
    parts = list(zip(clause_shapes(one.shape), clause_texts(one.checked), strict=True))
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
