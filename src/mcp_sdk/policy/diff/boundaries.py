"""The values of facts at which conditions may turn: each constant, what lies next to it, and another value.

Decimals are ``Decimal`` in major units here, so that one value asks two models whose scales differ. ``None`` stands for
an absent fact. A fact whose values cover all that its conditions can tell apart is ``exact``: any other value is
decided as one of them is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.moments import CelError, Duration, Timestamp, parse_duration, parse_timestamp
from mcp_sdk.policy.cel.shapes import expressions
from mcp_sdk.policy.diff.conditions import OPERATION, OPERATION_FACTS, Atom, fact_of, kind_of
from mcp_sdk.policy.diff.samples import matching_text

__all__ = ["BASELINE", "Bounds", "Domain"]

BASELINE: Mapping[str, Any] = {
    **dict.fromkeys(("principal.authenticated", "principal.mfa", "source.verified"), False),
    **dict.fromkeys(("principal.roles", "principal.scopes"), ()),
    **dict.fromkeys(("request.scheme", "request.host", "principal.id", "principal.acr"), ""),
    **{f"request.geo.{name}": "" for name in ("country", "region", "continent", "city")},
    **{f"source.{name}": "" for name in ("service", "namespace", "environment", "address")},
    "request.size": -1,
    "principal.type": "user",
}
"""What a fact of a fixed variable is where nobody says anything; every other fact is absent."""

_COMPARING = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
_EQUAL = frozenset({"_==_", "_!=_"})
_INT64 = 2**63
MAX_LISTED = 4
LONGEST = 1000
SMALL = (0, 1)
_SPANS: Mapping[str, Callable[[str], Timestamp | Duration]] = {"duration": parse_duration, "timestamp": parse_timestamp}


@dataclass(frozen=True)
class Domain:
    """The values of one fact that are worth asking, the plainest first."""

    fact: str
    kind: str
    values: tuple[Any, ...]
    exact: bool


@dataclass
class _Found:
    """What conditions compare one fact with."""

    kind: str
    scale: int = 0
    values: list[Any] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    linked: set[str] = field(default_factory=set)
    exact: bool = True


class Bounds:
    """Gathers the constants that facts meet, and gives the values of each.

    ``now`` is the moment at which calls are made.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.found: dict[str, _Found] = {}
        self.operations: dict[str, list[str]] = {name: [] for name in OPERATION_FACTS}
        self.exact_operations = True
        self.exact = True
        self._states: dict[str, list[str]] = {}

    def declare(self, models: Mapping[str, BusinessModel]) -> None:
        """Take the states that models declare."""
        for model in models.values():
            self._states.setdefault(model.name, []).extend(model.states)

    def add(self, atom: Atom, models: Mapping[str, BusinessModel]) -> None:
        """Take what an atom compares its facts with; ``models`` are those that it was compiled against."""
        self.exact &= not atom.opaque
        self.watch(atom, models)
        if not _Reader(self, atom, models).read():
            self._inexact(atom, models)

    def watch(self, atom: Atom, models: Mapping[str, BusinessModel]) -> None:
        """Take the facts of an atom: of a condition, of what sticks, of a limit's key."""
        for fact in atom.facts:
            if fact != OPERATION:
                kind, scale = kind_of(fact, models), _scale(fact, models)
                found = self.found.setdefault(fact, _Found(kind, scale))
                found.exact &= (found.kind, found.scale) == (kind, scale)

    def _inexact(self, atom: Atom, models: Mapping[str, BusinessModel]) -> None:
        """Take every constant of an atom for every fact of it that it might meet."""
        constants = [value for node in expressions(atom.expr) for value in _constants(atom, node)]
        if OPERATION in atom.facts:
            self.exact_operations = False
            texts = [text for value in _texts_of(constants) for text in _texts(value)]
            self.operations["request.path"] += [text for text in texts if text.startswith("/")]
            self.operations["request.method"] += [text for text in texts if text.isupper() and text.isalpha()]
        for fact in atom.facts:
            if fact != OPERATION:
                self.found[fact].exact = False
                for value in constants:
                    self.found[fact].values += _guessed(kind_of(fact, models), _scale(fact, models), value, self.now)

    def domains(self) -> list[Domain]:
        """Give each fact with its values, by name."""
        return [self._domain(fact) for fact in sorted(self.found)]

    def _domain(self, fact: str) -> Domain:
        found, group = self.found[fact], sorted(self._group(fact))
        values = [value for one in group for value in self.found[one].values]
        prefixes = [prefix for one in group for prefix in self.found[one].prefixes]
        others = [_other(one) for one in (group if len(group) > 1 else [fact])]
        values += [value for prefix in prefixes for value in (prefix, f"{prefix}-{others[0]}")]
        start = self.now if fact == "now" else BASELINE.get(fact)
        listed = _KINDS.get(found.kind, _plain)(values, others)
        if fact in BASELINE and found.kind == "string":
            listed = ["", *listed]
        exact = all(self.found[one].exact for one in group) and (found.kind == "string" or len(group) == 1)
        declared = self._states.get(fact.partition(".")[0], []) if fact.endswith(".state") else []
        if declared:
            listed = declared if prefixes or not exact else _of_states(values, declared)
        many = found.kind == "list" and len(_texts_of(values)) > MAX_LISTED
        return Domain(fact, found.kind, tuple(_distinct([start, *listed])), exact and not many)

    def _group(self, fact: str) -> set[str]:
        """Give the facts that a fact is compared with, itself among them."""
        group, waiting = {fact}, [fact]
        while waiting:
            fresh = {one for one in self.found[waiting.pop()].linked if one in self.found} - group
            group |= fresh
            waiting += fresh
        return group


