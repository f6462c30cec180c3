"""Partial evaluation: the AccessPolicies of a call with one entity unknown → a condition over that entity's facts.

A condition of a rule is walked for "has the value true" (a rule that grants) or "has the value false" (one that
refuses, for there an error matches too). CEL absorbs errors at ``&&`` and ``||``, so both distribute over them; a part
that does not read the entity is folded by the engine's own generated code; of the rest, tests of one fact become
``Compare``, ``Size`` and ``Has``, and what is left over is ``Opaque``: nobody can translate it, and it can be asked.

Listed is what ``Engine.decide`` would permit, except that silence grants nothing: where no policy speaks of the call,
nothing is listed. A ``default: permit`` is a policy's word, and lists. The entity counts as stored: never tentative.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel
from mcp_sdk.operations import OperationPattern
from mcp_sdk.policy.cel.codegen import Factory, compile_shape
from mcp_sdk.policy.cel.moments import Timestamp
from mcp_sdk.policy.cel.presence import path_of
from mcp_sdk.policy.cel.shapes import clause_shapes, expressions
from mcp_sdk.policy.loading import LoadedPolicy
from mcp_sdk.policy.program import RuleRow, refuses
from mcp_sdk.residue import (
    ALWAYS,
    NEVER,
    Compare,
    Condition,
    Has,
    Not,
    Opaque,
    Origin,
    Size,
    all_of,
    some_of,
)

__all__ = ["condition_over"]

_COMPARING = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TEXT = {"startsWith": "starts_with", "endsWith": "ends_with", "contains": "contains"}
_TYPES: Mapping[str, type] = {"string": str, "int": int, "double": float, "bool": bool, "timestamp": Timestamp}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR: Any = object()


def condition_over(
    policies: Iterable[LoadedPolicy], programs: Mapping[str, Any], request: DecisionRequest, model: BusinessModel
) -> Condition:
    """Give what an entity of ``model`` must be for ``request`` on it to be permitted.

    ``policies`` are the AccessPolicies in force for the request's service and phase. ``request`` holds what is known;
    a context of ``model`` in it is not looked at. Its operation may be a template, ``GET /orders/{order}``, whose one
    parameter is the entity's id: then ``request.path`` and ``request.operation`` are each item's own.
    Raises ``ConfigurationError`` for a template that names anything else.
    """
    call = _Call(request, model, programs)
    spoken = [(call.target(policy), policy) for policy in policies]
    listed = [some_of([_unless(applies), call.policy(policy)]) for applies, policy in spoken if applies != NEVER]
    return all_of([some_of(applies for applies, _ in spoken), *listed])


def _unless(applies: Condition) -> Condition:
    return Not(applies) if isinstance(applies, Compare) else NEVER


class _Call:
    """One call, of whose entity only the model is known."""

    def __init__(self, request: DecisionRequest, model: BusinessModel, programs: Mapping[str, Any]) -> None:
        self.request, self.model, self.programs = request, model, programs
        self.template = _template(request.operation, model)
        self._reading: dict[int, bool] = {}

    def reads(self, node: Any) -> bool:
        """Tell whether an expression looks at the entity, or at what only a call on it says."""
        found = self._reading.get(id(node))  # rules of one shape share its nodes
        if found is None:
            found = self._reading[id(node)] = any(map(self._looks, expressions(node)))
        return found

    def _looks(self, node: Any) -> bool:
        name = self.model.name
        return (node[0] == "var" and node[1] == name == node[2]) or (self.template is not None and _is_its_own(node))

    def target(self, policy: LoadedPolicy) -> Condition:
        """Give the entities on which a call is of a policy's target."""
        if self.template is None:
            return ALWAYS if self.request.operation in policy.operations else NEVER
        patterns = policy.operations.patterns
        return some_of(_overlap(self.template, pattern) for pattern in patterns) if patterns else ALWAYS

    def policy(self, policy: LoadedPolicy) -> Condition:
        """Give the entities that a policy permits: no rule refuses, and a rule or the default grants."""
        rules = [RuleRow.of(row) for row in policy.plain["rules"]]
        refusing = {number for number, effect in enumerate(self.programs["effects"]) if refuses(effect)}
        passed = []
        for rule in rules:
            if rule.effect in refusing:
                passed.append(self.rule(policy, rule, want=False))
                if passed[-1] == NEVER:
                    return NEVER
        if policy.plain["default"] == "permit":
            return all_of(passed)
        grants = (self.grant(policy, rule) for rule in rules if rule.effect not in refusing)
        return all_of([*passed, some_of(grants)])

    def grant(self, policy: LoadedPolicy, rule: RuleRow) -> Condition:
        """Give the entities that a rule grants; none by another entity that is tentative, unless the policy allows."""
        held = self.request.contexts
        looked_at = (held[name] for name in self.programs["shapes"][rule.shape]["models"] if name in held)
        tentative = any(context.tentative for context in looked_at if context.model != self.model.name)
        if tentative and not policy.plain["allow_tentative"]:
            return NEVER
        return self.rule(policy, rule, want=True)

    def rule(self, policy: LoadedPolicy, rule: RuleRow, *, want: bool) -> Condition:
        """Give the entities of which a rule's condition has the value ``want``."""
        shape = self.programs["shapes"][rule.shape]
        place = f"{policy.plain['file']}:{rule.line}:{rule.column}"
        parts = []
        for part, text in zip(clause_shapes(shape["expr"]), rule.clauses, strict=True):
            origin = Origin(policy.name, rule.name, text, place)
            walk = _Walk(self, tuple(shape["params"]), tuple(rule.constants), origin)
            parts.append(walk.when(part, want=want))
            if parts[-1] == (NEVER if want else ALWAYS):
                return parts[-1]
        return all_of(parts) if want else some_of(parts)

    def on(self, item: ModelContext) -> DecisionRequest:
        """Give the call on one entity."""
        held = {**self.request.contexts, self.model.name: item}
        if self.template is None:
            return replace(self.request, contexts=held)
        name = next(name for name in self.template.params if name)
        operation = self.template.text.replace(f"{{{name}}}", quote(item.entity_id, safe="!$&'()*+,;=:@"))
        method, _, _path = operation.partition(" ")
        facts = replace(self.request.request, method=method, operation=operation, path=_decoded(self.template, item))
        return replace(self.request, contexts=held, operation=operation, request=facts)


