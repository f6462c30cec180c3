"""Programs → what the engine runs: conditions compiled, outcomes and their reasons built once.

Nothing of a request is here. A program that needs RE2 or xxhash where it is missing is refused by name.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import Denied, Limit, Permit, Phase, Qos, Reason, ReviewRequired, Route, StepUpRequired, Verdict
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.operations import OperationPattern, OperationSet
from mcp_sdk.policy.cel.codegen import Factory, compile_shape
from mcp_sdk.policy.cel.values import pattern
from mcp_sdk.policy.hashing import edges_of, load_hash
from mcp_sdk.policy.lookup.growth import Rules, grow
from mcp_sdk.policy.lookup.index import Condition, Index
from mcp_sdk.policy.lookup.normal import Form, Test, forms, settled
from mcp_sdk.policy.lookup.tree import Tree
from mcp_sdk.policy.program import RuleRow, check_format, refuses
from mcp_sdk.services import Subset

__all__ = ["Loaded", "LoadedPolicy", "Outcome", "Splitter", "load", "together"]

RANKS = {"deny": 0, "review": 1, "step_up": 2, "permit": 3}
_TRUST = ("local", "store", "verified", "unsigned", "expired", "bad_signature")
_TRUST_RANK = {name: number for number, name in enumerate(_TRUST)}
PHASES: Mapping[str, frozenset[Phase]] = {
    "TrafficPolicy": frozenset({Phase.INBOUND, Phase.OUTBOUND}),
    "QosPolicy": frozenset({Phase.INBOUND, Phase.OUTBOUND}),
    "AccessPolicy": frozenset({Phase.INBOUND, Phase.METHOD}),
    "RateLimitPolicy": frozenset({Phase.INBOUND}),
}


@dataclass(frozen=True, slots=True)
class Splitter:
    """A split: ``edges`` are the shares' weights, cumulative; ``sticky`` gives the value that keeps to one share."""

    subsets: tuple[Subset, ...]
    edges: tuple[int, ...]
    sticky: Callable[[Any, Any], Any] | None
    salt: str

    def __str__(self) -> str:
        weights = (edge - before for before, edge in zip((0, *self.edges), self.edges, strict=False))
        shares = (f"{subset.version} {weight}" for subset, weight in zip(self.subsets, weights, strict=True))
        return f"split {', '.join(shares)}"


@dataclass(slots=True)
class Outcome:
    """What a rule or a default says, with its reason for each trust, built when first asked for."""

    reason: Reason
    models: tuple[str, ...] = ()
    verdict: Verdict | None = None
    rank: int = 4
    route: Route | None = None
    split: Splitter | None = None
    qos: Qos | None = None
    advice: Mapping[str, Any] = field(default_factory=dict)
    limit: tuple[int, float, int] | None = None
    key: Callable[[Any, Any], Any] | None = None
    allow_tentative: bool = True
    reasons: dict[str, Reason] = field(default_factory=dict)
    limits: dict[tuple[str, str], Limit] = field(default_factory=dict)

    def reason_for(self, contexts: Mapping[str, ModelContext]) -> Reason:
        """Give the reason with the least trust among the contexts looked at."""
        trust = ""
        for name in self.models:
            context = contexts.get(name)
            if context is not None:
                found = context.trust._value_
                if found != trust and (not trust or _TRUST_RANK[found] > _TRUST_RANK[trust]):
                    trust = found
        reason = self.reasons.get(trust)
        if reason is None:
            base = self.reason
            reason = Reason(
                base.policy,
                base.kind,
                base.rule,
                base.effect,
                base.clause,
                base.detail,
                base.revision,
                trust,
                base.shadow,
            )
            self.reasons[trust] = reason
        return reason


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """One policy, ready to run. ``index`` holds the outcomes of its rules; ``default`` speaks when none matches.

    ``speaks(c, q)`` gives the first matching rule's outcome, else the default's. ``rows`` are the rules' rows in the
    order in which they are asked, ``shapes`` the program's table that they name.
    """

    kind: str
    name: str
    namespace: str
    service: str
    operations: OperationSet
    index: Index[Outcome]
    default: Outcome | None
    speaks: Callable[[Any, Any], Outcome | None]
    rows: Sequence[Sequence[Any]]
    shapes: Sequence[Mapping[str, Any]]
    models: frozenset[str]
    plain: Mapping[str, Any]

    @property
    def shadow(self) -> bool:
        """Whether it only tells what it would have made of a call."""
        return bool(self.plain["shadow"])