class _Reader:
    """Reads one atom of a form whose values can be told: a fact compared with constants, or with another fact."""

    def __init__(self, bounds: Bounds, atom: Atom, models: Mapping[str, BusinessModel]) -> None:
        self.bounds, self.atom, self.models = bounds, atom, models

    def read(self) -> bool:
        """Take the atom's values; false when it is of no such form."""
        node = self.atom.expr
        if not self.atom.facts:
            return not self.atom.opaque
        fact = self._fact(node)
        if fact is not None:
            return node[0] != "get" or kind_of(fact, self.models) != "dyn"
        if node[0] != "call" or len(node) != 5:
            return False
        function, left, right = node[1], node[3], node[4]
        if function in _COMPARING:
            return self._compare(function, left, right) or self._compare(function, right, left)
        if function == "@in":
            return self._in(left, right)
        return function == "startsWith" and self._prefix(left, right)

    def _fact(self, node: Any) -> str | None:
        fact = fact_of(node, self.atom.constants)
        return None if fact == "now" else fact

    def _compare(self, function: str, left: Any, right: Any) -> bool:
        fact, other = self._fact(left), self._fact(right)
        if fact is None or kind_of(fact, self.models) == "dyn":
            return False
        if other is not None and not {fact, other} & OPERATION_FACTS:
            self.bounds.found[fact].linked.add(other)
            self.bounds.found[other].linked.add(fact)
            return function in _EQUAL
        return right[0] in ("k", "lit") and self._take(
            fact, [self.atom.constant(right)], ordered=function not in _EQUAL
        )

    def _in(self, left: Any, right: Any) -> bool:
        fact, members = self._fact(left), self.atom.constant(right)
        if fact is not None and isinstance(members, list):
            return self._take(fact, members, ordered=False)
        owner, member = self._fact(right), self.atom.constant(left)
        if owner is None or not isinstance(member, str):
            return False
        self.bounds.found[owner].values.append(member)
        return True

    def _take(self, fact: str, constants: list[Any], *, ordered: bool) -> bool:
        if fact in OPERATION_FACTS:
            self.bounds.operations[fact] += [value for value in constants if isinstance(value, str)]
            return not ordered
        kind, scale = kind_of(fact, self.models), _scale(fact, self.models)
        if kind in ("int", "decimal", "double"):
            self.bounds.found[fact].values += [near for value in constants for near in _near(kind, scale, value)]
            return True
        self.bounds.found[fact].values += constants
        return kind in ("string", "bool") and not ordered

    def _prefix(self, left: Any, right: Any) -> bool:
        fact, prefix = self._fact(left), self.atom.constant(right)
        if fact is None or fact in OPERATION_FACTS or not isinstance(prefix, str):
            return False
        self.bounds.found[fact].prefixes.append(prefix)
        return kind_of(fact, self.models) == "string"


