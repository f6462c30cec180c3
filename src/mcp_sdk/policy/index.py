"""The look-up from a call to the first matching rule, at a cost that does not grow with the rules that cannot match.

``Index(rules)`` builds, ``first`` and ``every`` look up, ``rules`` is all of them in order: the slow truth that the
look-up is tested against. A rule is found by a fact that its condition compares with constants (``order.state ==
'created'``, ``user.tier in ['vip']``), whichever of its facts parts the rules best; the rest of its condition is still
evaluated. Rules without such a fact are scanned. A rule that an error makes match is also found where the fact is
absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mcp_sdk.policy.clauses import clause_shapes
from mcp_sdk.policy.presence import path_of
from mcp_sdk.policy.schema import FIXED

__all__ = ["Condition", "Index", "Indexed", "keys_of"]

Condition = Callable[[Any, Any], Any]
Path = tuple[str, ...]
OutcomeT = TypeVar("OutcomeT")
SMALL = 4


@dataclass(frozen=True, slots=True)
class Indexed(Generic[OutcomeT]):
    """One rule as the index takes it: ``holds`` tells whether it matches, ``on_error`` whether an error does.

    ``shape`` and ``constants`` are the condition's, from which the index chooses a key.
    """

    outcome: OutcomeT
    holds: Condition
    on_error: bool
    shape: Any = field(default=None, repr=False)
    constants: tuple[Any, ...] = ()


Row = tuple[int, Condition, bool, Any]
"""A rule at its number: condition, whether an error matches, outcome."""


class Index(Generic[OutcomeT]):
    """Rules in order, found by the contexts ``c`` and the request ``q``."""

    __slots__ = ("_rows", "_select", "rules")

    def __init__(self, rules: Sequence[Indexed[OutcomeT]]) -> None:
        self.rules = tuple(rules)
        self._rows = tuple((number, rule.holds, rule.on_error, rule.outcome) for number, rule in enumerate(rules))
        root = _build(list(zip(self._rows, map(_rule_keys, rules), strict=True)))
        self._select = root.select if isinstance(root, _Branch) else None

    def first(self, c: Any, q: Any) -> OutcomeT | None:
        """Give the outcome of the first rule that matches; None when none does."""
        rows = self._rows if self._select is None else self._candidates(c, q)
        for _, holds, on_error, outcome in rows:
            try:
                if holds(c, q):
                    return outcome
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if on_error:
                    return outcome
        return None

    def every(self, c: Any, q: Any) -> list[OutcomeT]:
        """Give the outcomes of all rules that match, in order."""
        rows = self._rows if self._select is None else self._candidates(c, q)
        found = []
        for _, holds, on_error, outcome in rows:
            try:
                if holds(c, q):
                    found.append(outcome)
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if on_error:
                    found.append(outcome)
        return found

    def _candidates(self, c: Any, q: Any) -> Iterable[Row]:
        """Give the rules that may match, in order; all of them when a fact has no usable value."""
        groups: list[tuple[Row, ...]] = []
        try:
            if self._select is not None:
                self._select(c, q, groups)
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return self._rows
        if len(groups) == 1:
            return groups[0]
        return sorted((row for group in groups for row in group), key=_number)


def _number(row: Row) -> int:
    return row[0]


Keys = Mapping[Path, frozenset[str]]
Entry = tuple[Row, Keys]


@dataclass(slots=True)
class _Leaf:
    rows: tuple[Row, ...]

    def select(self, _c: Any, _q: Any, groups: list[tuple[Row, ...]]) -> None:
        groups.append(self.rows)


@dataclass(slots=True)
class _Branch:
    """Parts rules by one fact: ``table`` by its value, ``absent`` for when it is not there, ``residue`` always."""

    read: Condition
    table: dict[str, _Leaf | _Branch]
    absent: _Leaf | _Branch | None
    residue: _Leaf | _Branch | None

    def select(self, c: Any, q: Any, groups: list[tuple[Row, ...]]) -> None:
        value = self.read(c, q)
        part = self.table.get(value) if value is not None else self.absent
        if part is not None:
            part.select(c, q, groups)
        if self.residue is not None:
            self.residue.select(c, q, groups)


def _build(entries: list[Entry]) -> _Leaf | _Branch:
    path = _best_path(entries) if len(entries) > SMALL else None
    if path is None:
        return _Leaf(tuple(row for row, _ in entries))
    table: dict[str, list[Entry]] = {}
    absent: list[Entry] = []
    residue: list[Entry] = []
    for row, keys in entries:
        rest = {other: values for other, values in keys.items() if other != path}
        for value in keys.get(path, ()):
            table.setdefault(value, []).append((row, rest))
        if path not in keys:
            residue.append((row, keys))
        elif row[2]:
            absent.append((row, rest))
    parts = {value: _build(part) for value, part in table.items()}
    return _Branch(_reader(path), parts, _build(absent) if absent else None, _build(residue) if residue else None)


def _best_path(entries: list[Entry]) -> Path | None:
    """Choose the fact that leaves the fewest rules to look at; None when none parts them."""
    values: dict[Path, set[str]] = {}
    counts: dict[Path, int] = {}
    for _, keys in entries:
        for path, wanted in keys.items():
            values.setdefault(path, set()).update(wanted)
            counts[path] = counts.get(path, 0) + len(wanted)
    left = {
        path: counts[path] / (len(found) or 1) + sum(path not in keys for _, keys in entries)
        for path, found in values.items()
    }
    best = min(left, key=lambda path: (left[path], path), default=None)
    return best if best is not None and left[best] < len(entries) else None


def _reader(path: Path) -> Condition:
    if path[0] in FIXED:
        return _fixed_reader(path)
    model, fact = path

    def read(c: Any, _q: Any) -> Any:
        context = c.get(model)
        return None if context is None else context.facts.get(fact)

    return read


def _fixed_reader(path: Path) -> Condition:
    def read(_c: Any, q: Any) -> Any:
        value = q
        for part in path:
            value = getattr(value, part)
        return value

    return read


def _rule_keys(rule: Indexed[Any]) -> Keys:
    return keys_of(rule.shape, rule.constants) if rule.shape is not None else {}


def keys_of(shape: Any, constants: Sequence[Any]) -> dict[Path, frozenset[str]]:
    """Give, by fact, the only strings with which a condition can be true: those of its ``==`` and ``in`` clauses."""
    keys: dict[Path, frozenset[str]] = {}
    for clause in clause_shapes(shape):
        if clause[0] != "call" or clause[1] not in ("_==_", "@in"):
            continue
        left, right = clause[3], clause[4]
        if clause[1] == "_==_" and left[0] == "k":
            left, right = right, left
        path = _string_path(left)
        if path is None or right[0] != "k":
            continue
        values = _values(constants[right[1]], many=clause[1] == "@in")
        if values is not None:
            keys[path] = keys[path] & values if path in keys else values
    return keys


def _values(constant: Any, *, many: bool) -> frozenset[str] | None:
    items = constant if many else [constant]
    return frozenset(items) if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


def _string_path(node: Any) -> Path | None:
    if node[0] != "get" or node[3] != "string":
        return None
    found = path_of(node)
    if found is not None:
        return found
    names: list[str] = []
    while node[0] == "get":
        names.append(node[2])
        node = node[1]
    return (
        (node[1], *reversed(names)) if node[0] == "var" and names and node[1] in FIXED and node[1] == node[2] else None
    )