@dataclass(frozen=True)
class _Walk:
    """Walks one clause of a rule."""

    call: _Call
    params: tuple[str, ...]
    constants: tuple[Any, ...]
    origin: Origin

    def when(self, node: Any, *, want: bool) -> Condition:
        """Give the entities of which an expression has the value ``want``; an error is neither."""
        if not self.call.reads(node):
            return ALWAYS if self._known(node) is want else NEVER
        if node[0] == "has" and path_of(node):
            return self._has(node[2]) if want else Not(self._has(node[2]))
        if node[0] == "get" and path_of(node) and node[3] == "bool":
            return Compare(node[2], "==", want, self.origin)
        return self._called(node, want=want) if node[0] == "call" else self._opaque(node, want=want)

    def _called(self, node: Any, *, want: bool) -> Condition:
        function, args = node[1], node[3:]
        if function in ("_&&_", "_||_"):
            parts = [self.when(part, want=want) for part in args]
            return all_of(parts) if (function == "_&&_") == want else some_of(parts)
        if function == "!_":
            return self.when(args[0], want=not want)
        if function == "_?_:_":
            sides = ((True, args[1]), (False, args[2]))
            return some_of(all_of([self.when(args[0], want=s), self.when(arg, want=want)]) for s, arg in sides)
        if len(args) == 2:
            found = self._tested(function, *args, want=want)
            if found is not None:
                return found
        return self._opaque(node, want=want)

    def _tested(self, function: str, left: Any, right: Any, *, want: bool) -> Condition | None:
        """Give the test of one fact that a call with two arguments is; None when it is none."""
        if self.call.reads(left) and self.call.reads(right):
            return None
        if function in _COMPARING:
            op = _COMPARING[function]
            return (
                self._compared(left, op, right, want=want)
                if self.call.reads(left)
                else self._compared(right, _MIRRORED[op], left, want=want)
            )
        if function == "@in":
            return (
                self._member(left, right, want=want) if self.call.reads(left) else self._holder(left, right, want=want)
            )
        if function in _TEXT and self.call.reads(left) and path_of(left):
            return self._text(left[2], _TEXT[function], self._known(right), want=want)
        return None

    def _compared(self, node: Any, op: str, other: Any, *, want: bool) -> Condition | None:
        value = self._known(other)
        if node[0] == "call" and node[1] == "size" and path_of(node[3]):
            fits = type(value) is int
            return Size(node[3][2], op if want else _NEGATED[op], value, self.origin) if fits else None
        if node[0] == "get" and path_of(node) and node[3] in _TYPES:
            return NEVER if value is _ERROR else self._against(node, op, value, want=want)
        truth = node[0] == "has" or (node[0] == "call" and node[2] == "bool")
        if not truth or op not in ("==", "!="):
            return None
        if isinstance(value, bool):
            return self.when(node, want=value is (want == (op == "==")))
        return NEVER if value is _ERROR else None

    def _against(self, node: Any, op: str, value: Any, *, want: bool) -> Condition | None:
        """Compare a fact with a value, which is of its type or, where only ``dyn`` was known, of another."""
        field, kind = node[2], node[3]
        if not _is_of(kind, value):
            if kind in ("int", "double") and _is_number(value):
                return None
            return self._constantly(field, op == "!=", want=want) if op in ("==", "!=") else NEVER
        if kind == "double" and math.isnan(value):
            return self._constantly(field, op == "!=", want=want)
        if kind == "timestamp":
            return self._moment(field, op if want else _NEGATED[op], value)
        if not want and kind == "double" and op not in ("==", "!="):  # what is not < 5 may be NaN
            return all_of([self._has(field), Not(Compare(field, op, value, self.origin))])
        return Compare(field, op if want else _NEGATED[op], value, self.origin)

    def _moment(self, field: str, op: str, value: Timestamp) -> Condition:
        """Compare a timestamp, which is of whole microseconds, with one that is of nanoseconds."""
        whole, rest = divmod(value.nanoseconds, 1000)
        moment = _EPOCH + timedelta(microseconds=whole)
        if not rest:
            return Compare(field, op, moment, self.origin)
        if op in ("==", "!="):
            return self._constantly(field, op == "!=", want=True)
        return Compare(field, "<=" if op in ("<", "<=") else ">", moment, self.origin)

    def _member(self, item: Any, container: Any, *, want: bool) -> Condition | None:
        """``fact in values``."""
        values = self._known(container)
        if not (item[0] == "get" and path_of(item) and item[3] in ("string", "int", "bool", "double")):
            return None
        if values is _ERROR or not isinstance(values, (list, tuple, Mapping)):
            return NEVER
        kind = _TYPES[item[3]]
        if kind in (int, float) and any(_is_number(value) and type(value) is not kind for value in values):
            return None
        kept = tuple(dict.fromkeys(value for value in values if type(value) is kind))
        kept = tuple(value for value in kept if value == value)  # noqa: PLR0124 - NaN is in no list
        return self._tells(item[2], Compare(item[2], "in", kept, self.origin) if kept else NEVER, want=want)

    def _holder(self, item: Any, container: Any, *, want: bool) -> Condition | None:
        """``value in fact``."""
        value = self._known(item)
        if not (container[0] == "get" and path_of(container) and container[3] == "list<string>"):
            return None
        if value is _ERROR:
            return NEVER
        held = Compare(container[2], "has_item", value, self.origin) if isinstance(value, str) else NEVER
        return self._tells(container[2], held, want=want)

    def _text(self, field: str, op: str, part: Any, *, want: bool) -> Condition:
        if not isinstance(part, str):
            return NEVER
        return self._tells(field, Compare(field, op, part, self.origin) if part else self._has(field), want=want)

    def _tells(self, field: str, test: Condition, *, want: bool) -> Condition:
        """Give a test, or that the fact is there and does not pass."""
        if want:
            return test
        return all_of([self._has(field), Not(test)]) if isinstance(test, Compare) else self._opposite(field, test)

    def _opposite(self, field: str, test: Condition) -> Condition:
        return self._has(field) if test == NEVER else NEVER

    def _constantly(self, field: str, outcome: bool, *, want: bool) -> Condition:  # noqa: FBT001
        """Give the entities of which a comparison that has the same outcome for every fact has the value ``want``."""
        return self._has(field) if outcome is want else NEVER

    def _has(self, field: str) -> Has:
        return Has(field, self.origin)

    def _known(self, node: Any) -> Any:
        """Evaluate what does not read the entity, by the code that decisions run; ``_ERROR`` for an error."""
        if node[0] == "k" and self.params[node[1]] in ("string", "int"):
            return self.constants[node[1]]
        try:
            condition = _factory(json.dumps([node, self.params]), "value")(*self.constants)
            return condition(self.call.request.contexts, self.call.request)
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return _ERROR

    def _opaque(self, node: Any, *, want: bool) -> Opaque:
        """Give the part as it is, to be asked of an entity in hand."""
        condition = _factory(json.dumps([node, self.params]), "value")(*self.constants)

        def ask(item: ModelContext) -> bool:
            try:
                request = self.call.on(item)
                return condition(request.contexts, request) is want
            except Exception:  # noqa: BLE001 - as above
                return False

        return Opaque(self.origin, _why(node, self.call), ask)


