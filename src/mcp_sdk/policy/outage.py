"""Which rules would refuse if contexts could be fetched no longer: a control plane that is gone, and nothing cached.

What a caller brings by baggage is there still; what is fetched is absent. A rule that refuses does so where it reads
what is absent and no clause of it is surely false: an error refuses. A rule that grants does so no longer where a
clause that reads what is absent is not surely true, and its policy permits nothing by default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.cel.shapes import clause_shapes, expressions
from mcp_sdk.policy.program import RuleRow, refuses

__all__ = ["LostRule", "lost_rules"]

ANY = "every operation"


@dataclass(frozen=True, slots=True)
class LostRule:
    """A rule that fails closed: what it governs, the clauses that read what is absent, and what then happens.

    ``facts`` are the absent ones; of them ``never`` can travel in baggage under no circumstances.
    """

    service: str
    operation: str
    kind: str
    policy: str
    rule: str
    effect: str
    clauses: tuple[str, ...]
    facts: tuple[str, ...]
    never: tuple[str, ...]
    place: str

    @property
    def why(self) -> str:
        """Say in a sentence what happens, and by what."""
        absent = ", ".join(self.facts)
        if self.effect == "permit":
            return f"grants no longer: without {absent}, {' && '.join(self.clauses)} is not true"
        return f"{self.effect}: without {absent}, {' && '.join(self.clauses)} is not false, and doubt refuses"

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        names = ("service", "operation", "kind", "policy", "rule", "effect", "place", "why")
        return {name: getattr(self, name) for name in names} | {
            "clauses": list(self.clauses),
            "facts": list(self.facts),
            "never": list(self.never),
        }


def lost_rules(
    programs: Mapping[str, Any], models: Mapping[str, BusinessModel], *, travelling: Collection[str] = ()
) -> Iterator[LostRule]:
    """Yield, for every operation, the rules that would refuse it, in the order of policies and rules.

    Of the models in ``travelling`` contexts always come with the call, but for what never travels; of a principal's
    model they come with the authentication. Policies in shadow refuse nothing.
    """
    reading = _Reading(models, frozenset(travelling))
    for policy in programs.get("policies", ()):
        if policy["shadow"]:
            continue
        for row in policy["rules"]:
            rule = RuleRow.of(row)
            found = _lost(policy, rule, programs, reading)
            if found:
                yield from (_told(policy, rule, programs, found, operation) for operation in _operations(policy))


def _operations(policy: Mapping[str, Any]) -> Sequence[str]:
    return policy["operations"] or [ANY]


@dataclass(frozen=True, slots=True)
class _Clause:
    text: str
    result: str
    facts: tuple[str, ...]
    never: tuple[str, ...]


def _lost(
    policy: Mapping[str, Any], rule: RuleRow, programs: Mapping[str, Any], reading: _Reading
) -> tuple[_Clause, ...]:
    """Give the clauses by which a rule refuses, or grants no longer; none where it does not."""
    effect = programs["effects"][rule.effect]
    seen = [clause for clause in reading.clauses(programs["shapes"][rule.shape], rule) if clause.facts]
    if refuses(effect):
        return () if any(clause.result == "false" for clause in seen) else tuple(seen)
    if "effect" not in effect or policy["default"] == "permit":
        return ()
    return tuple(clause for clause in seen if clause.result != "true")


def _told(
    policy: Mapping[str, Any], rule: RuleRow, programs: Mapping[str, Any], found: Sequence[_Clause], operation: str
) -> LostRule:
    effect = programs["effects"][rule.effect]
    return LostRule(
        policy["service"],
        operation,
        policy["kind"],
        policy["name"],
        rule.name,
        str(effect.get("effect") or "limit"),
        tuple(clause.text for clause in found),
        tuple(dict.fromkeys(fact for clause in found for fact in clause.facts)),
        tuple(dict.fromkeys(fact for clause in found for fact in clause.never)),
        f"{policy['file']}:{rule.line}:{rule.column}",
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    models: Mapping[str, BusinessModel]
    travelling: frozenset[str]

    def clauses(self, shape: Mapping[str, Any], rule: RuleRow) -> Iterator[_Clause]:
        """Evaluate each clause with every context absent, and tell which absent facts it reads."""
        texts = rule.clauses
        for part, text in zip(clause_shapes(shape["expr"]), texts, strict=True):
            absent = dict.fromkeys(fact for fact in _facts(part) if self._absent(*fact))
            names = tuple(f"{model}.{name}" for model, name in absent)
            never = tuple(f"{model}.{name}" for model, name in absent if not self._can_travel(model, name))
            yield _Clause(text, _result(part, shape["params"], rule.constants), names, never)

    def _absent(self, model: str, name: str) -> bool:
        declared = self.models.get(model)
        if declared is None or declared.principal:
            return False
        return model not in self.travelling or not self._can_travel(model, name)

    def _can_travel(self, model: str, name: str) -> bool:
        attribute = self.models[model].attributes.get(name)
        return attribute is None or (attribute.travels and not attribute.sensitive)


def _facts(shape: Any) -> Iterator[tuple[str, str]]:
    for node in expressions(shape):
        if node[0] in ("get", "has") and node[1][0] == "var":
            yield str(node[1][1]), str(node[2])


def _result(shape: Any, params: Sequence[str], constants: Sequence[Any]) -> str:
    """Give ``true``, ``false`` or ``error`` of a clause of which no context is there."""
    try:
        condition = compile_shape({"expr": shape, "params": list(params)}, "value", name="outage")(*constants)
        value = condition({}, DecisionRequest(""))
    except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
        return "error"
    return "true" if value is True else "false" if value is False else "error"