def _constants(atom: Atom, node: Any) -> Iterator[Any]:
    value = atom.constant(node)
    if isinstance(value, list):
        yield from value
    elif node[0] == "call" and node[1] in _SPANS and node[3][0] == "k":
        try:
            moment = _SPANS[node[1]](atom.constant(node[3]))
        except (CelError, TypeError):
            return
        yield moment if isinstance(moment, Timestamp) else timedelta(microseconds=moment.nanoseconds // 1000)
    elif value is not None:
        yield value


def _scale(fact: str, models: Mapping[str, BusinessModel]) -> int:
    subject, _, name = fact.partition(".")
    attribute = models[subject].attributes.get(name) if subject in models else None
    return attribute.scale if attribute is not None else 0


def _near(kind: str, scale: int, value: Any) -> list[Any]:
    """Give a number, and those next to it."""
    if kind == "double":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return []
        return [float(value), math.nextafter(value, -math.inf), math.nextafter(value, math.inf)]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return []
    whole = [near for near in (int(value), int(value) + 1, int(value) - 1) if -_INT64 <= near < _INT64]
    return whole if kind == "int" else [Decimal(near).scaleb(-scale) for near in whole]


def _guessed(kind: str, scale: int, value: Any, now: datetime) -> list[Any]:
    """Give values of a fact that a constant met in an expression which nothing sure can be said of."""
    if kind in ("int", "decimal", "double"):
        return (
            [near for one in (value, *SMALL) for near in _near(kind, scale, one)] if type(value) in (int, float) else []
        )
    if kind == "timestamp":
        return _moments(value, now)
    if kind == "dyn":
        return [value] if isinstance(value, (bool, int, str)) else []
    if type(value) is int and 0 <= value < LONGEST:
        lengths = {length for length in (value - 1, value, value + 1) if length >= 0}
        many: Any = (lambda length: "x" * length) if kind == "string" else (lambda length: ("x",) * length)
        return [many(length) for length in sorted(lengths)] if kind == "string" else []
    if not isinstance(value, str) or kind not in ("string", "list"):
        return []
    return _texts(value) if kind == "string" else [value]


def _texts(value: str) -> list[str]:
    """Give the text, texts that hold it at either end, and one that it matches should it be an expression."""
    return [value, f"{value}-x", f"x-{value}", matching_text(value)]


def _moments(value: Any, now: datetime) -> list[datetime]:
    if isinstance(value, Timestamp):
        at = value.at(UTC)
        return [at, at - timedelta(seconds=1), at + timedelta(seconds=1)]
    if isinstance(value, timedelta):
        steps = (value, value - timedelta(seconds=1), value + timedelta(seconds=1))
        return [moment for step in steps for moment in (now - step, now + step)]
    if type(value) is int and 0 <= value < 60:
        day = now.replace(minute=0, second=0, microsecond=0)
        hours = [day.replace(hour=hour % 24) for hour in (value, value - 1, value + 1)]
        return [*hours, *(day + timedelta(days=days) for days in range(7))]
    return []


def _other(fact: str) -> str:
    subject, _, name = fact.rpartition(".")
    return f"{subject.rpartition('.')[2] or 'some'}-1" if name == "id" else f"other-{name}"


def _of_states(values: list[Any], declared: list[str]) -> list[Any]:
    """Give the declared states that conditions name, and one of the others."""
    named = [state for state in dict.fromkeys(declared) if state in values]
    return [*named, *[state for state in dict.fromkeys(declared) if state not in values][:1]]


def _strings(values: list[Any], others: list[str]) -> list[Any]:
    texts = _texts_of(values)
    return [*texts, *(_unlike(other, texts) for other in others)]


def _unlike(other: str, texts: list[str]) -> str:
    while other in texts:
        other += "-x"
    return other


def _numbers(values: list[Any], _: list[str]) -> list[Any]:
    return sorted(set(values), key=lambda value: (abs(value), value)) or [0]


def _doubles(values: list[Any], _: list[str]) -> list[Any]:
    return [*sorted(set(values) or {0.0}), math.nan]


def _lists(values: list[Any], others: list[str]) -> list[Any]:
    members = _texts_of(values)
    if len(members) > MAX_LISTED:
        return [(), *((member,) for member in members), tuple(members)]
    chosen = [subset for size in range(len(members) + 1) for subset in combinations(members, size)]
    return [*chosen, tuple(others[:1])]


def _texts_of(values: list[Any]) -> list[str]:
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))


def _bools(_: list[Any], __: list[str]) -> list[Any]:
    return [True, False]


def _plain(values: list[Any], others: list[str]) -> list[Any]:
    return [*values, *others[:1], True, False]


def _timestamps(values: list[Any], _: list[str]) -> list[Any]:
    return [value for value in values if isinstance(value, datetime)] or [datetime(2026, 1, 1, tzinfo=UTC)]


_KINDS: Mapping[str, Any] = {
    "string": _strings,
    "int": _numbers,
    "decimal": _numbers,
    "double": _doubles,
    "bool": _bools,
    "list": _lists,
    "timestamp": _timestamps,
}


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Leave out what is there already; true is not 1, and NaN is itself."""
    return list({(type(value), repr(value)): value for value in values}.values())
