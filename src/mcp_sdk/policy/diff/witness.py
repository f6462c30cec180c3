"""Calls worth asking policies about: the finite set of inputs at which their conditions may turn.

``witnesses(sides)`` gives them for whole programs; ``Space`` those of some policies of one target. Everything is
deterministic: the same programs give the same calls in the same order.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain, combinations, islice, product
from math import prod
from typing import Any, NamedTuple

from mcp_sdk.context import ModelContext, Trust
from mcp_sdk.decisions import DecisionRequest, Geo, Phase, Principal, RequestFacts, Source
from mcp_sdk.exceptions import ModelError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.schema import FIXED
from mcp_sdk.policy.diff.boundaries import Bounds, Domain
from mcp_sdk.policy.diff.conditions import OPERATION, Atom, Formula, atoms_of, formula_of
from mcp_sdk.policy.diff.examples import operations_of
from mcp_sdk.policy.diff.solving import Goal, Solver, matching, not_matching
from mcp_sdk.policy.program import RuleRow, refuses

__all__ = [
    "NOW",
    "RuleSite",
    "Side",
    "Space",
    "Witness",
    "about",
    "formula_at",
    "policies_of",
    "sites_of",
    "unlike",
    "witnesses",
]

BUDGET = 20_000
NOW, TENTATIVE = "now", "rev"


class Side(NamedTuple):
    """Compiled programs, and the models that they were compiled against."""

    programs: Mapping[str, Any]
    models: Mapping[str, BusinessModel]


class RuleSite(NamedTuple):
    """A rule and the policy it stands in, as plain JSON."""

    plain: Mapping[str, Any]
    rule: RuleRow

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it in a namespace: kind, policy and rule."""
        return (self.plain["kind"], self.plain["name"], self.rule.name)


@dataclass(frozen=True)
class Witness:
    """One call. ``facts`` are those that are not what they are where nobody says anything, by their dotted names.

    A decimal is in major units. ``order.rev`` says that the order's context is tentative.
    """

    service: str
    now: datetime
    operation: str = ""
    namespace: str = "default"
    phase: Phase = Phase.INBOUND
    facts: Mapping[str, Any] = field(default_factory=dict)

    def request(self, models: Mapping[str, BusinessModel]) -> DecisionRequest:
        """Give the call as those see it who declare these models: facts that they do not declare are absent."""
        subjects: dict[str, dict[str, Any]] = {}
        for fact, value in self.facts.items():
            subject, _, name = fact.partition(".")
            subjects.setdefault(subject, {})[name] = value
        parts = {subject: subjects.pop(subject, {}) for subject in FIXED}
        now = subjects.pop("now", {}).get("", self.now)
        contexts = {name: _context(models[name], facts) for name, facts in subjects.items() if name in models}
        return DecisionRequest(
            self.service,
            self.operation,
            self.phase,
            contexts=contexts,
            request=_request(self.operation, parts["request"]),
            principal=_principal(parts["principal"]),
            source=Source(**parts["source"]),
            namespace=self.namespace,
            now=now,
        )

    def words(self) -> tuple[str, ...]:
        """Give the facts as ``mcpctl explain`` takes them."""
        return tuple(f"{fact}={_written(fact, value)}" for fact, value in self.facts.items())

    def command(self) -> str:
        """Give the arguments of ``mcpctl explain`` that ask this call, ready to be pasted into a shell."""
        options = [("--operation", self.operation)] if self.operation else []
        options += [("--phase", self.phase.value)] if self.phase is not Phase.INBOUND else []
        options += [("-n", self.namespace)] if self.namespace != "default" else []
        return shlex.join([self.service, *chain.from_iterable(options), *self.words()])


def _context(model: BusinessModel, facts: Mapping[str, Any]) -> ModelContext:
    attributes = {name: value for name, value in facts.items() if name in model.attributes}
    captured = {name: _captured(model, name, value) for name, value in attributes.items()}
    kept = {name: value for name, value in captured.items() if value is not None}
    return ModelContext(
        model.name,
        facts.get("id", ""),
        facts.get("state"),
        kept,
        revision=1,
        tentative=bool(facts.get(TENTATIVE)),
        trust=Trust.STORE,
    )


def _captured(model: BusinessModel, name: str, value: Any) -> Any:
    if model.attributes[name].sensitive:
        return None
    try:
        return model.attributes[name].capture(value)
    except ModelError:
        return None


