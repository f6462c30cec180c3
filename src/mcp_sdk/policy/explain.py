"""Why a decision says what it says: every policy and rule considered, the clause that failed and what it saw.

Off the hot path. What a model declares sensitive, request headers, query values and a principal's attributes are never
shown; nor, once any model pseudonymises its ids, are path and host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.cel.presence import path_of
from mcp_sdk.policy.cel.schema import GEO
from mcp_sdk.policy.cel.shapes import clause_shapes, expressions
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.loading import PHASES, LoadedPolicy
from mcp_sdk.policy.program import RuleRow, refuses
from mcp_sdk.pseudonyms import pseudonymous
from mcp_sdk.shadow import in_words

__all__ = ["Explanation", "PolicySeen", "RuleSeen", "Seen", "explain"]

_OF_POLICY = ("policy", "kind", "file", "line", "applies", "shadow")
HIDDEN = "(hidden)"
ABSENT = "(absent)"
_SHOWN = frozenset(
    {"request.method", "request.path", "request.operation", "request.scheme", "request.host", "request.size"}
    | {f"request.geo.{name}" for name in ("country", "region", "continent", "city")}
    | {f"principal.{name}" for name in ("authenticated", "type", "roles", "scopes", "mfa", "acr", "auth_time")}
    | {f"source.{name}" for name in ("service", "namespace", "environment", "verified")}
)
_OF_CALLER = frozenset({"request.path", "request.operation", "request.host"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One clause: its text, ``result`` (``true false error``), and each fact it read, as a person writes it."""

    clause: str
    result: str
    facts: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"clause": self.clause, "result": self.result, "facts": dict(self.facts)}

    def __str__(self) -> str:
        facts = ", ".join(f"{name} is {value}" for name, value in self.facts.items())
        return f"{self.clause} is {self.result}" + (f" ({facts})" if facts else "")


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """One rule: whether it matched, and its clauses up to the one that failed."""

    rule: str
    effect: str
    matched: bool
    clauses: tuple[Seen, ...]
    note: str = ""

    @property
    def failed(self) -> Seen | None:
        """The clause that kept the rule from matching."""
        return next((seen for seen in self.clauses if seen.result != "true"), None) if not self.matched else None

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        failed = self.failed
        return {
            "rule": self.rule,
            "effect": self.effect,
            "matched": self.matched,
            "failed": failed.clause if failed else None,
            "clauses": [seen.to_dict() for seen in self.clauses],
            "note": self.note,
        }

    def __str__(self) -> str:
        if self.matched:
            return f"rule {self.rule!r} matched: {' and '.join(map(str, self.clauses))}"
        return f"rule {self.rule!r} did not match: {self.note or self.failed}"


