"""Programs in force → decisions.

Access: every policy of the target speaks by its strongest matching rule, or by its default; over all of them deny >
review > step_up > permit. Traffic and QoS: the policy whose target names operations goes before the one that does not;
the first matching rule speaks. Rate limits: every matching rule. Policies in ``shadow`` are not enforced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decisions import PERMIT, Decision, DecisionRequest, Limit, Phase, Reason, Route, Verdict
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.hashing import bucket_of, share_at
from mcp_sdk.policy.loading import PHASES, LoadedPolicy, Outcome, Splitter, load
from mcp_sdk.policy.partial import condition_over
from mcp_sdk.residue import Residue

__all__ = ["Engine"]

KEPT_LIMITS = 1024
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Plan:
    """The policies of one namespace, service and phase, by kind."""

    __slots__ = ("access", "all", "limits", "qos", "route", "traffic")

    def __init__(self, policies: list[LoadedPolicy]) -> None:
        self.all = tuple(policies)
        kinds = {kind: tuple(policy for policy in policies if policy.kind == kind) for kind in PHASES}
        self.access, self.traffic = kinds["AccessPolicy"], kinds["TrafficPolicy"]
        self.qos, self.limits = kinds["QosPolicy"], kinds["RateLimitPolicy"]
        alone = len(self.traffic) == 1 and not self.traffic[0].operations.patterns
        self.route = self.traffic[0].speaks if alone else None
        """The look-up of the only traffic policy, where it governs every operation."""


class Engine:
    """Decides by compiled programs. Immutable: a new revision is a new engine.

    ``rng`` gives numbers in [0, 1) for splits of calls that nothing sticks: ``decide`` is pure but for it. Raises
    ``ConfigurationError`` for a program of another format, ``MissingExtra`` for one that needs RE2 or xxhash where it
    is missing.
    """

    def __init__(
        self,
        programs: Mapping[str, Any],
        models: Mapping[str, BusinessModel],
        *,
        epoch: int = 0,
        revision: int = 0,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.models: Mapping[str, BusinessModel] = models
        self.epoch: int = epoch
        self.revision: int = revision
        self._rng = rng
        self.programs = programs
        self.policies: tuple[LoadedPolicy, ...] = load(programs, revision=revision).policies
        self._plans = self._build_plans()
        self._silent = Decision(epoch=epoch, revision=revision)

    def _build_plans(self) -> dict[str, dict[str, dict[str, _Plan]]]:
        grouped: dict[str, dict[str, list[LoadedPolicy]]] = {}
        for policy in self.policies:
            grouped.setdefault(policy.service, {}).setdefault(policy.namespace, []).append(policy)
        return {
            service: {namespace: _phases(policies) for namespace, policies in namespaces.items()}
            for service, namespaces in grouped.items()
        }

    def _plan(self, request: DecisionRequest) -> _Plan | None:
        try:
            return self._plans[request.service][request.namespace][request.phase._value_]
        except KeyError:
            return None

    def applicable(self, request: DecisionRequest) -> tuple[LoadedPolicy, ...]:
        """Give the policies that speak of a call, in the order in which they are asked."""
        plan = self._plan(request)
        return () if plan is None else tuple(policy for policy in plan.all if request.operation in policy.operations)

    def lookup(self, request: DecisionRequest) -> Outcome | None:
        """Give what the traffic policies of a call's target say: the look-up alone, without a decision."""
        try:
            plan = self._plans[request.service][request.namespace][request.phase._value_]
        except KeyError:  # written out: half of the look-up's time is in calls
            return None
        route = plan.route
        if route is not None:
            return route(request.contexts, request)
        return _first(plan.traffic, request.contexts, request, request.operation)

    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        """Give those of the request's references whose model an applicable policy looks at and nobody has brought."""
        if not request.references:
            return ()
        missing = [ref for ref in request.references if ref.model not in request.contexts]
        if not missing:
            return ()
        wanted = frozenset().union(*(policy.models for policy in self.applicable(request)))
        return tuple(dict.fromkeys(ref for ref in missing if ref.model in wanted))

    def decide(self, request: DecisionRequest) -> Decision:
        """Answer a request with the contexts it brings. Never raises for what a request holds."""
        plan = self._plan(request)
        if plan is None:
            return self._silent
        contexts, operation = request.contexts, request.operation
        reasons: list[Reason] = []
        verdict: Verdict = PERMIT
        if plan.access:
            verdict = _authorise(plan.access, contexts, request, operation, reasons)
            if verdict is not PERMIT:
                return Decision(verdict, None, None, _NOTHING, (), tuple(reasons), self.epoch, self.revision)
        route, qos, advice = None, None, _NOTHING
        if plan.traffic:
            outcome = (
                plan.route(contexts, request) if plan.route else _first(plan.traffic, contexts, request, operation)
            )
            if outcome is not None:
                route = (
                    outcome.route if outcome.split is None else self._share(outcome, outcome.split, contexts, request)
                )
                advice = outcome.advice
                reasons.append(outcome.reason_for(contexts))
        if plan.qos:
            outcome = _first(plan.qos, contexts, request, operation)
            if outcome is not None:
                qos = outcome.qos
                advice = {**outcome.advice, **advice} if advice else outcome.advice
                reasons.append(outcome.reason_for(contexts))
        limits = _limits(plan.limits, contexts, request, operation) if plan.limits else ()
        return Decision(PERMIT, route, qos, advice, limits, tuple(reasons), self.epoch, self.revision)

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        """Give of which entities of ``model`` a request would be permitted; see ``mcp_sdk.policy.partial``."""
        plan = self._plan(request)
        policies = () if plan is None else plan.access
        return Residue(model, condition_over(policies, self.programs, request, model), self.revision)

    def _share(self, outcome: Outcome, split: Splitter, contexts: Any, request: DecisionRequest) -> Route:
        value = _text_of(split.sticky, contexts, request)
        total = split.edges[-1]
        bucket = bucket_of(split.salt, value, total) if value else int(self._rng() * total)
        base = outcome.route or Route()
        return Route(split.subsets[share_at(split.edges, bucket)], base.priority, value, base.timeout)


