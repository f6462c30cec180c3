"""Conditions taken apart: the parts that ``&&``, ``||`` and ``!`` join, and the facts that each of them reads.

A fact is named as it is written in a policy: ``order.state``, ``principal.mfa``, ``request.geo.country``,
``request.headers.x-tenant``, ``principal.attributes.pin``, ``now``. What the operation of a call says
(``request.method``, ``request.path``, ``request.operation``) is one fact, ``operation``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.codegen import Factory, compile_shape
from mcp_sdk.policy.cel.presence import path_of
from mcp_sdk.policy.cel.schema import FIXED, GEO
from mcp_sdk.policy.cel.shapes import constant_from_plain

__all__ = ["OPERATION", "OPERATION_FACTS", "Atom", "Formula", "Joined", "atoms_of", "fact_of", "formula_of", "kind_of"]

OPERATION = "operation"
OPERATION_FACTS = frozenset({"request.method", "request.path", "request.operation"})
_JOINS = {"_&&_": "and", "_||_": "or", "!_": "not"}


@dataclass(frozen=True, eq=False)
class Atom:
    """A part of a condition that is true, false or an error by itself.

    ``facts`` are those it reads; ``opaque`` says that it reads more than can be named (``size(request.headers)``).
    """

    expr: Any
    params: Sequence[str]
    constants: Sequence[Any]
    facts: tuple[str, ...]
    opaque: bool
    _condition: list[Callable[[Any, Any], Any]] = field(default_factory=list, repr=False)

    def ask(self, request: DecisionRequest) -> bool | None:
        """Give its value; None is an error."""
        if not self._condition:
            self._condition.append(_factory(json.dumps([self.expr, list(self.params)]))(*self.constants))
        try:
            value = self._condition[0](request.contexts, request)
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return None
        return value if isinstance(value, bool) else None

    def constant(self, node: Any) -> Any:
        """Give the value of a constant of the expression, or None when the node is none."""
        if node[0] == "lit":
            return node[1]
        return constant_from_plain(self.params[node[1]], self.constants[node[1]]) if node[0] == "k" else None


@lru_cache(maxsize=4096)
def _factory(written: str) -> Factory:
    expr, params = json.loads(written)
    return compile_shape({"expr": expr, "params": params}, "value", name="atom")


class Joined(NamedTuple):
    """Formulas joined by ``and``, ``or`` or ``not``."""

    kind: str
    parts: tuple[Any, ...]


Formula = Atom | Joined


def formula_of(expr: Any, params: Sequence[str], constants: Sequence[Any]) -> Formula:
    """Take a condition (see module ``shapes``) apart."""
    if expr[0] == "call" and expr[1] in _JOINS:
        return Joined(_JOINS[expr[1]], tuple(formula_of(part, params, constants) for part in expr[3:]))
    read = dict.fromkeys(_reads(expr, constants))
    named = tuple(fact for fact in read if fact is not None)
    return Atom(expr, params, constants, named, None in read)


def atoms_of(formula: Formula) -> Iterator[Atom]:
    """Yield the atoms of a formula in the order written."""
    if isinstance(formula, Atom):
        yield formula
    else:
        for part in formula.parts:
            yield from atoms_of(part)


def _reads(node: Any, constants: Sequence[Any]) -> Iterator[str | None]:
    fact = fact_of(node, constants)
    if fact is not None:
        yield OPERATION if fact in OPERATION_FACTS else fact
    elif node[0] == "var":
        if node[1] in FIXED or node[1] == node[2]:
            yield None
    elif node[0] not in ("lit", "k"):
        for part in node:
            if isinstance(part, list) and part:
                yield from _reads(part, constants)


def fact_of(node: Any, constants: Sequence[Any]) -> str | None:
    """Give the name of the fact that an expression reads or asks for; None when it is more or less than that."""
    path = path_of(node)
    if path is not None:
        return ".".join(path)
    if node[0] == "var":
        return "now" if node[1] == "now" else None
    if node[0] in ("get", "has"):
        owner, inner = _fixed(node[1])
        if inner.startswith("map<"):
            return f"{owner}.{node[2]}"
        scalar = inner in FIXED and not FIXED[inner][node[2]].startswith("map<") and FIXED[inner][node[2]] != GEO
        return f"{owner}.{node[2]}" if scalar else None
    if node[0] == "call" and node[1] in ("_[_]", "@in"):
        held, key = (node[3], node[4]) if node[1] == "_[_]" else (node[4], node[3])
        owner, kind = _fixed(held)
        if kind.startswith("map<") and key[0] == "k" and isinstance(constants[key[1]], str):
            return f"{owner}.{constants[key[1]]}"
    return None


def _fixed(node: Any) -> tuple[str, str]:
    """Give the dotted name and the type of a part of a fixed variable; empty for anything else."""
    if node[0] == "var" and node[1] in FIXED and node[1] == node[2]:
        return str(node[1]), str(node[1])
    if node[0] != "get":
        return "", ""
    owner, kind = _fixed(node[1])
    return (f"{owner}.{node[2]}", FIXED[kind][node[2]]) if kind in FIXED else ("", "")


def kind_of(fact: str, models: Mapping[str, BusinessModel]) -> str:
    """Give what a fact is: a type of attributes, ``string`` for states and ids, ``dyn``; empty when unknown."""
    if fact in ("now", OPERATION):
        return "timestamp" if fact == "now" else "string"
    subject, _, name = fact.partition(".")
    if subject in FIXED:
        return _kind_of_fixed(subject, name)
    model = models.get(subject)
    if model is None:
        return ""
    attribute = model.attributes.get(name)
    if attribute is not None:
        return "" if attribute.sensitive else attribute.type
    return {"id": "string", "state": "string", "rev": "bool"}.get(name, "")


def _kind_of_fixed(subject: str, name: str) -> str:
    head, _, rest = name.partition(".")
    kind = FIXED[subject].get(head, "")
    if kind == GEO:
        return FIXED[GEO].get(rest, "")
    if kind.startswith("map<"):
        return kind[4:-1].split(",")[1]
    return "list" if kind.startswith("list<") else kind