@dataclass(frozen=True, slots=True)
class PolicySeen:
    """One policy of the target: whether its target holds the call, each of its rules, and whether it is in shadow."""

    policy: str
    kind: str
    file: str
    line: int
    applies: bool
    rules: tuple[RuleSeen, ...]
    shadow: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _OF_POLICY}
        return plain | {"rules": [rule.to_dict() for rule in self.rules]}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision, and everything that was considered for it."""

    decision: Decision
    policies: tuple[PolicySeen, ...]

    def sentence(self) -> str:
        """Give the decision, and why, in a sentence for a person."""
        said = self.decision.sentence()
        deciding = self.decision.reasons[0] if self.decision.reasons else None
        for policy in self.policies:
            if deciding is None or (policy.policy, policy.kind) != (deciding.policy, deciding.kind):
                continue
            rules = [rule for rule in policy.rules if rule.rule == deciding.rule] if deciding.rule else policy.rules
            said += "".join(f"; {rule}" for rule in rules)
        words = in_words(self.decision)
        return said + (f". In shadow: {words}." if words else ".")

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {
            "decision": self.decision.verdict.name,
            "sentence": self.sentence(),
            "shadow": self.decision.shadow.verdict.name if self.decision.shadow else None,
            "epoch": self.decision.epoch,
            "revision": self.decision.revision,
            "policies": [policy.to_dict() for policy in self.policies],
        }


def explain(engine: Engine, request: DecisionRequest) -> Explanation:
    """Decide a request, and tell of every policy of its target what each rule saw."""
    of_target = [
        policy
        for policy in (*engine.policies, *engine.shadows)
        if (policy.namespace, policy.service) == (request.namespace, request.service)
        and request.phase in PHASES[policy.kind]
    ]
    return Explanation(engine.decide(request), tuple(_policy(engine, policy, request) for policy in of_target))


def _policy(engine: Engine, policy: LoadedPolicy, request: DecisionRequest) -> PolicySeen:
    applies = request.operation in policy.operations
    rules = tuple(_rule(engine, policy, RuleRow.of(row), request) for row in policy.plain["rules"]) if applies else ()
    plain = policy.plain
    return PolicySeen(policy.name, policy.kind, plain["file"], plain["line"], applies, rules, policy.shadow)


def _rule(engine: Engine, policy: LoadedPolicy, rule: RuleRow, request: DecisionRequest) -> RuleSeen:
    shape, effect = engine.programs["shapes"][rule.shape], engine.programs["effects"][rule.effect]
    reader = _Reader(engine.models, request, shape["params"], list(rule.constants))
    pairs = zip(clause_shapes(shape["expr"]), rule.clauses, strict=True)
    seen = [reader.clause(part, text) for part, text in pairs]
    matched = reader.matches(shape["expr"], refusing=refuses(effect))
    note = ""
    if matched and effect.get("effect") == "permit" and not policy.plain["allow_tentative"]:
        held = [name for name in shape["models"] if name in request.contexts and request.contexts[name].tentative]
        matched, note = not held, f"{held[0]} is tentative, and a grant needs what is stored" if held else ""
    return RuleSeen(rule.name, _effect(effect), matched, tuple(seen), note)


def _effect(effect: Mapping[str, Any]) -> str:
    return str(effect.get("effect") or next(name for name in ("route", "qos", "limit") if name in effect))


@dataclass(frozen=True, slots=True)
class _Reader:
    models: Mapping[str, BusinessModel]
    request: DecisionRequest
    params: list[str]
    constants: list[Any]

    def matches(self, shape: Any, *, refusing: bool) -> bool:
        """Ask the condition as the engine does, by the same code."""
        row, mode = {"expr": shape, "params": self.params}, "unless" if refusing else "true"
        try:
            return bool(compile_shape(row, mode, name="explain")(*self.constants)(self.request.contexts, self.request))
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return refusing

    def clause(self, shape: Any, text: str) -> Seen:
        """Evaluate one clause, and read the facts in it."""
        facts = dict(self.facts(shape))
        try:
            condition = compile_shape({"expr": shape, "params": self.params}, "value", name="explain")(*self.constants)
            value = condition(self.request.contexts, self.request)
            result = "true" if value is True else "false" if value is False else "error"
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            result = "error"
        return Seen(text, result, facts)

    def facts(self, shape: Any) -> Iterator[tuple[str, str]]:
        """Yield the facts that a clause reads, with what is there."""
        for node in expressions(shape):
            path = path_of(node)
            if path is not None:
                yield f"{path[0]}.{path[1]}", self.fact(*path)
            elif node[0] in ("get", "has"):
                name = _dotted(node)
                if name in _SHOWN and not (name in _OF_CALLER and pseudonymous(self.models.values())):
                    yield name, self.fixed(name)
                elif name and node[-1] != GEO:
                    yield name, HIDDEN

    def fact(self, model: str, name: str) -> str:
        """Give a fact of a model as a person writes it."""
        declared = self.models.get(model)
        attribute = declared.attributes.get(name) if declared else None
        if attribute is not None and attribute.sensitive:
            return HIDDEN
        held = self.request.contexts.get(model)
        if held is None or name not in held.facts:
            return ABSENT
        value = held.facts[name]
        return repr(value) if isinstance(value, str) or attribute is None else attribute.present(value)

    def fixed(self, name: str) -> str:
        """Give a value of a fixed variable."""
        value: Any = self.request
        for part in name.split("."):
            value = getattr(value, part)
        return ABSENT if value is None else repr(list(value) if isinstance(value, tuple) else value)


def _dotted(node: Any) -> str:
    if node[0] == "var":
        return str(node[1])
    inner = _dotted(node[1]) if node[0] in ("get", "has") else ""
    return f"{inner}.{node[2]}" if inner else ""