@dataclass(frozen=True, slots=True)
class Loaded:
    """Every policy of a program: those in force, and those in shadow; each in the order in which they are asked."""

    policies: tuple[LoadedPolicy, ...]
    shadows: tuple[LoadedPolicy, ...] = ()


def load(programs: Mapping[str, Any], *, revision: int, before: Iterable[LoadedPolicy] = ()) -> Loaded:
    """Compile a program's conditions and build its outcomes.

    What ``before`` holds of the same digest is not built again: policies that are the same share its index.

    Raises ``ConfigurationError`` when it is of another format or is damaged, ``MissingExtra`` when it needs a library
    that is not installed.
    """
    try:
        return _loaded(programs, revision, before)
    except (
        AttributeError,
        KeyError,
        TypeError,
        IndexError,
        ValueError,
        SyntaxError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ConfigurationError(f"damaged policy program: {error!r}. Compile the policies again.") from error


def _loaded(programs: Mapping[str, Any], revision: int, before: Iterable[LoadedPolicy]) -> Loaded:
    check_format(programs)
    uses = programs.get("uses", ())
    if "xxhash" in uses:
        load_hash()
    if "re2" in uses:
        pattern("")
    shapes = _Shapes(programs.get("shapes", ()))
    held = {policy.plain["digest"]: policy for policy in before if "digest" in policy.plain}
    loaders = [_PolicyLoader(plain, programs, shapes, revision) for plain in programs.get("policies", ())]
    policies = [loader.load(held.get(loader.plain.get("digest"))) for loader in loaders]
    for loader, policy in zip(loaders, policies, strict=True):  # all of it is sound: now trees may let go of the old
        policy.index.tree.make = loader.condition
    policies.sort(key=_order)
    return Loaded(
        tuple(policy for policy in policies if not policy.shadow), tuple(policy for policy in policies if policy.shadow)
    )


def _order(policy: LoadedPolicy) -> tuple[bool, str]:
    return (not policy.operations.patterns, policy.name)


def together(policies: Sequence[LoadedPolicy], shadows: Sequence[LoadedPolicy]) -> list[LoadedPolicy]:
    """Give what would be in force were the policies in shadow in force too, in order.

    A target has one TrafficPolicy: one in shadow takes the place of the one in force.
    """
    taken = {_target(policy) for policy in shadows if policy.kind == "TrafficPolicy"}
    kept = [one for one in policies if one.kind != "TrafficPolicy" or _target(one) not in taken]
    return sorted([*kept, *shadows], key=_order)


def _target(policy: LoadedPolicy) -> frozenset[str]:
    return frozenset(pattern.text for pattern in policy.operations.patterns)


@lru_cache(maxsize=4096)
def _compiled(row: str, mode: str, given: tuple[int, ...] = ()) -> Factory:
    """Compile a shape, given as JSON, once for all revisions that hold it; less the clauses that are given."""
    less = "".join(f" less {number + 1}" for number in given)
    return compile_shape(json.loads(row), mode, name=f"shape-{zlib.crc32(row.encode()):08x}{less}", given=given)


@lru_cache(maxsize=4096)
def _normal(row: str, *, refusing: bool) -> tuple[tuple[Form, ...], int]:
    """Give the normal form of a shape, given as JSON, and how many constants it takes; once for all revisions too."""
    shape = json.loads(row)
    return forms(shape["expr"], shape["params"], on_error=refusing), len(shape["params"])


class _Shapes:
    """The shapes of a program, compiled when first asked for in a mode."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows
        self.factories: dict[tuple[int, str, frozenset[Test]], Factory] = {}

    def factory(self, number: int, mode: str, found: frozenset[Test] = frozenset()) -> Factory:
        """Give what makes conditions of a shape, less the clauses of which some tests have found all there is."""
        key = (number, mode, found)
        if key not in self.factories:
            row, refusing = self.rows[number], mode == "unless"
            given = settled(row["expr"], row["params"], found, on_error=refusing) if found else ()
            self.factories[key] = _compiled(json.dumps(row), mode, given)
        return self.factories[key]

    def prepared(self, number: int, *, refusing: bool) -> tuple[tuple[Form, ...], int]:
        """Compile a shape's condition, and give its normal form and how many constants it takes."""
        self.factory(number, "unless" if refusing else "true")
        return _normal(json.dumps(self.rows[number]), refusing=refusing)

    def expression(self, reference: Mapping[str, Any]) -> Condition:
        return self.factory(reference["shape"], "value")(*reference["constants"])


class _PolicyLoader:
    """Loads one policy; kept as long as it is, for rows are made when they are first looked up."""

    def __init__(self, plain: Mapping[str, Any], programs: Mapping[str, Any], shapes: _Shapes, revision: int) -> None:
        self.plain, self.shapes, self.revision = plain, shapes, revision
        self.effects = programs["effects"]
        self.refusing = [refuses(effect) for effect in self.effects]
        self.rules: list[Sequence[Any]] = list(plain["rules"])
        if plain["kind"] == "AccessPolicy":
            self.rules.sort(key=lambda row: RANKS[self.effects[row[6]]["effect"]])
        used = {shape for _, _, _, _, shape, *_ in self.rules}
        used.update(part["shape"] for part in self.parts())
        self.models = tuple(sorted({model for number in used for model in shapes.rows[number]["models"]}))

    def parts(self) -> Iterator[Mapping[str, Any]]:
        """Yield the expressions beside conditions: what sticks, and keys of limits."""
        default = self.plain["default"]
        outcomes = [self.effects[number] for number in {row[6] for row in self.rules}]
        for outcome in [*outcomes, {"route": default} if isinstance(default, Mapping) else {}]:
            for part in (outcome.get("route", {}).get("sticky"), outcome.get("limit", {}).get("key")):
                if part:
                    yield part

    def load(self, before: LoadedPolicy | None) -> LoadedPolicy:
        """Give the policy, ready to run, on the tree of the one before where its rules are really the same."""
        plain = self.plain
        if plain["kind"] not in PHASES:
            raise ValueError(f"no policy is of kind {plain['kind']!r}")
        tree = before.index.tree if before is not None and self.goes_on(before) else self.grown()
        index, default = Index(tree, self.found), self.default()
        return LoadedPolicy(
            kind=plain["kind"],
            name=plain["name"],
            namespace=plain["namespace"],
            service=plain["service"],
            operations=OperationSet(map(OperationPattern.parse, plain["operations"])),
            index=index,
            default=default,
            speaks=index.speaking(default),
            rows=self.rules,
            shapes=self.shapes.rows,
            models=frozenset(self.models),
            plain=plain,
        )

    def grown(self) -> Tree:
        tree = grow(self.columns())
        tree.make = self.condition
        return tree

    def goes_on(self, before: LoadedPolicy) -> bool:
        """Tell whether a policy has the same conditions, whatever digest it came with."""
        if len(before.rows) != len(self.rules):
            return False
        shapes = set()
        for old, new, refusing in zip(before.rows, self.rules, before.index.tree.on_error, strict=True):
            if old[5] != new[5] or refusing != self.refusing[new[6]]:
                return False
            shapes.add((old[4], new[4]))
        return all(before.shapes[old] == self.shapes.rows[new] for old, new in shapes)

    def found(self, number: int) -> Outcome:
        return self.outcome(RuleRow.of(self.rules[number]))

    def columns(self) -> Rules:
        """Give what the index knows of each rule, having made sure that it can run."""
        known: dict[tuple[int, bool], tuple[tuple[Form, ...], int]] = {}
        found, on_error = [], []
        for row in self.rules:
            refusing, constants = self.refusing[row[6]], row[5]
            form = known.get((row[4], refusing)) or known.setdefault(
                (row[4], refusing), self.shapes.prepared(row[4], refusing=refusing)
            )
            if len(constants) != form[1]:
                raise ValueError(f"shape {row[4]} takes {form[1]} constants")
            found.append(form[0])
            on_error.append(refusing)
        return Rules(found, [row[5] for row in self.rules], on_error)

    def condition(self, number: int, found: frozenset[Test]) -> Condition:
        rule = RuleRow.of(self.rules[number])
        return self.shapes.factory(rule.shape, "unless" if self.refusing[rule.effect] else "true", found)(
            *rule.constants
        )

    def outcome(self, rule: RuleRow) -> Outcome:
        effect = self.effects[rule.effect]
        if "route" in effect:
            return self.traffic(effect["route"], effect.get("advice", {}), rule)
        if "qos" in effect:
            return self.qos(effect, rule)
        return self.limit(effect["limit"], rule) if "limit" in effect else self.access(effect, rule)

    def default(self) -> Outcome | None:
        kind, default = self.plain["kind"], self.plain["default"]
        if kind == "TrafficPolicy":
            return self.traffic(default or {}, {}, None)
        if default is None:
            return None
        if kind == "QosPolicy":
            return self.qos(default, None)
        verdict, detail = (Denied(), "no rule granted") if default == "deny" else (Permit(), "")
        return Outcome(self.reason(None, default, detail), self.models, verdict, RANKS[default])

    def reason(self, rule: RuleRow | None, effect: str, detail: str = "") -> Reason:
        name, clause, plain = rule.name if rule else "", rule.clause if rule else "", self.plain
        return Reason(
            plain["name"], plain["kind"], name, effect, clause, detail, self.revision, shadow=bool(plain["shadow"])
        )

    def looks_at(self, rule: RuleRow | None) -> tuple[str, ...]:
        return tuple(self.shapes.rows[rule.shape]["models"]) if rule else self.models

    def access(self, plain: Mapping[str, Any], rule: RuleRow) -> Outcome:
        effect, message, by = plain["effect"], plain.get("reason", ""), plain.get("by", "")
        verdicts: Mapping[str, Callable[[], Verdict]] = {
            "deny": lambda: Denied(message),
            "review": lambda: ReviewRequired(by, message),
            "step_up": lambda: StepUpRequired(plain.get("acr", ""), plain.get("max_age"), message),
            "permit": Permit,
        }
        detail = message or (f"by {by}" if by else plain.get("acr", ""))
        tentative = bool(self.plain["allow_tentative"]) or effect != "permit"
        reason = self.reason(rule, effect, detail)
        return Outcome(reason, self.looks_at(rule), verdicts[effect](), RANKS[effect], allow_tentative=tentative)

    def traffic(self, route: Mapping[str, Any], advice: dict[str, Any], rule: RuleRow | None) -> Outcome:
        subset = _subset(route.get("version", ""), route.get("labels", {}))
        decided = Route(subset, route.get("priority", ""), "", route.get("timeout"))
        split = self.splitter(route, rule.name if rule else "default") if route.get("split") else None
        reason = self.reason(rule, "route", str(split or subset or "any endpoint"))
        return Outcome(reason, self.looks_at(rule), route=decided, split=split, advice=MappingProxyType(advice))

    def splitter(self, route: Mapping[str, Any], name: str) -> Splitter:
        subsets = tuple(Subset(version) for version, _ in route["split"])
        edges = edges_of(weight for _, weight in route["split"])
        salt = route.get("salt") or f"{self.plain['namespace']}/{self.plain['name']}/{name}"
        sticky = route.get("sticky")
        return Splitter(subsets, edges, sticky and self.shapes.expression(sticky), salt)

    def qos(self, plain: Mapping[str, Any], rule: RuleRow | None) -> Outcome:
        qos = Qos(plain["qos"]["priority"], plain["qos"].get("class", ""))
        reason = self.reason(rule, "qos", ", ".join(part for part in (qos.priority, qos.service_class) if part))
        return Outcome(reason, self.looks_at(rule), qos=qos, advice=MappingProxyType(plain.get("advice", {})))

    def limit(self, limit: Mapping[str, Any], rule: RuleRow) -> Outcome:
        reason = self.reason(rule, "limit", f"{limit['requests']} per {limit['per']:g} s, burst {limit['burst']}")
        key = limit.get("key")
        numbers = (limit["requests"], limit["per"], limit["burst"])
        return Outcome(reason, self.looks_at(rule), limit=numbers, key=key and self.shapes.expression(key))


def _subset(version: str, labels: Mapping[str, str]) -> Subset | None:
    return Subset(version, labels) if version or labels else None