@lru_cache(maxsize=4096)
def _factory(row: str, mode: str) -> Factory:
    expression, params = json.loads(row)
    return compile_shape({"expr": expression, "params": params}, mode, name="residue")


def _is_of(kind: str, value: Any) -> bool:
    return type(value) is _TYPES[kind]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_its_own(node: Any) -> bool:
    """Tell whether an expression reads what each call by a template has for itself."""
    return node[0] in ("get", "has") and node[2] in ("path", "operation") and node[1][:2] == ["var", "request"]


def _why(node: Any, call: _Call) -> str:
    """Say what about an expression no test can say, and how to write it otherwise."""
    parts = list(expressions(node))
    if any(part[0] == "call" and part[1] == "matches" for part in parts):
        return "a regular expression means something else to every database; use startsWith, endsWith or contains"
    if call.template and any(map(_is_its_own, parts)):
        return "request.path and request.operation are each item's own; name the operation in the policy's target"
    if any(part[0] == "call" and part[1] in ("_+_", "_-_", "_*_", "_/_", "_%_") for part in parts):
        return "CEL's arithmetic ends in an error where a database's goes on; keep the fact alone on one side"
    if len({path for part in parts if (path := path_of(part)) and path[0] == call.model.name}) > 1:
        return "it compares two facts of the item; compare each with what is known"
    return "no test of one fact says it; compare the fact with a value"