def _phases(policies: list[LoadedPolicy]) -> dict[str, _Plan]:
    return {phase.value: _Plan([policy for policy in policies if phase in PHASES[policy.kind]]) for phase in Phase}


def _authorise(
    policies: tuple[LoadedPolicy, ...],
    contexts: Mapping[str, ModelContext],
    request: Any,
    operation: str,
    reasons: list[Reason],
) -> Verdict:
    spoken: list[Outcome] = []
    for policy in policies:
        if policy.operations.patterns and operation not in policy.operations:
            continue
        outcome = policy.index.first(contexts, request)
        if outcome is not None and not outcome.allow_tentative and _tentative(outcome, contexts):
            outcome = _certain(policy, contexts, request)
        outcome = outcome or policy.default
        if outcome is not None:
            spoken.append(outcome)
    if not spoken:
        return PERMIT
    if len(spoken) > 1:
        spoken.sort(key=_strength)
    for outcome in spoken:
        reasons.append(outcome.reason_for(contexts))  # noqa: PERF401 - a comprehension costs a call here
    strongest = spoken[0]
    return PERMIT if strongest.rank == 3 or strongest.verdict is None else strongest.verdict


def _strength(outcome: Outcome) -> tuple[int, bool]:
    return (outcome.rank, not outcome.reason.rule)


def _tentative(outcome: Outcome, contexts: Mapping[str, ModelContext]) -> bool:
    return any(name in contexts and contexts[name].tentative for name in outcome.models)


def _certain(policy: LoadedPolicy, contexts: Mapping[str, ModelContext], request: Any) -> Outcome | None:
    """Give the first matching rule that does not grant by a tentative context."""
    for outcome in policy.index.every(contexts, request):
        if outcome.allow_tentative or not _tentative(outcome, contexts):
            return outcome
    return None


def _first(policies: tuple[LoadedPolicy, ...], contexts: Any, request: Any, operation: str) -> Outcome | None:
    for policy in policies:
        if policy.operations.patterns and operation not in policy.operations:
            continue
        outcome = policy.speaks(contexts, request)
        if outcome is not None:
            return outcome
    return None


def _limits(policies: tuple[LoadedPolicy, ...], contexts: Any, request: Any, operation: str) -> tuple[Limit, ...]:
    found: list[Limit] = []
    for policy in policies:
        if policy.operations.patterns and operation not in policy.operations:
            continue
        found += [_limit(policy.name, outcome, contexts, request) for outcome in policy.index.every(contexts, request)]
    return tuple(found)


def _limit(policy: str, outcome: Outcome, contexts: Any, request: Any) -> Limit:
    """Give a rule's limit under its key; those asked for lately are kept: building one costs more."""
    reason, value = outcome.reason_for(contexts), _text_of(outcome.key, contexts, request)
    limit = outcome.limits.get((value, reason.trust))
    if limit is None:
        requests, per, burst = outcome.limit or (0, 1.0, 0)
        key = f"{reason.rule}:{value}" if value else f"{policy}/{reason.rule}"
        limit = Limit(policy, key, requests, per, burst, reason)
        if len(outcome.limits) >= KEPT_LIMITS:
            outcome.limits.clear()
        outcome.limits[value, reason.trust] = limit
    return limit


def _text_of(expression: Callable[[Any, Any], Any] | None, contexts: Any, request: Any) -> str:
    """Give the value of a key or of what sticks; empty when it has none."""
    if expression is None:
        return ""
    try:
        value = expression(contexts, request)
    except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
        return ""
    return value if isinstance(value, str) else ""
