"""Canonical forms: what is left of conditions and policies when names, order and phrasing that change nothing are gone.

Equal forms mean equal decisions for every call; unequal ones mean nothing. Forms are nested tuples. A condition's is
``("and" | "or", parts…)``, ``("not", form)``, ``("in", operand, constants)`` for ``==`` and ``in``, or a node of module
``shapes`` with its constants written in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from math import gcd
from typing import Any, NamedTuple

from mcp_sdk.policy.cel.values import INT_MAX, INT_MIN
from mcp_sdk.policy.loading import RANKS
from mcp_sdk.policy.program import RuleRow

__all__ = ["RuleForm", "any_of", "condition_form", "effect_form", "policy_form", "route_form", "rule_forms", "salt_of"]

Form = tuple[Any, ...]
TRUE, FALSE = ("lit", True), ("lit", False)
_SWAPPED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}
_DENIED = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_"}
_LISTED = ("string", "int")


class RuleForm(NamedTuple):
    """One rule: its condition, its effect, and the models it looks at."""

    condition: Form
    effect: Form
    models: tuple[str, ...]


def condition_form(expression: Any, params: Sequence[str], constants: Sequence[Any]) -> Form:
    """Give the canonical form of an expression of module ``shapes`` with these constants."""
    return _Writer(params, constants).form(expression, {})


class _Writer:
    def __init__(self, params: Sequence[str], constants: Sequence[Any]) -> None:
        self.params, self.constants = params, constants

    def form(self, node: Any, scope: Mapping[str, str]) -> Form:
        kind = node[0]
        if kind == "k":
            return ("const", self.params[node[1]], _frozen(self.constants[node[1]]))
        if kind == "var":
            return ("var", scope.get(node[1], node[1]), node[2])
        if kind in ("get", "has"):
            return (kind, self.form(node[1], scope), *node[2:])
        if kind == "call":
            return self._call(node[1], node[2], [self.form(arg, scope) for arg in node[3:]])
        if kind in ("list", "map"):
            return (kind, node[1], *(self.form(item, scope) for item in node[2:]))
        return tuple(node) if kind == "lit" else self._macro(node, scope)

    def _macro(self, node: Any, scope: Mapping[str, str]) -> Form:
        inner = {**scope, node[1]: f"${len(scope)}"}
        return (node[0], inner[node[1]], self.form(node[3], scope), *(self.form(body, inner) for body in node[4:]))

    def _call(self, function: str, kind: str, args: list[Form]) -> Form:
        if function == "_&&_":
            return _all_of(args)
        if function == "_||_":
            return any_of(args)
        if function == "!_":
            return _denied(args[0])
        return _compared(function, args) or ("call", function, kind, *args)


def _compared(function: str, args: list[Form]) -> Form | None:
    if len(args) != 2:
        return None
    left, right = args
    if left[0] == "const" and right[0] != "const" and (function in _SWAPPED or function in ("_==_", "_!=_")):
        left, right, function = right, left, _SWAPPED.get(function, function)
    if function in ("_==_", "_!=_"):
        found = ("in", left, (right,)) if right[0] == "const" and right[1] in _LISTED else _equal(left, right)
        return found if function == "_==_" else _denied(found)
    if function == "@in" and right[0] == "const" and right[1] in ("list<string>", "list<int>"):
        kind = right[1][5:-1]
        return ("in", left, tuple(sorted({("const", kind, item) for item in right[2]})))
    return _ordered(function, left, right) if function in _SWAPPED else None


def _equal(left: Form, right: Form) -> Form:
    return ("==", *sorted((left, right), key=repr))


def _ordered(function: str, left: Form, right: Form) -> Form:
    """Write a comparison of an int with a constant by ``<`` or ``>`` alone."""
    if right[:2] == ("const", "int") and _is_int(left):
        if function == "_>=_" and right[2] > INT_MIN:
            return ("call", "_>_", "bool", left, ("const", "int", right[2] - 1))
        if function == "_<=_" and right[2] < INT_MAX:
            return ("call", "_<_", "bool", left, ("const", "int", right[2] + 1))
    return ("call", function, "bool", left, right)


def _denied(form: Form) -> Form:
    if form[0] == "lit" and isinstance(form[1], bool):
        return ("lit", not form[1])
    if form[0] == "not":
        return tuple(form[1])
    if form[0] in ("and", "or"):
        return (any_of if form[0] == "and" else _all_of)([_denied(part) for part in form[1:]])
    if form[:2] in {("call", name) for name in _DENIED} and form[4][:2] == ("const", "int") and _is_int(form[3]):
        return _ordered(_DENIED[form[1]], form[3], form[4])
    return ("not", form)


def any_of(forms: Iterable[Form]) -> Form:
    """Join forms by ``||``: flat, without repetition, equalities with one operand as one ``in``."""
    parts = {part for form in forms for part in (form[1:] if form[0] == "or" else (form,))} - {FALSE}
    if TRUE in parts:
        return TRUE
    return _joined("or", _merged(parts, denied=False), FALSE)


def _all_of(forms: Iterable[Form]) -> Form:
    parts = {part for form in forms for part in (form[1:] if form[0] == "and" else (form,))} - {TRUE}
    if FALSE in parts:
        return FALSE
    return _joined("and", _merged(parts, denied=True), TRUE)


def _joined(kind: str, parts: set[Form], empty: Form) -> Form:
    if len(parts) < 2:
        return next(iter(parts), empty)
    return (kind, *sorted(parts, key=repr))


def _merged(parts: set[Form], *, denied: bool) -> set[Form]:
    """Join ``a in x || a in y``, or ``!(a in x) && !(a in y)``."""
    listed: dict[Form, set[Form]] = {}
    rest: set[Form] = set()
    for part in parts:
        inner = part[1] if denied and part[0] == "not" else part
        if inner[0] == "in" and (part is inner) is not denied:
            listed.setdefault(inner[1], set()).update(inner[2])
        else:
            rest.add(part)
    made = (("in", operand, tuple(sorted(members, key=repr))) for operand, members in listed.items())
    return rest | {("not", form) if denied else form for form in made}


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return repr(value) if isinstance(value, float) else value


def _is_int(form: Form) -> bool:
    place = {"get": 3, "call": 2, "var": 2}.get(form[0])
    return place is not None and form[place] == "int"


def salt_of(plain: Mapping[str, Any], rule: str, route: Mapping[str, Any]) -> str:
    """Give the salt of a route of a policy; ``rule`` is empty for the default's."""
    return str(route.get("salt") or f"{plain['namespace']}/{plain['name']}/{rule or 'default'}")