def _request(operation: str, facts: Mapping[str, Any]) -> RequestFacts:
    method, _, path = operation.partition(" ")
    said = {"method": method, "path": path, "operation": operation} if path else {}
    geo = {name[4:]: value for name, value in facts.items() if name.startswith("geo.")}
    headers, query = _map(facts, "headers"), _map(facts, "query")
    plain = {name: value for name, value in facts.items() if "." not in name}
    return RequestFacts(**{**said, **plain}, headers=headers, query=query, geo=Geo(**geo))


def _principal(facts: Mapping[str, Any]) -> Principal:
    plain = {name: value for name, value in facts.items() if "." not in name}
    return Principal(**plain, attributes=_map(facts, "attributes"))


def _map(facts: Mapping[str, Any], held: str) -> dict[str, Any]:
    return {name.partition(".")[2]: value for name, value in facts.items() if name.startswith(f"{held}.")}


def _written(fact: str, value: Any) -> str:
    if fact.endswith(f".{TENTATIVE}"):
        return "1+"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def formula_at(programs: Mapping[str, Any], site: RuleSite) -> Formula:
    """Give a rule's condition, taken apart."""
    shape = programs["shapes"][site.rule.shape]
    return formula_of(shape["expr"], shape["params"], site.rule.constants)


class Space:
    """The inputs of some policies of one target that are worth asking.

    ``policies`` are those whose operations and defaults count, by side; ``sites`` the rules whose conditions do.
    ``exact`` tells whether every possible call is decided as one of ``every()`` is, values being of their declared
    types, and states being declared ones.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        policies: Sequence[Sequence[Mapping[str, Any]]],
        sites: Sequence[Sequence[RuleSite]],
        call: Witness,
    ) -> None:
        self.call, self.sides = call, sides
        self.formulas: dict[tuple[int, tuple[str, str, str]], Formula] = {}
        self._asked_by: dict[Atom, Side] = {}
        bounds = Bounds(call.now)
        for number, side in enumerate(sides):
            bounds.declare(side.models)
            for site in sites[number]:
                self._gather(bounds, number, site)
            for plain in policies[number]:
                if plain["kind"] == "TrafficPolicy":
                    _watch(bounds, side, {"route": plain["default"] or {}})
        patterns = [pattern for group in policies for plain in group for pattern in plain["operations"]]
        operations, exact = operations_of(patterns, bounds.operations)
        domains = [*bounds.domains(), *_tentative(sides, sites)]
        self.domains: dict[str, Domain] = {domain.fact: domain for domain in domains if domain.kind}
        self.domains[OPERATION] = Domain(OPERATION, "string", operations, exact and bounds.exact_operations)
        self.exact: bool = bounds.exact and all(domain.exact for domain in self.domains.values())
        sizes = {fact: len(domain.values) for fact, domain in self.domains.items()}
        self._solver = Solver(sizes, self._ask)
        self.size: int = prod(sizes.values())

    def _gather(self, bounds: Bounds, number: int, site: RuleSite) -> None:
        side = self.sides[number]
        formula = formula_at(side.programs, site)
        self.formulas[number, site.key] = formula
        for atom in atoms_of(formula):
            bounds.add(atom, side.models)
            self._asked_by[atom] = side
        _watch(bounds, side, side.programs["effects"][site.rule.effect])

    def _ask(self, atom: Atom, values: Mapping[str, int]) -> bool | None:
        return atom.ask(self.at(values).request(self._asked_by[atom].models))

    def at(self, chosen: Mapping[str, int]) -> Witness:
        """Give the call whose facts have these values, by number; the first where nothing is said."""
        operation = self.domains[OPERATION].values[chosen.get(OPERATION, 0)]
        facts = {}
        for fact, number in sorted(chosen.items()):
            value = self.domains[fact].values[number] if fact in self.domains else None
            if fact != OPERATION and value is not None and number:
                facts[fact] = value
        if NOW in self.domains:
            facts.setdefault(NOW, self.call.now)
        return replace(self.call, operation=operation, facts=facts, phase=phase_of(operation, self.call.phase))

    def every(self) -> Iterator[Witness]:
        """Yield every combination of values."""
        names = list(self.domains)
        for numbers in product(*(range(len(self.domains[name].values)) for name in names)):
            yield self.at(dict(zip(names, numbers, strict=True)))

    def goal(self, number: int, site: RuleSite, *, met: bool) -> Goal:
        """Give the goal that a rule of a side matches, or that it does not."""
        effect = self.sides[number].programs["effects"][site.rule.effect]
        make = matching if met else not_matching
        return make(self.formulas[number, site.key], refusing=refuses(effect))

    def solve(self, goals: Sequence[Goal]) -> dict[str, int] | None:
        """Choose the plainest values with which all goals are met; None when none was found."""
        masks = next(iter(self._solver.solutions(goals)), None)
        return None if masks is None else {fact: (mask & -mask).bit_length() - 1 for fact, mask in masks.items()}

    def around(self, chosen: Mapping[str, int]) -> Iterator[Witness]:
        """Yield a call, then those that differ from it in one fact, then in two."""
        yield self.at(chosen)
        flips = [
            (fact, number)
            for fact, domain in self.domains.items()
            for number in range(len(domain.values))
            if number != chosen.get(fact, 0)
        ]
        for one in flips:
            yield self.at({**chosen, **dict([one])})
        for one, other in combinations(flips, 2):
            if one[0] != other[0]:
                yield self.at({**chosen, **dict([one, other])})


def _watch(bounds: Bounds, side: Side, effect: Mapping[str, Any]) -> None:
    for reference in _parts(effect):
        row = side.programs["shapes"][reference["shape"]]
        for atom in atoms_of(formula_of(row["expr"], row["params"], reference["constants"])):
            bounds.watch(atom, side.models)


def _parts(effect: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in (effect.get("route", {}).get("sticky"), effect.get("limit", {}).get("key")):
        if part:
            yield part


def phase_of(operation: str, phase: Phase) -> Phase:
    """Give the phase in which an operation is asked for: the dotted name of a method in ``METHOD``."""
    return Phase.METHOD if operation and " " not in operation else phase


def _tentative(sides: Sequence[Side], sites: Sequence[Sequence[RuleSite]]) -> list[Domain]:
    """Give a fact for each model that a grant looks at and may not believe while it is tentative."""
    models = {
        model
        for side, group in zip(sides, sites, strict=True)
        for site in group
        if side.programs["effects"][site.rule.effect].get("effect") == "permit" and site.plain["default"] != "permit"
        for model in side.programs["shapes"][site.rule.shape]["models"]
    }
    return [Domain(f"{model}.{TENTATIVE}", "bool", (None, True), exact=True) for model in sorted(models)]


def witnesses(sides: Sequence[Side], *, now: datetime, budget: int = BUDGET) -> Iterator[Witness]:
    """Yield calls at which the policies of one or more programs may turn, ``budget`` of them for a target at most.

    All combinations of the values that matter where they are few; else, for each rule, a call that it matches and those
    that differ from it in one fact or in two.
    """
    targets = {(plain["namespace"], plain["service"]) for side in sides for plain in side.programs.get("policies", ())}
    for namespace, service in sorted(targets):
        policies = [policies_of(side, namespace, service) for side in sides]
        sites = [sites_of(group) for group in policies]
        space = Space(sides, policies, sites, Witness(service, now, namespace=namespace))
        calls = space.every() if space.size <= budget else about(space, sites)
        yield from islice(unlike(calls), budget)


def about(space: Space, sites: Sequence[Sequence[RuleSite]]) -> Iterator[Witness]:
    """Yield, for each rule, a call that it matches, and those that differ from it in one fact, then in two."""
    rules = ((number, site) for number, group in enumerate(sites) for site in group)
    starts = (space.solve([space.goal(number, site, met=True)]) for number, site in rules)
    around = [space.around(chosen) for chosen in [{}, *starts] if chosen is not None]
    while around:  # a step around each in turn, so that a small budget reaches them all
        steps = [(calls, next(calls, None)) for calls in around]
        yield from (call for _, call in steps if call is not None)
        around = [calls for calls, call in steps if call is not None]


def policies_of(side: Side, namespace: str, service: str) -> list[Mapping[str, Any]]:
    """Give the policies that govern a target, as plain JSON."""
    found = side.programs.get("policies", ())
    return [plain for plain in found if (plain["namespace"], plain["service"]) == (namespace, service)]


def sites_of(policies: Iterable[Mapping[str, Any]]) -> list[RuleSite]:
    """Give the rules of policies, in the order written."""
    return [RuleSite(plain, RuleRow.of(row)) for plain in policies for row in plain["rules"]]


def unlike(calls: Iterable[Witness]) -> Iterator[Witness]:
    """Leave out the calls that were there already."""
    seen = set()
    for call in calls:
        key = (call.operation, call.words())
        if key not in seen:
            seen.add(key)
            yield call
