"""Programs in force → decisions.

Access: every policy of the target speaks by its strongest matching rule, or by its default; over all of them deny >
review > step_up > permit. Traffic and QoS: the policy whose target names operations goes before the one that does not;
the first matching rule speaks. Rate limits: every matching rule. Policies in shadow are evaluated beside those in
force, and only tell what they would have made of the call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any, cast

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decisions import (
    NEW_DECISION,
    PERMIT,
    Decision,
    DecisionRequest,
    Limit,
    Phase,
    Qos,
    Reason,
    Route,
    Shed,
    Verdict,
)
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.hashing import bucket_of, share_at
from mcp_sdk.policy.loading import PHASES, LoadedPolicy, Outcome, Splitter, load, together
from mcp_sdk.policy.partial import condition_over
from mcp_sdk.residue import Residue
from mcp_sdk.shadow import spoken

__all__ = ["Engine"]

KEPT_LIMITS = 1024
_new: Any = object.__new__
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Plan:
    """The policies of one namespace, service and phase, by kind; ``beside`` is the plan with those in shadow too."""

    __slots__ = ("access", "all", "beside", "limits", "qos", "route", "shadows", "traffic")

    def __init__(self, policies: list[LoadedPolicy], shadows: list[LoadedPolicy]) -> None:
        self.all = tuple(policies)
        self.shadows = tuple(shadows)
        self.beside: _Plan | None = _Plan(together(policies, shadows), []) if shadows else None
        kinds = {kind: tuple(policy for policy in policies if policy.kind == kind) for kind in PHASES}
        self.access, self.traffic = kinds["AccessPolicy"], kinds["TrafficPolicy"]
        self.qos, self.limits = kinds["QosPolicy"], kinds["RateLimitPolicy"]
        alone = len(self.traffic) == 1 and not self.traffic[0].operations.patterns
        self.route = self.traffic[0].speaks if alone else None
        """The look-up of the only traffic policy, where it governs every operation."""


_Plans = dict[str, dict[str, dict[str, _Plan]]]
"""By service, namespace and phase."""


class Engine:
    """Decides by compiled programs. Immutable: a new revision is a new engine.

    ``before`` is the engine of the revision before: what is the same in both is taken over and not built again.

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
        before: Engine | None = None,
    ) -> None:
        self.models: Mapping[str, BusinessModel] = models
        self.epoch: int = epoch
        self.revision: int = revision
        self._rng = rng
        self.programs = programs
        kept = (*before.policies, *before.shadows) if before is not None else ()
        loaded = load(programs, revision=revision, before=kept)
        self.policies: tuple[LoadedPolicy, ...] = loaded.policies
        self.shadows: tuple[LoadedPolicy, ...] = loaded.shadows
        self._plans = self._build_plans()
        self.lookup: Callable[[DecisionRequest], Outcome | None] = _lookup_of(self._plans)
        """Give what the traffic policies of a call's target say: the look-up alone, without a decision."""
        self._silent = Decision(epoch=epoch, revision=revision)

    def _build_plans(self) -> _Plans:
        grouped: dict[str, dict[str, list[LoadedPolicy]]] = {}
        for policy in (*self.policies, *self.shadows):
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

    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        """Give those of the request's references whose model an applicable policy looks at and nobody has brought."""
        if not request.references:
            return ()
        missing = [ref for ref in request.references if ref.model not in request.contexts]
        if not missing:
            return ()
        plan = self._plan(request)
        looking = (*self.applicable(request), *(plan.shadows if plan is not None else ()))
        wanted = frozenset().union(*(one.models for one in looking if request.operation in one.operations))
        return tuple(dict.fromkeys(ref for ref in missing if ref.model in wanted))

    def decide(self, request: DecisionRequest) -> Decision:
        """Answer a request with the contexts it brings. Never raises for what a request holds."""
        try:
            plan = self._plans[request.service][request.namespace][request.phase._value_]
        except KeyError:
            return self._silent
        if plan.beside is None:
            return self._decide(plan, request, self._rng)
        return self._decide_beside(plan, plan.beside, request)

    def _decide_beside(self, plan: _Plan, beside: _Plan, request: DecisionRequest) -> Decision:
        """Decide by the policies in force, then by those and the ones in shadow, which can only add their word.

        Both draw one number, so that a split which stands in both gives one share.
        """
        shadows = [policy for policy in plan.shadows if request.operation in policy.operations]
        if not shadows:
            return self._decide(plan, request, self._rng)
        rng = cache(self._rng)
        decision = self._decide(plan, request, rng)
        try:
            shadow = self._decide(beside, request, rng)
        except Exception:  # noqa: BLE001 - what fails in shadow would have shed the call, and must not do so here
            shadow = self._failed(shadows)
        return replace(decision, shadow=shadow) if spoken(shadow) else decision

    def _failed(self, shadows: list[LoadedPolicy]) -> Decision:
        reasons = (
            Reason(one.name, one.kind, "", "shed", "", "its evaluation failed", self.revision, shadow=True)
            for one in shadows
        )
        verdict = Shed(message="The decision failed")
        return Decision(verdict, reasons=tuple(reasons), epoch=self.epoch, revision=self.revision)

    def _decide(self, plan: _Plan, request: DecisionRequest, rng: Callable[[], float]) -> Decision:
        contexts, operation = request.contexts, request.operation
        reasons: list[Reason] = []
        verdict: Verdict = PERMIT
        if plan.access:
            verdict = _authorise(plan.access, contexts, request, operation, reasons)
            if verdict is not PERMIT:
                return self._decision(verdict, None, None, _NOTHING, (), reasons)
        route, qos, advice = None, None, _NOTHING
        if plan.traffic:
            outcome = (
                plan.route(contexts, request) if plan.route else _first(plan.traffic, contexts, request, operation)
            )
            if outcome is not None:
                route = (
                    outcome.route if outcome.split is None else _share(outcome, outcome.split, contexts, request, rng)
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
        return self._decision(PERMIT, route, qos, advice, limits, reasons)

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        """Give of which entities of ``model`` a request would be permitted; see ``mcp_sdk.policy.partial``."""
        plan = self._plan(request)
        policies = () if plan is None else plan.access
        return Residue(model, condition_over(policies, self.programs, request, model), self.revision)

    def _decision(
        self,
        verdict: Verdict,
        route: Route | None,
        qos: Qos | None,
        advice: Mapping[str, Any],
        limits: tuple[Limit, ...],
        reasons: list[Reason],
    ) -> Decision:
        decision = _new(NEW_DECISION)
        decision.verdict = verdict
        decision.route = route
        decision.qos = qos
        decision.advice = advice
        decision.limits = limits
        decision.reasons = tuple(reasons)
        decision.epoch = self.epoch
        decision.revision = self.revision
        decision.shadow = None
        decision.rolled = None
        decision.__class__ = Decision
        return cast("Decision", decision)


def _lookup_of(plans: _Plans) -> Callable[[DecisionRequest], Outcome | None]:
    """Give the look-up: a function of its own, for a method would read the plans, and itself, from the engine."""

    def lookup(request: DecisionRequest) -> Outcome | None:
        try:
            plan = plans[request.service][request.namespace][request.phase._value_]
        except KeyError:
            return None
        route = plan.route
        if route is not None:
            return route(request.contexts, request)
        return _first(plan.traffic, request.contexts, request, request.operation)

    return lookup


def _share(
    outcome: Outcome, split: Splitter, contexts: Any, request: DecisionRequest, rng: Callable[[], float]
) -> Route:
    value = _text_of(split.sticky, contexts, request)
    total = split.edges[-1]
    bucket = bucket_of(split.salt, value, total) if value else int(rng() * total)
    base = outcome.route or Route()
    return Route(split.subsets[share_at(split.edges, bucket)], base.priority, value, base.timeout)


def _phases(policies: list[LoadedPolicy]) -> dict[str, _Plan]:
    return {phase.value: _plan_of([policy for policy in policies if phase in PHASES[policy.kind]]) for phase in Phase}


def _plan_of(policies: list[LoadedPolicy]) -> _Plan:
    in_force = [policy for policy in policies if not policy.shadow]
    return _Plan(in_force, [policy for policy in policies if policy.shadow])


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