def shares_of(split: Iterable[Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    """Give the shares of a split that nothing sticks, in lowest terms by version."""
    total: dict[str, int] = {}
    for version, weight in split:
        total[version] = total.get(version, 0) + weight
    kept = {version: weight for version, weight in total.items() if weight}
    common = reduce(gcd, kept.values(), 0) or 1
    return tuple(sorted((version, weight // common) for version, weight in kept.items()))


def _expression_form(programs: Mapping[str, Any], reference: Mapping[str, Any]) -> Form:
    row = programs["shapes"][reference["shape"]]
    return condition_form(row["expr"], row["params"], reference["constants"])


def route_form(programs: Mapping[str, Any], plain: Mapping[str, Any], rule: str, route: Mapping[str, Any]) -> Form:
    """Give the canonical form of a route of a policy's rule."""
    shares: Any = shares_of(route.get("split", ()))
    version, sticky = route.get("version", ""), route.get("sticky")
    if len(shares) == 1:
        version, shares = shares[0][0], ()
    elif shares and sticky:
        kept = tuple((name, weight) for name, weight in route["split"] if weight)
        shares = (kept, _expression_form(programs, sticky), salt_of(plain, rule, route))
    labels = tuple(sorted(route.get("labels", {}).items()))
    return ("route", version, labels, shares, route.get("priority", ""), route.get("timeout"))


def effect_form(programs: Mapping[str, Any], plain: Mapping[str, Any], rule: str, effect: Mapping[str, Any]) -> Form:
    """Give the canonical form of what a rule says; ``rule`` is its name, for the salt of a split."""
    advice = json.dumps(effect.get("advice", {}), sort_keys=True)
    if "route" in effect:
        return (*route_form(programs, plain, rule, effect["route"]), advice)
    if "qos" in effect:
        return ("qos", effect["qos"]["priority"], effect["qos"].get("class", ""), advice)
    if "limit" in effect:
        limit, key = effect["limit"], effect["limit"].get("key")
        numbers = (limit["requests"], limit["per"], limit["burst"] or limit["requests"])
        return ("limit", *numbers, key and _expression_form(programs, key))
    if effect["effect"] == "permit":
        return ("permit",)
    return (effect["effect"], *(effect.get(name) for name in ("reason", "by", "acr", "max_age")))


def rule_forms(programs: Mapping[str, Any], plain: Mapping[str, Any]) -> list[RuleForm]:
    """Give the form of each rule of a policy, in the order written."""
    forms: list[RuleForm] = []
    effects: dict[Any, Form] = {}
    for rule in (RuleRow.of(row) for row in plain["rules"]):
        shape, effect = programs["shapes"][rule.shape], programs["effects"][rule.effect]
        key = (rule.effect, rule.name if effect.get("route", {}).get("sticky") else "")
        if key not in effects:
            effects[key] = effect_form(programs, plain, rule.name, effect)
        condition = condition_form(shape["expr"], shape["params"], rule.constants)
        forms.append(RuleForm(condition, effects[key], tuple(shape["models"])))
    return forms


def policy_form(programs: Mapping[str, Any], plain: Mapping[str, Any]) -> Form:
    """Give the canonical form of a policy, its name, place and ``shadow`` apart."""
    rules = [rule for rule in rule_forms(programs, plain) if rule.condition != FALSE]
    written = {"TrafficPolicy": _first_match, "QosPolicy": _first_match, "AccessPolicy": _access}
    body = written.get(plain["kind"], _limits)(programs, plain, rules)
    return (plain["kind"], tuple(sorted(set(plain["operations"]))), *body)


def _first_match(programs: Mapping[str, Any], plain: Mapping[str, Any], rules: list[RuleForm]) -> Form:
    default = plain["default"]
    if plain["kind"] == "TrafficPolicy":
        last: Form | None = effect_form(programs, plain, "", {"route": default or {}})
    else:
        last = None if default is None else effect_form(programs, plain, "", default)
    merged = _adjacent(rules)
    while merged and merged[-1][1] == last:
        merged.pop()
    return (last, tuple(merged))


def _adjacent(rules: Iterable[RuleForm]) -> list[tuple[Form, Form]]:
    """Join neighbours of one effect, and leave out what follows a rule that always matches."""
    groups: list[tuple[list[Form], Form]] = []
    for rule in rules:
        if groups and groups[-1][1] == rule.effect:
            groups[-1][0].append(rule.condition)
        else:
            groups.append(([rule.condition], rule.effect))
        if rule.condition == TRUE:
            break
    return [(any_of(conditions), effect) for conditions, effect in groups]


def _access(_: Mapping[str, Any], plain: Mapping[str, Any], rules: list[RuleForm]) -> Form:
    refusing = sorted((rule for rule in rules if rule.effect != ("permit",)), key=lambda rule: RANKS[rule.effect[0]])
    permits = [] if plain["default"] == "permit" else [rule for rule in rules if rule.effect == ("permit",)]
    sure = bool(plain["allow_tentative"]) and bool(permits)
    granted: dict[tuple[str, ...], list[Form]] = {}
    for rule in permits:
        granted.setdefault(() if sure else tuple(sorted(rule.models)), []).append(rule.condition)
    grants = sorted((models, any_of(conditions)) for models, conditions in granted.items())
    ranked = [group for rank in RANKS for group in _adjacent(rule for rule in refusing if rule.effect[0] == rank)]
    return (plain["default"], sure, tuple(ranked), tuple(grants))


def _limits(_: Mapping[str, Any], __: Mapping[str, Any], rules: list[RuleForm]) -> Form:
    return tuple(sorted(((rule.condition, rule.effect) for rule in rules), key=repr))
