"""Programs → what the engine runs: conditions compiled, outcomes and their reasons built once.

Nothing of a request is here. A program that needs RE2 or xxhash where it is missing is refused by name.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import Denied, Permit, Phase, Qos, Reason, ReviewRequired, Route, StepUpRequired, Verdict
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.operations import OperationPattern, OperationSet
from mcp_sdk.policy.codegen import Factory, compile_shape
from mcp_sdk.policy.hashing import edges_of, load_hash
from mcp_sdk.policy.index import Index, Indexed
from mcp_sdk.policy.program import check_format
from mcp_sdk.policy.values import pattern
from mcp_sdk.services import Subset

__all__ = ["Loaded", "LoadedPolicy", "Outcome", "Splitter", "load"]

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
                base.policy, base.kind, base.rule, base.effect, base.clause, base.detail, base.revision, trust
            )
            self.reasons[trust] = reason
        return reason


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """One policy, ready to run. ``index`` holds the outcomes of its rules; ``default`` speaks when none matches."""

    kind: str
    name: str
    namespace: str
    service: str
    operations: OperationSet
    index: Index[Outcome]
    default: Outcome | None
    models: frozenset[str]
    plain: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Every policy of a program that is in force."""

    policies: tuple[LoadedPolicy, ...]


def load(programs: Mapping[str, Any], *, revision: int) -> Loaded:
    """Compile a program's conditions and build its outcomes.

    Raises ``ConfigurationError`` when it is of another format or is damaged, ``MissingExtra`` when it needs a library
    that is not installed.
    """
    check_format(programs)
    uses = programs.get("uses", ())
    if "xxhash" in uses:
        load_hash()
    if "re2" in uses:
        pattern("")
    loader = _Loader(programs.get("shapes", ()), revision)
    try:
        policies = [loader.policy(plain) for plain in programs.get("policies", ()) if not plain["shadow"]]
    except (KeyError, TypeError, IndexError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ConfigurationError(f"damaged policy program: {error!r}. Compile the policies again.") from error
    return Loaded(tuple(sorted(policies, key=lambda policy: (not policy.operations.patterns, policy.name))))


class _Loader:
    def __init__(self, shapes: Any, revision: int) -> None:
        self.shapes, self.revision = shapes, revision
        self.factories: dict[tuple[int, str], Factory] = {}

    def condition(self, reference: Mapping[str, Any], mode: str) -> Callable[[Any, Any], Any]:
        key = (reference["shape"], mode)
        if key not in self.factories:
            name = f"shape-{reference['shape']}-{_digest(self.shapes[reference['shape']])}"
            self.factories[key] = compile_shape(self.shapes[reference["shape"]], mode, name=name)
        return self.factories[key](*reference["constants"])

    def policy(self, plain: Mapping[str, Any]) -> LoadedPolicy:
        self.plain = plain
        rules = list(plain["rules"])
        if plain["kind"] == "AccessPolicy":
            rules.sort(key=lambda rule: RANKS[rule["effect"]])
        return LoadedPolicy(
            kind=plain["kind"],
            name=plain["name"],
            namespace=plain["namespace"],
            service=plain["service"],
            operations=OperationSet(map(OperationPattern.parse, plain["operations"])),
            index=Index([self.rule(rule) for rule in rules]),
            default=self.default(plain),
            models=frozenset(_models(plain)),
            plain=plain,
        )

    def rule(self, rule: Mapping[str, Any]) -> Indexed[Outcome]:
        refusing = "limit" in rule or rule.get("effect", "permit") != "permit"
        holds = self.condition(rule["when"], "unless" if refusing else "true")
        shape = self.shapes[rule["when"]["shape"]]["expr"]
        return Indexed(self.outcome(rule), holds, refusing, shape, tuple(rule["when"]["constants"]))

    def outcome(self, rule: Mapping[str, Any]) -> Outcome:
        if "route" in rule:
            return self.traffic(rule["route"], rule)
        if "qos" in rule:
            return self.qos(rule, rule)
        return self.limit(rule) if "limit" in rule else self.access(rule)

    def default(self, plain: Mapping[str, Any]) -> Outcome | None:
        if plain["kind"] == "TrafficPolicy":
            return self.traffic(plain["default"] or {}, None)
        if plain["default"] is None:
            return None
        if plain["kind"] == "QosPolicy":
            return self.qos(plain["default"], None)
        effect = plain["default"]
        models = tuple(sorted(_models(plain)))
        return Outcome(self.reason(None, effect), models, Denied() if effect == "deny" else Permit(), RANKS[effect])

    def reason(self, rule: Mapping[str, Any] | None, effect: str, detail: str = "") -> Reason:
        name, clause = (rule["name"], rule["clause"]) if rule else ("", "")
        return Reason(self.plain["name"], self.plain["kind"], name, effect, clause, detail, self.revision)

    def models(self, rule: Mapping[str, Any] | None) -> tuple[str, ...]:
        return tuple(rule["models"]) if rule else tuple(sorted(_models(self.plain)))

    def access(self, rule: Mapping[str, Any]) -> Outcome:
        effect, message = rule["effect"], rule["reason"]
        verdicts: Mapping[str, Callable[[], Verdict]] = {
            "deny": lambda: Denied(message),
            "review": lambda: ReviewRequired(rule["by"], message),
            "step_up": lambda: StepUpRequired(rule["acr"], rule["max_age"], message),
            "permit": Permit,
        }
        detail = message or (f"by {rule['by']}" if rule["by"] else rule["acr"])
        tentative = bool(self.plain["allow_tentative"]) or effect != "permit"
        reason = self.reason(rule, effect, detail)
        return Outcome(reason, self.models(rule), verdicts[effect](), RANKS[effect], allow_tentative=tentative)

    def traffic(self, route: Mapping[str, Any], rule: Mapping[str, Any] | None) -> Outcome:
        subset = _subset(route.get("version", ""), route.get("labels", {}))
        decided = Route(subset, route.get("priority", ""), "", route.get("timeout"))
        split = self.splitter(route, rule["name"] if rule else "default") if route.get("split") else None
        detail = "split" if split else str(subset or "any endpoint")
        outcome = Outcome(self.reason(rule, "route", detail), self.models(rule), route=decided, split=split)
        outcome.advice = dict(rule["advice"]) if rule else {}
        return outcome

    def splitter(self, route: Mapping[str, Any], name: str) -> Splitter:
        subsets = tuple(Subset(version) for version, _ in route["split"])
        edges = edges_of(weight for _, weight in route["split"])
        salt = route["salt"] or f"{self.plain['namespace']}/{self.plain['name']}/{name}"
        sticky = None if route["sticky"] is None else self.condition(route["sticky"], "value")
        return Splitter(subsets, edges, sticky, salt)

    def qos(self, plain: Mapping[str, Any], rule: Mapping[str, Any] | None) -> Outcome:
        qos = Qos(plain["qos"]["priority"], plain["qos"]["class"])
        detail = ", ".join(part for part in (qos.priority, qos.service_class) if part)
        return Outcome(self.reason(rule, "qos", detail), self.models(rule), qos=qos, advice=dict(plain["advice"]))

    def limit(self, rule: Mapping[str, Any]) -> Outcome:
        limit = rule["limit"]
        detail = f"{limit['requests']} per {limit['per']:g} s, burst {limit['burst']}"
        key = None if limit["key"] is None else self.condition(limit["key"], "value")
        numbers = (limit["requests"], limit["per"], limit["burst"])
        return Outcome(self.reason(rule, "limit", detail), self.models(rule), limit=numbers, key=key)


def _subset(version: str, labels: Mapping[str, str]) -> Subset | None:
    return Subset(version, labels) if version or labels else None


def _digest(shape: Any) -> str:
    return f"{zlib.crc32(json.dumps(shape).encode()):08x}"


def _models(plain: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for rule in plain["rules"]:
        found.update(rule["models"])
        for nested in (rule.get("route", {}).get("sticky"), rule.get("limit", {}).get("key")):
            found.update(nested["models"] if nested else ())
    default = plain["default"]
    if isinstance(default, Mapping) and default.get("sticky"):
        found.update(default["sticky"]["models"])
    return found
