"""The look-up from a call to the first matching rule, at a cost that does not grow with the rules that cannot match.

``Index(rules)`` builds, ``first`` and ``every`` look up, ``rules`` is all of them in order: the slow truth that the
look-up is tested against. A rule is found by a fact that its condition compares with constants (``order.state ==
'created'``, ``user.tier in ['vip']``), whichever of its facts parts the rules best; the rest of its condition is still
evaluated. Rules without such a fact are scanned. A rule that an error makes match is also found where the fact is
absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from mcp_sdk.policy.clauses import clause_shapes
from mcp_sdk.policy.presence import path_of
from mcp_sdk.policy.schema import FIXED

__all__ = ["Condition", "Index", "Keys", "Row", "key_places", "keys_of"]

Condition = Callable[[Any, Any], Any]
Path = tuple[str, ...]
OutcomeT = TypeVar("OutcomeT")
SMALL = 4
Keys = Mapping[Path, frozenset[str]]


class Row(NamedTuple, Generic[OutcomeT]):
    """One rule: whether its condition ``holds``, whether an error makes it match, and what it says."""

    holds: Condition
    on_error: bool
    outcome: OutcomeT


class Index(Generic[OutcomeT]):
    """Rules in order, found by the contexts ``c`` and the request ``q``.

    ``keys`` and ``on_error`` are known of every rule; ``make`` gives the row of a number, and is asked for those that a
    look-up comes upon, so that a hundred thousand rules load at once and take little room.
    """

    __slots__ = ("_made", "_make", "_select", "size")

    def __init__(self, keys: Sequence[Keys], on_error: Sequence[bool], make: Callable[[int], Row[OutcomeT]]) -> None:
        self.size: int = len(keys)
        self._make = make
        root = _build([(number, *entry) for number, entry in enumerate(zip(on_error, keys, strict=True))])
        self._select = root.select if isinstance(root, _Branch) else None
        self._made: list[Any] = [None if self._select else make(number) for number in range(self.size)]

    @property
    def rules(self) -> tuple[Row[OutcomeT], ...]:
        """Every rule, in order."""
        return tuple(self._row(number) for number in range(self.size))

    def _row(self, number: int) -> Row[OutcomeT]:
        row: Row[OutcomeT] | None = self._made[number]
        if row is None:
            row = self._made[number] = self._make(number)
        return row

    def first(self, c: Any, q: Any) -> OutcomeT | None:
        """Give the outcome of the first rule that matches; None when none does."""
        rows: Iterable[Row[OutcomeT]] = self._made if self._select is None else self._candidates(c, q)
        for holds, on_error, outcome in rows:
            try:
                if holds(c, q):
                    return outcome
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if on_error:
                    return outcome
        return None

    def every(self, c: Any, q: Any) -> list[OutcomeT]:
        """Give the outcomes of all rules that match, in order."""
        found = []
        rows: Iterable[Row[OutcomeT]] = self._made if self._select is None else self._candidates(c, q)
        for holds, on_error, outcome in rows:
            try:
                if holds(c, q):
                    found.append(outcome)
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if on_error:
                    found.append(outcome)
        return found

    def _candidates(self, c: Any, q: Any) -> Iterable[Row[OutcomeT]]:
        """Give the rules that may match, in order; all of them when a fact has no usable value."""
        groups: list[tuple[int, ...]] = []
        try:
            if self._select is not None:
                self._select(c, q, groups)
        except Exception:  # noqa: BLE001 - a fact of another type is no key
            return map(self._row, range(self.size))
        numbers = groups[0] if len(groups) == 1 else sorted(chain.from_iterable(groups))
        return map(self._row, numbers)


Entry = tuple[int, bool, Keys]
"""A rule's number, whether an error makes it match, and its keys."""


@dataclass(slots=True)
class _Branch:
    """Parts rules by one fact: ``table`` by its value, ``absent`` for when it is not there, ``residue`` always.

    A part is the numbers of its rules, or a branch again.
    """

    read: Condition
    table: dict[str, _Branch | tuple[int, ...]]
    absent: _Branch | tuple[int, ...]
    residue: _Branch | tuple[int, ...]

    def select(self, c: Any, q: Any, groups: list[tuple[int, ...]]) -> None:
        value = self.read(c, q)
        for part in (self.absent if value is None else self.table.get(value), self.residue):
            if isinstance(part, _Branch):
                part.select(c, q, groups)
            elif part:
                groups.append(part)


def _build(entries: list[Entry]) -> _Branch | tuple[int, ...]:
    path = _best_path(entries) if len(entries) > SMALL else None
    if path is None:
        return tuple(number for number, _, _ in entries)
    table: dict[str, list[Entry]] = {}
    absent: list[Entry] = []
    residue: list[Entry] = []
    for number, on_error, keys in entries:
        if path not in keys:
            residue.append((number, on_error, keys))
            continue
        entry = (number, on_error, {other: values for other, values in keys.items() if other != path})
        for value in keys[path]:
            table.setdefault(value, []).append(entry)
        if on_error:
            absent.append(entry)
    parts = {value: _build(part) for value, part in table.items()}
    return _Branch(_reader(path), parts, _build(absent), _build(residue))


def _best_path(entries: list[Entry]) -> Path | None:
    """Choose the fact that leaves the fewest rules to look at; None when none parts them."""
    values: dict[Path, set[str]] = {}
    counts: dict[Path, int] = {}
    for _, _, keys in entries:
        for path, wanted in keys.items():
            values.setdefault(path, set()).update(wanted)
            counts[path] = counts.get(path, 0) + len(wanted)
    left = {
        path: counts[path] / (len(found) or 1) + sum(path not in keys for _, _, keys in entries)
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


KeyPlace = tuple[Path, int]


def key_places(shape: Any) -> tuple[KeyPlace, ...]:
    """Give the facts that a shape compares with constant strings, by ``==`` or ``in``, and the constants' numbers."""
    places: list[KeyPlace] = []
    for clause in clause_shapes(shape):
        if clause[0] != "call" or clause[1] not in ("_==_", "@in"):
            continue
        left, right = clause[3], clause[4]
        if clause[1] == "_==_" and left[0] == "k":
            left, right = right, left
        path = _string_path(left)
        if path is not None and right[0] == "k":
            places.append((path, right[1]))
    return tuple(places)


def keys_of(places: Sequence[KeyPlace], constants: Sequence[Any]) -> dict[Path, frozenset[str]]:
    """Give, by fact, the only strings with which a condition of such a shape can be true."""
    keys: dict[Path, frozenset[str]] = {}
    for path, number in places:
        constant = constants[number]
        values = frozenset(constant if isinstance(constant, list) else (constant,))
        if all(isinstance(value, str) for value in values):
            keys[path] = keys[path] & values if path in keys else values
    return keys


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