def _template(operation: str, model: BusinessModel) -> OperationPattern | None:
    """Read an operation with a parameter; None for one that is the same for every entity."""
    if " " not in operation or "{" not in operation:
        return None
    pattern = OperationPattern.parse(operation)
    names = [name for name in pattern.params if name]
    if model.pseudonymise:
        raise ConfigurationError(f"{operation!r}: {model.name} pseudonymises its ids; list by the name of a method.")
    own = {model.name, f"{model.name}_id", f"{model.name}_{model.key}"}
    if len(names) != 1 or names[0] not in own or pattern.rest or pattern.method == "*":
        raise ConfigurationError(
            f"{operation!r} cannot be listed by: it must have one parameter, {{{model.name}}}. Fill others in."
        )
    return pattern


def _overlap(template: OperationPattern, pattern: OperationPattern) -> Condition:
    """Give the entities on which a call by a template is one of a pattern's."""
    count = len(pattern.segments)
    longer = len(template.segments) > count and not pattern.rest
    if pattern.method not in ("*", template.method) or len(template.segments) < count or longer:
        return NEVER
    return all_of(_segments(template, pattern))


def _segments(template: OperationPattern, pattern: OperationPattern) -> Iterator[Condition]:
    unnamed = ("",) * len(pattern.segments)
    pairs = zip(pattern.segments, pattern.params or unnamed, template.segments, template.params, strict=False)
    for wanted, free, segment, name in pairs:
        if name and not free:
            yield Compare("id", "==", wanted)
        elif not free and wanted != segment:
            yield NEVER


def _decoded(template: OperationPattern, item: ModelContext) -> str:
    pairs = zip(template.segments, template.params, strict=True)
    return "/" + "/".join(item.entity_id if name else segment for segment, name in pairs)
