"""Policies against the policies of their target, and the operations of a target against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.operations import OperationPattern, OperationSet
from mcp_sdk.policy.analysis.regions import Box, covering
from mcp_sdk.policy.analysis.rivals import Rivals
from mcp_sdk.policy.analysis.study import Studied, Study, effect_of, place_of
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.lookup.normal import OPAQUE
from mcp_sdk.policy.source.resources import AccessPolicy, Policy, QosPolicy, TrafficPolicy

__all__ = ["check_operations", "check_rank", "check_refusals"]

MAX_POLICIES = 40
MAX_PAIRS = 2_000
"""So much is compared for one target; past it nothing is claimed."""


@dataclass(frozen=True)
class _Governing:
    policy: Policy
    rules: Sequence[Studied]
    operations: OperationSet


def check_operations(policy: Policy, findings: Collector) -> None:
    """Report operations of a policy's target that another one of it covers, or that no call has."""
    patterns = list(enumerate(_patterns(policy)))
    for number, pattern in patterns[:MAX_PAIRS]:
        at = policy.target.places[number] if number < len(policy.target.places) else policy.at
        if pattern.method == "HEAD":
            message = f"operation {pattern.text!r} is of no call: a HEAD request is governed as GET"
            findings.report("MCP0118", message, at)
        before = (other for place, other in patterns[:200] if _first(place, other, number, pattern))
        other = next(before, None)
        if other is not None:
            message = f"operation {pattern.text!r} adds nothing: {other.text!r} of the same target covers it"
            findings.report("MCP0117", message, at)


def _first(place: int, other: OperationPattern, number: int, pattern: OperationPattern) -> bool:
    """Tell whether ``other`` covers the pattern; of two that cover each other the later one is idle."""
    return place != number and other.covers(pattern) and (place < number or not pattern.covers(other))


def _patterns(policy: Policy) -> Iterator[OperationPattern]:
    for text in policy.target.operations:
        try:
            yield OperationPattern.parse(text)
        except ConfigurationError:
            return


def check_refusals(policies: Sequence[tuple[Policy, Sequence[Studied]]], study: Study, findings: Collector) -> None:
    """Report grants of one policy whose every call another policy of the target refuses."""
    for group in _targets(policies, AccessPolicy):
        for refusing in group:
            rules = [one for one in refusing.rules if one.refusing]
            others = [one for one in group if one is not refusing and refusing.operations.covers(one.operations)]
            if rules and others:
                _refused(rules, others, study, findings)


def _refused(rules: Sequence[Studied], others: Iterable[_Governing], study: Study, findings: Collector) -> None:
    rivals = Rivals(study.space, map(study.matching, rules))
    for number, one in enumerate(rules):
        rivals.add(number, study.matching(one))
    for other in others:
        for grant in (one for one in other.rules if effect_of(one.rule) == "permit"):
            boxes = study.matching(grant)
            takers = covering(study.space, boxes, rivals.of(boxes)) if boxes else None
            if takers:
                refusing = rules[takers[0]]
                message = (
                    f"rule {grant.rule.name!r} of {other.policy.name!r} grants nothing: {refusing.policy.name!r}"
                    f" refuses every call that it permits, by rule {place_of(refusing.rule)}"
                )
                findings.report("MCP0106", message, grant.rule.at)


def check_rank(policies: Sequence[tuple[Policy, Sequence[Studied]]], study: Study, findings: Collector) -> None:
    """Report two policies of one kind and rank that govern the same calls, so that their names decide."""
    for kind in (TrafficPolicy, QosPolicy):
        for group in _targets(policies, kind):
            for one, other in combinations(sorted(group, key=lambda held: held.policy.name), 2):
                if bool(one.operations.patterns) == bool(other.operations.patterns):
                    _ranked(one, other, study, findings)


def _ranked(one: _Governing, other: _Governing, study: Study, findings: Collector) -> None:
    same = set(one.policy.target.operations) == set(other.policy.target.operations)
    if (same and isinstance(one.policy, TrafficPolicy)) or not one.operations.meets(other.operations):
        return  # that a target has two TrafficPolicies is an error already
    speaks = isinstance(one.policy, TrafficPolicy) or getattr(one.policy, "default", None) is not None
    if not speaks and not _both_match(one.rules, other.rules, study):
        return
    what = "of those that both govern" if one.operations.patterns else "of them all"
    first, later, place = one.policy.name, other.policy.name, f"{one.policy.at.file}:{one.policy.at.line}"
    asked = f"is never asked {what}" if speaks else "is asked where no rule of it matches"
    message = (
        f"{one.policy.kind} {first!r} ({place}) governs calls of {later!r} too, and goes first by its name alone:"
        f" {later!r} {asked}"
    )
    findings.report("MCP0107", message, other.policy.at)


def _both_match(rules: Sequence[Studied], others: Sequence[Studied], study: Study) -> bool:
    """Tell whether certainly some call matches a rule of both."""
    if len(rules) * len(others) > MAX_PAIRS:
        return False
    known = [box for one in others for box in study.matching(one) if _exact(box)]
    asked = [box for one in rules for box in study.matching(one) if _exact(box)]
    return any(_meet(box, other) for box in asked for other in known)


def _exact(box: Box) -> bool:
    return all(path[0] != OPAQUE for path in box)


def _meet(box: Box, other: Box) -> bool:
    shared = [box[path].meet(domain) for path, domain in other.items() if path in box]
    return all(domain.values or domain.absent or _wide(domain.low, domain.high, domain.but) for domain in shared)


def _wide(low: object, high: object, but: frozenset[object]) -> bool:
    """Tell whether an interval certainly holds more values than those that are left out."""
    return not but and (low is None or high is None or bool(low < high))  # type: ignore[operator]


def _targets(policies: Sequence[tuple[Policy, Sequence[Studied]]], kind: type[Policy]) -> Iterator[list[_Governing]]:
    """Yield the enforced policies of a kind for each target that has several, unless they are very many."""
    groups: dict[tuple[str, str], list[_Governing]] = {}
    for policy, rules in policies:
        if isinstance(policy, kind) and not policy.shadow:
            governing = _Governing(policy, rules, OperationSet(_patterns(policy)))
            groups.setdefault((policy.namespace, policy.target.service), []).append(governing)
    yield from (group for group in groups.values() if 1 < len(group) <= MAX_POLICIES)
